"""Everything that the explorer shows of a clip, computed one layer after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.evidence import LogitReadout, prefix_curve, suffix_curve
from vmamba_explore.analysis.hidden_attention import logit_attention
from vmamba_explore.analysis.look_back import look_back
from vmamba_explore.analysis.memory import retained_share
from vmamba_explore.analysis.states import state_norms
from vmamba_explore.app.live import LiveRun
from vmamba_explore.app.numbers import LiveNumbers
from vmamba_explore.attribution.attribute import attribute, class_numbers, undisturbed
from vmamba_explore.clips import Clip
from vmamba_explore.clips.motion import MotionClip
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import replay_layer, run_with_trace
from vmamba_explore.view.explorer import Exploration
from vmamba_explore.view.explorer.exploration import DIMS

Edit = Callable[[VideoMamba], AbstractContextManager[object]]
"""Takes a model and returns a `with` block in which it is edited, such as
`lambda model: mute(model, "forward")`."""
Report = Callable[[str, float], None]
QUANTITIES = {
    "delta": (
        "The step size, mean over channels. Large: forget the state and take this token in. "
        "Small: keep the state and skip this token.",
        "",
    ),
    "state norm": (
        "The size of the hidden state after each token, every state weighted by how strongly it is "
        "read.",
        "",
    ),
    "retention": (
        "The share of what a token writes into the states that is left as many tokens later as a "
        "frame has. None near the end of a scan.",
        "",
    ),
    "look-back": (
        "How old what a token reads from the state is on average, in frames opened since.",
        "frames",
    ),
    "hidden attention": (
        "How strongly the logits' read-out reads each token in this layer: mean size of the "
        "frozen scan's weights over channels.",
        "",
    ),
    "contribution": (
        "What each token of a layer's input adds to the logit directly, through one direction's "
        "scan. Signed; over all layers, directions and tokens it sums to the logit, but for what "
        "the embedding and the biases add.",
        "logits",
    ),
    "relevance": (
        "MambaLRP's attribution to the clip's patches. It belongs to the model as a whole, so it "
        "is the same for all layers and directions.",
        "logits",
    ),
}  # fmt: skip
"""By name: what a map of the explorer shows, and its unit."""
LOGARITHMIC = ("delta", "state norm", "hidden attention")
logger = logging.getLogger(__name__)
EVIDENCE_FRAMES = 16
"""Clips of more token frames get no evidence curves: each of their points is one run."""


class Cancelled(Exception):
    """Raised by a `Report` that wants the work to stop."""


@dataclass(frozen=True)
class Question:
    """What to find out about a clip; see `explore` for the first five.

    Attributes:
        model_name: What the model is called.
        report: Told, before each step, what it does and how much is done, 0 to 1; may raise
            `Cancelled` to stop.
    """

    target: int | str | None = None
    minus: int | str | None = None
    quantities: Sequence[str] | None = None
    layers: Sequence[int] | None = None
    budget_gib: float | int = 1.0
    progress: bool = True
    model_name: str = "model"
    report: Report | None = None

    def chosen(self, model: VideoMamba) -> tuple[list[str], list[int]]:
        """Quantities and layers, checked; all where None was given.

        Raises:
            ValueError: there is no such quantity or layer, or nothing is left.
        """
        names = _some_of("quantities", self.quantities, list(QUANTITIES))
        return names, sorted(set(_some_of("layers", self.layers, list(range(model.config.depth)))))


def gather(
    model: VideoMamba,
    clip: Clip | MotionClip,
    question: Question,
    *,
    edit: Edit | None = None,
    name: str = "",
) -> Exploration:
    """Run a model on a clip and compute every map and curve.

    Only block inputs are recorded; a layer's other values are made again when it is its turn, so
    one layer is held at a time.

    Args:
        model: The model.
        clip: The clip; of a `MotionClip` the deciding frames are kept.
        question: What to find out.
        edit: Gives a `with` block in which the model runs edited. MambaLRP explains no edited
            model, and contributions are left out where the edit breaks their sum.
        name: What to call the result; "" for the clip's source.
    Raises:
        ValueError: no such class, layer or quantity, a clip of another shape than the model's, or
            logits that are not finite.
        TraceBudgetError: the recording would be over budget.
        Cancelled: `question.report` raised it.
    """
    given, deciding = clip, clip.window if isinstance(clip, MotionClip) else None
    clip = clip.clip if isinstance(clip, MotionClip) else clip
    names, layers = question.chosen(model)
    if edit is not None and names == ["relevance"]:
        raise ValueError(
            "explore: relevance is all that quantities asks for, and MambaLRP explains no edited "
            "model; add another quantity."
        )
    edited = nullcontext if edit is None else lambda: _block(edit, model)
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        undisturbed(model),
        _Steps(question, len(layers) + 4) as steps,
    ):
        steps("running the model")
        with edited():
            recorded = ["*.hook_block_input", *LogitReadout.names(model)]
            logits, trace = run_with_trace(model, clip, recorded, question.budget_gib)
        if not logits.isfinite().all():
            raise ValueError(
                "explore: the model's logits are not finite; run_with_trace(model, clip) shows "
                "which layer is the first to make such numbers."
            )
        target, minus, words = _classes(model, logits, question)
        numbers = LiveNumbers(
            trace, edited, given, target, minus, edit is not None, question.budget_gib
        )
        live = LiveRun(trace, edited)
        maps: dict[str, xr.DataArray] = {}
        for layer in layers:
            steps(f"layer {layer}")
            with edited():
                _merge(maps, _layer_maps(live, layer, names))
        steps("contributions")
        if "contribution" in names:
            with edited():
                found = logit_attention(trace, target, minus, progress=False)
            if edit is None or found.residual < 1e-3:
                maps["contribution"] = found.array().sel(layer=layers)
        steps("relevance")
        if "relevance" in names and edit is None:
            try:
                maps["relevance"] = attribute(
                    model, clip, target, "mamba_lrp", minus=minus,
                    budget_gib=question.budget_gib, progress=False,
                ).array()  # fmt: skip
            except MemoryError as error:
                if question.quantities is not None:  # it was asked for by name
                    raise
                logger.warning("explore: relevance is left out: %s", error)
        steps("evidence")
        with edited():
            curves = _evidence(model, clip, target, minus)
    shown = {name: _described(maps[name], name) for name in names if name in maps}
    seqlen = trace.grid.seqlen
    order = {d: trace.ssm(0, d).steps(seqlen).argsort() for d in model.config.directions}
    places = {direction: trace.grid.split(step.cpu()) for direction, step in order.items()}
    return Exploration(
        clip=clip,
        maps=shown,
        curves=curves,
        classes=_top_classes(model, logits),
        target=words,
        explained=(int(target), None if minus is None else int(minus)),
        model=question.model_name,
        steps={direction: video.numpy() for direction, (video, _) in places.items()},
        cls_steps={d: int(cls) for d, (_, cls) in places.items() if cls is not None},
        deciding=deciding,
        name=name,
        live=live,
        numbers=numbers,
    )


class _Steps:
    """A progress bar that also tells a `Report`."""

    def __init__(self, question: Question, total: int) -> None:
        self._report, self._total = question.report, total
        self._bar = tqdm(
            desc="explore", total=total, unit="step", leave=False, disable=not question.progress
        )

    def __enter__(self) -> _Steps:
        return self

    def __call__(self, words: str) -> None:
        if self._report is not None:
            self._report(words, self._done / self._total)
        self._done += 1
        self._bar.set_postfix_str(words)
        self._bar.update()

    _done = 0

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _some_of(what: str, chosen: Any, known: list[Any]) -> list[Any]:
    if chosen is None:
        return known
    several = isinstance(chosen, Iterable) and not isinstance(chosen, str)
    found = list(chosen) if several else []
    if not found or any(item not in known for item in found):
        raise ValueError(
            f"explore: {what} is {found if several else repr(chosen)}, expected a list of some of "
            f"{', '.join(map(str, known))}; None takes all."
        )
    return found


def _block(edit: Edit, model: VideoMamba) -> AbstractContextManager[object]:
    block = edit(model)
    if not isinstance(block, AbstractContextManager):
        raise TypeError(
            f"explore: compare returned {type(block).__name__}, expected a `with` block in which "
            'the model is edited, as from lambda model: mute(model, "forward").'
        )
    return block


def _layer_maps(live: LiveRun, layer: int, names: Sequence[str]) -> dict[str, xr.DataArray]:
    """The maps of one layer: dims layer, direction, frame, row, col."""
    trace = live.trace
    hooks = ("delta", "u", "B", "C", "h_over_channels")
    run = replay_layer(trace, layer, [f"*.ssm_*.hook_{hook}" for hook in hooks])
    directions = trace.config.directions
    found = {}
    if "delta" in names:
        found["delta"] = run.sel(quantity="delta").mean("channel")
    if "state norm" in names:
        found["state norm"] = state_norms(run)
    if "retention" in names:
        found["retention"] = _stacked(
            [retained_share(run, layer, d) for d in directions], directions, layer
        )
    if "look-back" in names:
        ages = [look_back(run, layer, d, unit="frames").array() for d in directions]
        found["look-back"] = _stacked(ages, directions, layer)
    if "hidden attention" in names:
        found["hidden attention"] = live.attention(layer, None)["reads"].expand_dims(layer=[layer])
    return found


def _stacked(arrays: list[xr.DataArray], directions: Sequence[str], layer: int) -> xr.DataArray:
    array = xr.concat(arrays, "direction").assign_coords(direction=list(directions))
    return array.expand_dims(layer=[layer])


def _merge(maps: dict[str, xr.DataArray], more: dict[str, xr.DataArray]) -> None:
    for name, array in more.items():
        maps[name] = xr.concat([maps[name], array], "layer") if name in maps else array


def _described(array: xr.DataArray, name: str) -> xr.DataArray:
    about, unit = QUANTITIES[name]
    dims = [dim for dim in DIMS if dim in array.dims]
    array = array.transpose(*dims).astype("float32").rename(name)
    array.attrs = {"unit": unit, "about": about, "log": name in LOGARITHMIC}
    return array


def _evidence(
    model: VideoMamba, clip: Clip, target: Tensor, minus: Tensor | None
) -> dict[str, xr.DataArray]:
    if model.grid.frames > EVIDENCE_FRAMES:
        return {}
    found = {}
    for name, curve, direction in (
        ("seen from the start", prefix_curve, "forward"),
        ("seen from the end", suffix_curve, "backward"),
    ):
        values = curve(model, clip, target, minus, progress=False).array()
        found[name] = values.assign_attrs(unit="logits", direction=direction)
    return found


def _classes(
    model: VideoMamba, logits: Tensor, question: Question
) -> tuple[Tensor, Tensor | None, str]:
    """The classes as (1,) numbers, and in words."""
    if question.target is None:
        target = logits.argmax(-1)
    else:
        target = class_numbers(question.target, 1, model, "explore: target")
    if question.minus is None:
        return target, None, _class_name(model, int(target))
    minus = class_numbers(question.minus, 1, model, "explore: minus")
    if int(minus) == int(target):
        raise ValueError(
            f"explore: target and minus are both {_class_name(model, int(target))}, so there is "
            "nothing to explain; choose another minus."
        )
    return target, minus, f"{_class_name(model, int(target))} − {_class_name(model, int(minus))}"


def _top_classes(model: VideoMamba, logits: Tensor, count: int = 5) -> list[tuple[str, float]]:
    probabilities, numbers = logits[0].float().softmax(-1).topk(min(count, logits.shape[-1]))
    pairs = zip(numbers.tolist(), probabilities.tolist(), strict=True)
    return [(_class_name(model, number), share) for number, share in pairs]


def _class_name(model: VideoMamba, number: int) -> str:
    return f"class {number}" if model.class_names is None else model.class_names[number]
