"""Run a model and record the values at its hook points with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vmamba_explore.edits import editing
from vmamba_explore.hooks import HookPoint, NamesFilter, attached, hook_points, plain
from vmamba_explore.model.contrast import Classes, Contrast
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.places import usable
from vmamba_explore.trace.record import (
    Clips,
    apart,
    as_batch,
    check_budget,
    clip_seconds,
    matching_names,
)
from vmamba_explore.trace.trace import Trace

Number = Callable[[Tensor], Tensor]
"""Maps logits (batch, num_classes) to one number, or to one for each clip."""


def run_with_gradients(
    model: VideoMamba,
    clips: Clips,
    names_filter: NamesFilter = None,
    target: Classes | Number | None = None,
    minus: Classes | None = None,
    *,
    budget_gib: float = 1.0,
) -> tuple[Tensor, Trace, Trace]:
    """Run the model and record values with the gradient of one number at each of them.

    A gradient is the whole one at its place: it counts every path from there to the number. That
    of a state (`hook_h`) or a write (`hook_write`) counts all later states, which follow from it,
    so the two are equal (but where a VideoMambaPro leaves out what a token wrote itself). It runs
    in the `with` blocks that edit the model, like any other run.

    Args:
        model: The model; its own gradients (`weight.grad`) stay as they are.
        clips: A tensor (batch, channels, num_frames, H, W), a `Clip`, or a list of them.
        names_filter: Which hook points, as in `run_with_trace`; read-only ones have no gradient.
        target: The class whose logit is differentiated, number or name, one for all clips or one
            for each; None: each clip's most probable one. Or a function of the logits (batch,
            num_classes) that returns a number, or one for each clip, such as a loss.
        minus: The class whose logit is subtracted, likewise; None: none.
        budget_gib: Upper bound of the values and their gradients, GiB; what autograd stores in
            the meantime is not counted.
    Returns:
        Logits (batch, num_classes), bit-identical to those of `model(clips)`; the `Trace` of the
        values; and one of the gradients, under the same names and labels. Neither has a graph.
    Raises:
        KeyError: the filter matches no hook point.
        ValueError: a hook point is read-only, there is no such class, the function does not
            return such a number, or states are asked for that a `with` block replaces.
        TraceBudgetError: the values and gradients would be over budget; nothing has run.
    """
    model = plain(model)
    model.check_whole("run_with_gradients")
    batch, points = as_batch(model, clips), hook_points(model)
    names = matching_names(model, names_filter)
    for name in names:
        if points[name].read_only:
            raise ValueError(
                f"run_with_gradients: {name} is computed for reading only and feeds nothing, so it "
                "has no gradient; run_with_trace records its value."
            )
    check_budget(model, len(batch), names, budget_gib, times=2)
    values: dict[str, Tensor] = {}
    places: dict[str, Tensor] = {}  # where each gradient is taken

    def keep(value: Tensor, point: HookPoint) -> Tensor | None:
        if point.name in of_states:
            values[point.name] = apart(value.detach())
            return None
        place = value if value.requires_grad else value.detach().requires_grad_()
        values[point.name] = places[point.name] = place
        return place

    of_states = {name: ssm for name in names if (ssm := _scan_of_state(model, name)) is not None}
    collect = [
        (ssm.state_gradients, (name.rpartition("hook_")[2], partial(places.__setitem__, name)))
        for name, ssm in of_states.items()
    ]
    with torch.inference_mode(False), torch.enable_grad(), model.recomputing(False):
        with attached(model, [(name, keep) for name in names]), editing(*collect):
            logits = model.with_constant_weights()(usable(batch))
        if not logits.requires_grad:  # nothing that was asked for reaches them
            logits.requires_grad_()
        number = _number(model, logits, target, minus)
        gradients = torch.autograd.grad(
            number, [places[name] for name in names], materialize_grads=True
        )
    axes = {name: points[name].axes for name in names}
    kept = {name: apart(values[name].detach()) for name in names}
    trace = Trace(kept, axes, model.config, clip_seconds(clips), model)
    found = dict(zip(names, gradients, strict=True))
    return logits.detach(), trace, Trace(found, axes, model.config, clip_seconds(clips))


def _scan_of_state(model: VideoMamba, name: str) -> SelectiveSSM | None:
    """The scan whose states, or writes, a hook point has; None for any other hook point."""
    place, _, hook = name.rpartition(".")
    owner = model.get_submodule(place)
    if isinstance(owner, SelectiveSSM) and hook in ("hook_h", "hook_write"):
        return owner
    return None


def _number(
    model: VideoMamba, logits: Tensor, target: Classes | Number | None, minus: Classes | None
) -> Tensor:
    call = "run_with_gradients"
    if not callable(target):
        contrast = Contrast.of(model, len(logits), target, minus, call, logits=logits.detach())
        return contrast.of_logits(logits).sum()
    if minus is not None:
        raise ValueError(f"{call}: target is a function, so it must subtract minus itself.")
    number = target(logits)
    if not isinstance(number, Tensor) or number.numel() not in (1, len(logits)):
        got = tuple(number.shape) if isinstance(number, Tensor) else type(number).__name__
        raise ValueError(
            f"{call}: target returned {got}, expected one number, or one for each of the "
            f"{len(logits)} clips."
        )
    if not number.requires_grad:
        raise ValueError(
            f"{call}: what target returned does not depend on the logits it was given; leave out "
            "detach(), item() and numpy()."
        )
    return number.sum()
