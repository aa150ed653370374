"""Run a model and keep, or edit, what passes its hook points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from vmamba_explore.clips.clip import Clip
from vmamba_explore.hooks import (
    HookFunction,
    HookPoint,
    UnknownHookError,
    attached,
    hook_names,
    hook_point,
)
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.trace import Trace

NamesFilter = str | Iterable[str] | Callable[[str], bool] | None
Clips = Tensor | Clip | Sequence[Clip]
GIB = 2**30


class TraceBudgetError(MemoryError):
    """A recording would take more memory than its budget."""


@dataclass(frozen=True)
class TraceSize:
    """What a recording will hold, known before anything runs.

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
    model: VideoMamba, clips: Clips, names_filter: NamesFilter = None, budget_gib: float = 1.0
) -> tuple[Tensor, Trace]:
    """Run the model and keep the values that pass its hook points.

    The logits are the same bits as those of `model(clips)`: an observed model is the model.

    Args:
        model: The model.
        clips: A tensor (batch, channels, num_frames, H, W), a `Clip`, or a list of them.
        names_filter: Which hook points: a name, a pattern such as "layers.3.*hook_delta", a list
            of these, a function of the name, or None for all but `hook_A_bar`, which is as
            large as `hook_h` and recorded on demand.
        budget_gib: The most that the recording may hold, GiB.
    Returns:
        Logits (batch, num_classes), and the `Trace`. Its tensors keep their graph where
        gradients are on.
    Raises:
        KeyError: the filter matches no hook point; the message gives the nearest name.
        TraceBudgetError: the recording would be over budget; nothing has run.
    """
    batch = as_batch(clips, model)
    names = matching_names(model, names_filter)
    size = _size(model, len(batch), names)
    if size.total > budget_gib * GIB:
        raise TraceBudgetError(
            f"Recording {len(names)} values would take {size}; the budget is {budget_gib:.2f} GiB. "
            f"Choose fewer with names_filter=..., or pass budget_gib={math.ceil(size.gib)}."
        )
    values: dict[str, Tensor] = {}

    def keep(value: Tensor, point: HookPoint) -> None:
        values[point.name] = value

    with attached(model, [(name, keep) for name in names]):
        logits = model(batch)
    axes = {name: hook_point(model, name).axes for name in names}
    return logits, Trace(values, axes, model.config, _seconds(clips))


def run_with_hooks(
    model: VideoMamba, clips: Clips, hooks: Sequence[tuple[str, HookFunction]]
) -> Tensor:
    """Run the model with functions attached that may replace what passes its hook points.

    Args:
        model: The model.
        clips: A tensor (batch, channels, num_frames, H, W), a `Clip`, or a list of them.
        hooks: Pairs (name or pattern, function). A function gets `(value, hook_point)`; what it
            returns replaces the value, None keeps it. On `hook_h` the states that it changes
            are taken, and every later state and y follows from them.
    Returns:
        Logits (batch, num_classes). The functions are detached again, whatever happens.
    Raises:
        KeyError: a name matches no hook point.
        ValueError: a function returned another shape.
    """
    pairs = [(name, fn) for pattern, fn in hooks for name in matching_names(model, pattern)]
    with attached(model, pairs):
        return model(as_batch(clips, model))


def trace_size(model: VideoMamba, clips: Clips, names_filter: NamesFilter = None) -> TraceSize:
    """Tell what `run_with_trace` with the same arguments would hold; nothing runs.

    Raises:
        KeyError: the filter matches no hook point.
    """
    batch = 1 if isinstance(clips, Clip) else len(clips)
    return _size(model, batch, matching_names(model, names_filter))


def matching_names(model: VideoMamba, names_filter: NamesFilter) -> list[str]:
    """List the hook points that a filter means, in the model's order.

    Raises:
        KeyError: the filter, or one entry of it, matches none.
    """
    known = hook_names(model)
    if names_filter is None:
        return [name for name in known if not hook_point(model, name).read_only]
    if callable(names_filter):
        chosen = {name for name in known if names_filter(name)}
        if not chosen:
            raise UnknownHookError(getattr(names_filter, "__name__", "names_filter"), known)
        return [name for name in known if name in chosen]
    chosen = set()
    for pattern in [names_filter] if isinstance(names_filter, str) else names_filter:
        matches = {name for name in known if name == pattern or fnmatchcase(name, pattern)}
        if not matches:
            raise UnknownHookError(pattern, known)
        chosen |= matches
    return [name for name in known if name in chosen]


def as_batch(clips: Clips, model: VideoMamba) -> Tensor:
    """Turn clips into a tensor (batch, channels, num_frames, H, W) where the model is."""
    if isinstance(clips, Clip):
        clips = [clips]
    if not isinstance(clips, Tensor):
        clips = torch.stack([clip.tensor() for clip in clips])
    return clips.to(model.head.weight.device)


def _seconds(clips: Clips) -> list[list[float]] | None:
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
    }
    sizes = {}
    for name in names:
        point = hook_point(model, name)
        is_state = "d_state" in point.axes and "d_inner" in point.axes  # float32 always
        width = 4 if is_state or "d_model" in point.axes else model.head.weight.element_size()
        sizes[name] = width * math.prod(lengths[axis] for axis in point.axes)
    return TraceSize(sizes)
