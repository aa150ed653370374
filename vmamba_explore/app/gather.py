"""Everything that the explorer shows of a clip, computed one layer after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
import xarray as xr

from vmamba_explore.analysis.attention import contributions
from vmamba_explore.analysis.camera_motion import measure_camera
from vmamba_explore.analysis.controls import controls
from vmamba_explore.analysis.evidence import LogitReadout, prefix_curve, suffix_curve
from vmamba_explore.analysis.headline import Decisive, decisive
from vmamba_explore.analysis.lens import find_lens
from vmamba_explore.analysis.logits import logit_parts
from vmamba_explore.analysis.memory import retained_share
from vmamba_explore.analysis.reach import look_back
from vmamba_explore.analysis.states import state_norms
from vmamba_explore.app.live import LiveNumbers, LiveRun
from vmamba_explore.app.live_states import LiveStates
from vmamba_explore.app.portable import portable
from vmamba_explore.app.question import (
    EVIDENCE_CURVES,
    EVIDENCE_FRAMES,
    LOGARITHMIC,
    QUANTITIES,
    SLOW,
    Edit,
    Question,
    Report,
    Steps,
    part,
)
from vmamba_explore.attribution.methods import attribute
from vmamba_explore.clips import Clip
from vmamba_explore.clips.clip import Generated, shown_by
from vmamba_explore.clips.labeled import LabeledClip, runs
from vmamba_explore.edits import pinned
from vmamba_explore.model.bundled import names_the_camera
from vmamba_explore.model.contrast import Contrast, name_of
from vmamba_explore.model.predict import top_predictions
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import replay_layer, run_with_trace
from vmamba_explore.view.explorer import Exploration
from vmamba_explore.view.explorer.exploration import DIMS

logger = logging.getLogger(__name__)
HOOKS = {
    "delta": ("delta",),
    "state norm": ("C", "h_over_channels"),
    "retention": ("delta", "C"),
    "look-back": ("u", "delta", "B", "C"),
    "hidden attention": ("u", "delta", "B", "C", "y"),
}
"""What the maps of a layer are computed from; the others belong to the model as a whole."""
OF_THE_MODEL = set(QUANTITIES) - set(HOOKS)


def gather(
    model: VideoMamba,
    clip: Clip | Generated,
    question: Question,
    *,
    edit: Edit | None = None,
    name: str = "",
) -> Exploration:
    """Run a model on a clip and compute every map and curve; see `begin`.

    Args:
        model, clip, question, edit, name: As for `begin`; the report hears of the rest, too.
    """
    begun = begin(model, clip, part(question, 0, 2), edit=edit, name=name)
    return begun.complete(part(question, 1, 2).report)


def begin(
    model: VideoMamba,
    clip: Clip | Generated,
    question: Question,
    *,
    edit: Edit | None = None,
    name: str = "",
    first: Sequence[str] | None = None,
) -> Exploration:
    """Run a model on a clip and compute what is shown first; the rest is `later` of the result.

    Only block inputs are recorded; a layer's other values are recomputed when it is its turn, so
    one layer is held at a time.

    Args:
        model: The model.
        clip: The clip; the deciding frames of a `LabeledClip` are stored with it.
        question: What to find out; its report hears of what is computed here.
        edit: Gives a `with` block in which the model runs edited. MambaLRP explains no edited
            model, and contributions are left out where the edit breaks their sum.
        name: What to call the result; "" for the clip's source.
        first: Which of the question's maps to compute here; None for all but `SLOW`. At least
            one is.
    Returns:
        The exploration. Its `later` computes the other maps, evidence, controls and the camera's
        motion, with the model edited as it was here.
    Raises:
        ValueError: no such class, layer or quantity, a clip of another shape than the model's, or
            logits that are not finite.
        TraceBudgetError: the recording would be over budget.
        Cancelled: `question.report` raised it.
    """
    given, clip = clip, shown_by(clip)
    deciding = runs(given.deciding) if isinstance(given, LabeledClip) else ()
    names, layers = question.chosen(model)
    if edit is not None and names == ["relevance"]:
        raise ValueError(
            "explore: relevance is all that quantities asks for, and MambaLRP explains no edited "
            "model; add another quantity."
        )
    if edit is not None:
        names = [name for name in names if name != "relevance"]
    soon = (
        [n for n in names if n not in SLOW] if first is None else [n for n in names if n in first]
    )
    soon = soon or names[:1]
    edited = nullcontext if edit is None else lambda: _block(edit, model)
    work = _Work(model, clip, question, edited, edit is not None)
    with _steps(question, work.count(soon, layers) + 1) as steps:
        steps("running the model")
        with work.edited():
            recorded = ["*.hook_block_input", *LogitReadout.names(model)]
            logits, trace = run_with_trace(model, clip, recorded, question.budget_gib)
        if not logits.isfinite().all():
            raise ValueError(
                "explore: the model's logits are not finite; run_with_trace(model, clip) shows "
                "which layer is the first to make such numbers."
            )
        contrast = Contrast.of(
            model, 1, question.target, question.minus, "explore", logits=logits, distinct=True
        )
        live = LiveRun(trace, work.edited)
        maps, headline = work.maps(soon, layers, live, contrast, steps)
        if not maps:  # the edit leaves nothing of what was asked for first
            left = [each for each in names if each not in soon][:1]
            maps, headline = work.maps(left, layers, live, contrast, steps)
        if not maps:
            raise ValueError(
                "explore: contributions are all that is left of what quantities asks for, and with "
                "this edit they do not sum to the logit; add another quantity, such as 'delta'."
            )
    explained = _numbers(contrast)
    seqlen = trace.grid.seqlen
    order = {d: trace.ssm(0, d).steps(seqlen).argsort() for d in model.config.directions}
    places = {direction: trace.grid.split(step.cpu()) for direction, step in order.items()}
    begun = Exploration(
        clip=clip,
        maps=maps,
        classes=[]
        if model.is_encoder
        else [(p.name, p.probability) for p in top_predictions(logits[0], model.class_names, 5)],
        target=named(model, contrast),
        explained=explained,
        headline=headline,
        model=question.model_name,
        steps={direction: video.numpy() for direction, (video, _) in places.items()},
        cls_steps={
            d: int(cls) for d, (_, cls) in places.items() if cls is not None and not cls.ndim
        },
        deciding=deciding,
        name=name,
        live=live,
        states=LiveStates(trace, work.edited, contrast, edit is not None),
        numbers=LiveNumbers(
            trace, work.edited, given, contrast, edit is not None, question.budget_gib
        ),
        portable=partial(portable, model, question.model_name) if edit is None else None,
    )

    coming = [each for each in names if each not in maps]

    def rest(report: Report | None) -> Exploration:
        asked = replace(question, report=report, progress=question.progress and report is None)
        with (
            _steps(asked, work.count(coming, layers) + 3) as steps,
            steps.told_by_every_block(model),
        ):
            more, told = work.maps(coming, layers, live, contrast, steps)
            steps("state lens")
            with work.edited():
                probes = find_lens(model)
                lens = None if probes is None else probes.read(trace, layers)
            steps("evidence")
            with work.edited():
                curves = _evidence(model, clip, contrast, edit is not None)
            steps("controls")
            with work.edited():
                controlled = None if model.is_encoder else controls(model, clip)
            camera = None
            if names_the_camera(model) and clip.num_frames - clip.repeated > 1:
                camera = measure_camera(clip)
        every = {**begun.maps, **more}
        return replace(
            begun,
            maps={each: every[each] for each in names if each in every},
            headline=headline or told,
            lens=lens,
            curves=curves,
            controls=controlled,
            camera=camera,
            later=None,
            coming=(),
        )

    return replace(begun, later=pinned(rest), coming=coming)


@contextmanager
def _steps(question: Question, total: int) -> Iterator[Steps]:
    """Progress of some work that needs no gradients but its own."""
    steps = Steps(question, total)
    with torch.inference_mode(False), torch.no_grad(), steps:
        yield steps


@dataclass(frozen=True)
class _Work:
    """Computes maps of one clip, the model edited or not."""

    model: VideoMamba
    clip: Clip
    question: Question
    edited: Callable[[], AbstractContextManager[object]]
    is_edited: bool

    def count(self, names: Sequence[str], layers: Sequence[int]) -> int:
        """How many steps these maps take."""
        of_layers = len(layers) if set(names) - OF_THE_MODEL else 0
        return of_layers + len(OF_THE_MODEL & set(names))

    def maps(
        self,
        names: Sequence[str],
        layers: Sequence[int],
        live: LiveRun,
        contrast: Contrast,
        steps: Steps,
    ) -> tuple[dict[str, xr.DataArray], Decisive | None]:
        """Compute some maps, in their order; what the model does not give is left out.

        With contributions comes where the logit is decided.
        """
        maps: dict[str, xr.DataArray] = {}
        headline = None
        if set(names) - OF_THE_MODEL:
            by_layer = []
            for layer in layers:
                steps(f"layer {layer}")
                with self.edited():
                    by_layer.append(_layer_maps(live, layer, names))
            maps |= {n: xr.concat([one[n] for one in by_layer], "layer") for n in by_layer[0]}
        if "contribution" in names:
            steps("contributions")
            with self.edited():
                parts = logit_parts(live.trace, contrast, progress=False)
            if not self.is_edited or parts.residual < 1e-3:
                maps["contribution"] = contributions(parts).array().sel(layer=layers)
                headline = decisive(parts, named(self.model, contrast))
        if "relevance" in names:
            steps("relevance")
            try:
                maps["relevance"] = attribute(
                    self.model, self.clip, contrast, "mamba_lrp",
                    budget_gib=self.question.budget_gib, progress=False,
                ).array()  # fmt: skip
            except MemoryError as error:
                if self.question.quantities is not None:  # it was asked for by name
                    raise
                logger.warning("explore: relevance is left out: %s", error)
        encoder = self.model.is_encoder
        described = {n: _described(maps[n], n, encoder) for n in names if n in maps}
        return described, headline


def named(model: VideoMamba, contrast: Contrast) -> str:
    """What a logit is of, in words: a class, or a class less another; or a direction."""
    asked = [contrast.target[0], *([] if contrast.minus is None else [contrast.minus[0]])]
    return " − ".join(name_of(model, each) for each in asked)


def _numbers(contrast: Contrast) -> tuple[int | None, int | None]:
    """The numbers of one clip's classes; None where directions are asked for."""
    asked = (contrast.target, contrast.minus)
    if any(each is not None and each.is_floating_point() for each in asked):
        return None, None
    return int(contrast.target), None if contrast.minus is None else int(contrast.minus)


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
    hooks = dict.fromkeys(hook for name in names for hook in HOOKS.get(name, ()))
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
        reads = LiveRun(run, nullcontext).attention(layer, None)["reads"]
        found["hidden attention"] = reads.expand_dims(layer=[layer])
    return found


def _stacked(arrays: list[xr.DataArray], directions: Sequence[str], layer: int) -> xr.DataArray:
    array = xr.concat(arrays, "direction").assign_coords(direction=list(directions))
    return array.expand_dims(layer=[layer])


def _described(array: xr.DataArray, name: str, of_encoder: bool) -> xr.DataArray:
    about, unit = QUANTITIES[name]
    if of_encoder and unit == "logits":  # features have no unit
        about, unit = about.replace("the logit", "the number along the direction"), ""
    dims = [dim for dim in DIMS if dim in array.dims]
    array = array.transpose(*dims).astype("float32").rename(name)
    array.attrs = {"unit": unit, "about": about, "log": name in LOGARITHMIC}
    return array


def _evidence(
    model: VideoMamba, clip: Clip, contrast: Contrast, is_edited: bool
) -> dict[str, xr.DataArray]:
    """The curves; none where the edit cannot be made in a part of the clip."""
    if model.grid.frames > EVIDENCE_FRAMES:
        return {}
    found = {}
    for (name, direction), curve in zip(EVIDENCE_CURVES, (prefix_curve, suffix_curve), strict=True):
        try:
            values = curve(model, clip, contrast, progress=False).array()
        except ValueError as error:
            if not is_edited:
                raise
            logger.info("explore: evidence is left out: %s", error)
            return {}
        unit = "" if model.is_encoder else "logits"
        found[name] = values.assign_attrs(unit=unit, direction=direction)
    return found
