"""Run a model and record, or edit, the values at its hook points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vmamba_explore.clips.clip import Clip
from vmamba_explore.errors import shown
from vmamba_explore.hooks import (
    HookFunction,
    HookPoint,
    NamesFilter,
    UnknownNameError,
    attached,
    hook_names,
    hook_points,
    plain,
)
from vmamba_explore.model.ssm import BOUNDARY, at_least_float32
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.trace import Trace

Clips = Tensor | Clip | Sequence[Clip]
GIB = 2**30


class TraceBudgetError(MemoryError):
    """A recording would take more memory than its budget."""


@dataclass(frozen=True)
class TraceSize:
    """Estimate of the memory of a recording.

    Args:
        bytes_by_name: Bytes of every value that would be recorded.
    """

    bytes_by_name: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes of the whole recording."""
        return sum(self.bytes_by_name.values())

    @property
    def gib(self) -> float:
        """The whole recording, GiB."""
        return self.total / GIB

    def __str__(self) -> str:
        by_hook: dict[str, list[int]] = {}
        for name, size in self.bytes_by_name.items():
            by_hook.setdefault(name.rpartition(".")[2], []).append(size)
        rows = sorted(by_hook.items(), key=lambda row: -sum(row[1]))
        parts = ", ".join(f"{hook} at {len(s)} places {sum(s) / GIB:.2f}" for hook, s in rows)
        return f"{self.gib:.2f} GiB ({parts})"


def run_with_trace(
    model: VideoMamba,
    clips: Clips,
    names_filter: NamesFilter = None,
    budget_gib: float = 1.0,
    *,
    stop_at_layer: int | None = None,
) -> tuple[Tensor, Trace]:
    """Run the model and record the values at its hook points.

    Recording leaves the logits bit-identical to those of `model(clips)`.

    Args:
        model: The model; one from `torch.compile` runs as it was before.
        clips: A tensor (batch, channels, num_frames, H, W), a `Clip`, or a list of them.
        names_filter: Which hook points: a name, a pattern such as "layers.3.*hook_delta" (see
            `hook_names`), a list of these, a function of the name, or None for all but those
            recorded on demand: `hook_A_bar` and `hook_write`, each as large as `hook_h`, and
            what replaces `hook_h` where it is too large: `hook_h_over_channels`,
            `hook_h_over_states` (norms) and `hook_h_boundaries` (see `state_window`).
        budget_gib: Upper bound of the recorded values, GiB. Run under `torch.no_grad()` unless you
            need gradients: what autograd stores for them is not counted.
        stop_at_layer: Run the blocks before this one only; negative ones count from the last.
            None: run all.
    Returns:
        Logits (batch, num_classes), or an encoder's features (batch, d_model), with `stop_at_layer`
        what enters that block (batch, seqlen, d_model); and the `Trace`. Its tensors keep their
        graph where gradients are on. The logits can be differentiated with respect to all of them
        but `hook_A_bar`, `hook_write` and the states (`hook_h`, its norms and boundaries), which
        are read beside the scan; see `run_with_gradients`.
    Raises:
        KeyError: the filter matches no hook point that is reached; the message gives the nearest
            name.
        ValueError: there is no such layer.
        TraceBudgetError: the recording would be over budget; nothing has run.
    """
    model = plain(model)
    model.check_whole("run_with_trace")
    batch = as_batch(model, clips)
    names = reached_names(model, names_filter, stop_at_layer)
    check_budget(model, len(batch), names, budget_gib)
    run = _runner(model, batch, stop_at_layer)
    return _recorded(model, names, clip_seconds(clips), run)


def replay_layer(trace: Trace, layer: int, names_filter: NamesFilter = None) -> Trace:
    """Recompute the values of one layer from its block input, bit-identical to the run.

    A trace of `*.hook_block_input`, which is small, is enough to recompute any layer on demand.

    Args:
        trace: Holds `hook_block_input` of the layer.
        layer: Block number, from 0.
        names_filter: Which hook points of the layer, as in `run_with_trace`.
    Returns:
        A trace of that layer.
    Raises:
        KeyError: the block's input was not recorded, or the filter matches nothing in the layer.
        ValueError: no such layer; the weights changed since; or the run was edited in this layer,
            as the recorded input of the next layer, or the output of this one (`hook_out`), shows.
            Where neither was recorded, an edit goes unnoticed.
    """
    model, at = trace.model, f"layers.{layer}."
    trace.mixer(layer)  # raises where there is none
    names = [name for name in matching_names(model, names_filter) if name.startswith(at)]
    if not names:
        raise UnknownNameError(
            f"replay_layer: names_filter={shown(names_filter)} chooses nothing in layer {layer}."
        )
    block_input = trace[f"{at}hook_block_input"]
    output, replayed = _recorded(
        model, names, trace.seconds, lambda: model.layers[layer](block_input)
    )
    added = trace.get(f"{at}mixer.hook_out")
    if added is not None:
        added = block_input + at_least_float32(added)
    for recorded in (trace.get(f"layers.{layer + 1}.hook_block_input"), added):
        if recorded is not None and not torch.allclose(recorded, output, rtol=1e-3, atol=1e-4):
            raise ValueError(
                f"replay_layer: layer {layer} gives something else than in the recorded run, so "
                "it was edited then, or is being edited now. Record the values you need in the "
                "run itself, and leave `with` blocks that edit the model before you analyze it."
            )
    return replayed


def _recorded(
    model: VideoMamba,
    names: Sequence[str],
    seconds: Sequence[Sequence[float]] | None,
    run: Callable[[], Tensor],
) -> tuple[Tensor, Trace]:
    """What `run` gives, and the trace of the values that pass the hook points meanwhile."""
    values: dict[str, Tensor] = {}

    def keep(value: Tensor, point: HookPoint) -> None:
        values[point.name] = value if value.requires_grad else apart(value)

    with attached(model, [(name, keep) for name in names]):
        result = run()
    points = hook_points(model)
    kept, axes = ({n: values[n] for n in names}, {n: points[n].axes for n in names})
    return result, Trace(kept, axes, model.config, seconds, model)


def apart(value: Tensor) -> Tensor:
    """The value, or a copy where it is a view that would keep the rest of its memory alive."""
    return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value


def run_with_hooks(
    model: VideoMamba,
    clips: Clips,
    hooks: Sequence[tuple[str, HookFunction]],
    *,
    stop_at_layer: int | None = None,
) -> Tensor:
    """Run the model with functions attached that may replace the values at its hook points.

    Args:
        model, clips: As for `run_with_trace`.
        hooks: Pairs (name or pattern, function). A function gets `(value, hook_point)`; its
            result replaces the value, None keeps it; it must not write into the value. On `hook_h`
            the scan resumes from the states that it changes, and every later state and y follows
            from them (a function that reads `hook_h` still gets the unedited states). On
            `hook_write` the scan writes what the function returns, and every later state follows.
        stop_at_layer: As for `run_with_trace`.
    Returns:
        Logits (batch, num_classes), or an encoder's features (batch, d_model), with `stop_at_layer`
        what enters that block (batch, seqlen, d_model). The functions are detached afterward, even
        on error.
    Raises:
        KeyError: a name matches no hook point that is reached.
        ValueError: there is no such layer, or a function returned another shape or type, or wrote
            into its value.
    """
    model = plain(model)
    pairs = [
        (name, function)
        for pattern, function in hooks
        for name in reached_names(model, pattern, stop_at_layer)
    ]
    with attached(model, pairs):
        return _runner(model, as_batch(model, clips), stop_at_layer)()


def trace_size(model: VideoMamba, clips: Clips, names_filter: NamesFilter = None) -> TraceSize:
    """Estimate the memory of `run_with_trace` with the same arguments; nothing runs.

    Raises:
        KeyError: the filter matches no hook point.
    """
    batch = as_batch(model, clips)
    return _size(model, len(batch), matching_names(model, names_filter))


def matching_names(model: VideoMamba, names_filter: NamesFilter) -> list[str]:
    """As `hook_names`, but None leaves out what is recorded on demand only."""
    if names_filter is not None:
        return hook_names(model, names_filter)
    return [name for name, point in hook_points(model).items() if not point.on_demand]


def reached_names(
    model: VideoMamba, names_filter: NamesFilter, stop_at_layer: int | None
) -> list[str]:
    """As `matching_names`, of the hook points in the blocks before `stop_at_layer`.

    Raises:
        KeyError: the filter, or an entry of it, matches none of them.
        ValueError: there is no such layer.
    """
    stop = model.checked_stop(stop_at_layer)
    entries: list[NamesFilter]
    if names_filter is None or isinstance(names_filter, str) or callable(names_filter):
        entries = [names_filter]
    else:
        entries = list(names_filter) or [[]]
    found: set[str] = set()
    for entry in entries:
        names = matching_names(model, entry)
        reached = {name for name in names if int(name.split(".")[1]) < stop}
        if not reached:
            raise UnknownNameError(
                f"names_filter={shown(entry)} chooses hook points of layer {stop} and later ones "
                f"only, and stop_at_layer={stop_at_layer} stops before them."
            )
        found |= reached
    return [name for name in hook_points(model) if name in found]


def check_budget(
    model: VideoMamba, batch: int, names: Sequence[str], budget_gib: float, times: int = 1
) -> None:
    """Raise TraceBudgetError where values, held `times` times, are over budget."""
    size = _size(model, batch, names)
    if times * size.total > budget_gib * GIB:
        raise TraceBudgetError(
            f"Recording {len(names)} values would take {size}"
            f"{', and their gradients as much' if times > 1 else ''}; the budget is "
            f"{budget_gib:.2f} GiB. Choose fewer with names_filter=..., or pass "
            f"budget_gib={math.ceil(times * size.gib)}."
        )


def _runner(model: VideoMamba, batch: Tensor, stop_at_layer: int | None) -> Callable[[], Tensor]:
    """What runs the model on a batch, to its logits or up to a block."""
    if stop_at_layer is None:
        return lambda: model(batch)
    return lambda: model.encode(batch, stop_at_layer)


def as_batch(model: VideoMamba, clips: Clips) -> Tensor:
    """Turn clips into a tensor (batch, channels, num_frames, H, W) on the model's device.

    Raises:
        TypeError: neither a tensor nor clips.
        ValueError: no clip, or clips of another shape than the model's.
    """
    model = plain(model)
    if not isinstance(clips, Tensor):
        given = [clips] if isinstance(clips, Clip) else clips
        if not isinstance(given, Sequence) or not all(isinstance(clip, Clip) for clip in given):
            raise TypeError(
                f"clips is {type(clips).__name__}, expected a tensor (batch, channels, "
                "num_frames, height, width), a Clip or a list of Clips; load_clip(path) gives one."
            )
        if not given:
            raise ValueError("clips is an empty list, expected at least one Clip.")
        tensors = [clip.tensor() for clip in given]
        for tensor in tensors:
            model.check(tensor.unsqueeze(0))
        clips = torch.stack(tensors)
    model.check(clips)
    return clips.to(model.norm_f.weight.device)


def clip_seconds(clips: Clips) -> list[list[float]] | None:
    """The time of every frame of each clip, seconds; None where `clips` is a tensor."""
    if isinstance(clips, Tensor):
        return None
    return [clip.seconds.tolist() for clip in ([clips] if isinstance(clips, Clip) else clips)]


def _size(model: VideoMamba, batch: int, names: Sequence[str]) -> TraceSize:
    config = model.config
    lengths = {
        "batch": batch,
        "seqlen": config.grid.seqlen,
        "d_model": config.d_model,
        "d_inner": config.d_inner,
        "d_state": config.d_state,
        "boundary": config.grid.seqlen // BOUNDARY,
    }
    element = model.norm_f.weight.element_size()
    points = hook_points(model)
    sizes = {}
    for name in names:
        width = max(4, element) if points[name].at_least_float32 else element
        sizes[name] = width * math.prod(lengths[axis] for axis in points[name].axes)
    return TraceSize(sizes)
