"""Everything that the explorer shows of a clip, computed one layer after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import xarray as xr

from vmamba_explore.analysis.attention import logit_attention
from vmamba_explore.analysis.camera_motion import measure_camera
from vmamba_explore.analysis.controls import controls
from vmamba_explore.analysis.evidence import LogitReadout, prefix_curve, suffix_curve
from vmamba_explore.analysis.memory import retained_share
from vmamba_explore.analysis.reach import look_back
from vmamba_explore.analysis.states import state_norms
from vmamba_explore.app.live import LiveNumbers, LiveRun
from vmamba_explore.app.question import LOGARITHMIC, QUANTITIES, Edit, Question, Steps
from vmamba_explore.attribution.methods import attribute
from vmamba_explore.clips import Clip
from vmamba_explore.clips.clip import Generated, shown_by
from vmamba_explore.clips.motion import MotionClip
from vmamba_explore.model.bundled import names_the_camera
from vmamba_explore.model.contrast import Contrast, class_name
from vmamba_explore.model.predict import top_predictions
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import replay_layer, run_with_trace
from vmamba_explore.view.explorer import Exploration
from vmamba_explore.view.explorer.exploration import DIMS

logger = logging.getLogger(__name__)
EVIDENCE_FRAMES = 16
"""Clips of more token frames get no evidence curves: each of their points is one run."""


def gather(
    model: VideoMamba,
    clip: Clip | Generated,
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
    clip = shown_by(clip)
    names, layers = question.chosen(model)
    if edit is not None and names == ["relevance"]:
        raise ValueError(
            "explore: relevance is all that quantities asks for, and MambaLRP explains no edited "
            "model; add another quantity."
        )
    edited = nullcontext if edit is None else lambda: _block(edit, model)
    steps = Steps(question, len(layers) + 5)
    with torch.inference_mode(False), torch.no_grad(), steps:
        steps("running the model")
        with edited():
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
        numbers = LiveNumbers(trace, edited, given, contrast, edit is not None, question.budget_gib)
        live = LiveRun(trace, edited)
        by_layer = []
        for layer in layers:
            steps(f"layer {layer}")
            with edited():
                by_layer.append(_layer_maps(live, layer, names))
        maps = {n: xr.concat([one[n] for one in by_layer], "layer") for n in by_layer[0]}
        steps("contributions")
        if "contribution" in names:
            with edited():
                found = logit_attention(trace, contrast, progress=False)
            if edit is None or found.residual < 1e-3:
                maps["contribution"] = found.array().sel(layer=layers)
        steps("relevance")
        if "relevance" in names and edit is None:
            try:
                maps["relevance"] = attribute(
                    model, clip, contrast, "mamba_lrp",
                    budget_gib=question.budget_gib, progress=False,
                ).array()  # fmt: skip
            except MemoryError as error:
                if question.quantities is not None:  # it was asked for by name
                    raise
                logger.warning("explore: relevance is left out: %s", error)
        steps("evidence")
        with edited():
            curves = _evidence(model, clip, contrast)
        steps("controls")
        with edited():
            controlled = controls(model, clip)
        camera = None
        if names_the_camera(model) and clip.num_frames - clip.repeated > 1:
            camera = measure_camera(clip)
    explained = int(contrast.target), None if contrast.minus is None else int(contrast.minus)
    shown = {name: _described(maps[name], name) for name in names if name in maps}
    seqlen = trace.grid.seqlen
    order = {d: trace.ssm(0, d).steps(seqlen).argsort() for d in model.config.directions}
    places = {direction: trace.grid.split(step.cpu()) for direction, step in order.items()}
    return Exploration(
        clip=clip,
        maps=shown,
        curves=curves,
        classes=[(p.name, p.probability) for p in top_predictions(logits[0], model.class_names, 5)],
        target=" − ".join(class_name(model, number) for number in explained if number is not None),
        explained=explained,
        model=question.model_name,
        steps={direction: video.numpy() for direction, (video, _) in places.items()},
        cls_steps={d: int(cls) for d, (_, cls) in places.items() if cls is not None},
        deciding=deciding,
        name=name,
        live=live,
        numbers=numbers,
        controls=controlled,
        camera=camera,
    )


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


def _described(array: xr.DataArray, name: str) -> xr.DataArray:
    about, unit = QUANTITIES[name]
    dims = [dim for dim in DIMS if dim in array.dims]
    array = array.transpose(*dims).astype("float32").rename(name)
    array.attrs = {"unit": unit, "about": about, "log": name in LOGARITHMIC}
    return array


def _evidence(model: VideoMamba, clip: Clip, contrast: Contrast) -> dict[str, xr.DataArray]:
    if model.grid.frames > EVIDENCE_FRAMES:
        return {}
    found = {}
    for name, curve, direction in (
        ("seen from the start", prefix_curve, "forward"),
        ("seen from the end", suffix_curve, "backward"),
    ):
        values = curve(model, clip, contrast, progress=False).array()
        found[name] = values.assign_attrs(unit="logits", direction=direction)
    return found
