"""Minimal pairs for video: which scan, at which moment, carries what tells a clip from its twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from typing import SupportsIndex

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.hooks import plain
from vmamba_explore.model.contrast import (
    Classes,
    Contrast,
    as_direction,
    class_numbers,
    is_direction,
)
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.past import record_past, transplant
from vmamba_explore.trace.places import Layers, numbers, scans
from vmamba_explore.trace.record import Clips, as_batch, run_with_trace

Metric = Callable[[Tensor], Tensor]
"""Maps logits (batch, num_classes) to one number a clip, (batch,)."""
Surgery = Callable[[VideoMamba, int, str, int], AbstractContextManager[None]]
"""Gives the `with` block of one place: (model, layer, direction, frame)."""
ROOM = 64
"""Clips that run side by side where one place is tried on many."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """A number for every place where the same surgery was done.

    Args:
        values: The metric after surgery: layer, direction, frame, clip.
        plain: The metric without any, (clip,).
    """

    values: xr.DataArray
    plain: xr.DataArray

    @property
    def change(self) -> xr.DataArray:
        """What surgery did to the metric: values - plain."""
        return (self.values - self.plain).rename("change")


@dataclass(frozen=True, eq=False)
class TwinPatching:
    """What the past of a clip does to its twin, for every scan and frame boundary.

    The metric m is logit[label] - logit[twin's label]. The clip's past is put into the twin's run
    at one place, and::

        restored = (m(patched twin) - m(twin)) / (m(clip) - m(twin))

    so 0 is no effect and 1 makes the twin the clip, as far as the logits can tell. Shares at
    different places need not sum to 1: what one scan carries, others may carry too.

    Args:
        patched: m of the patched twin: layer, direction, frame (the boundary before it), clip.
        clip: m of the clips, (clip,).
        twin: m of the twins, (clip,).
        windows: First and last clip frame of each clip's motion, (clip, 2); None if not given.
        residual: A twin patched with its own past should stay as it is. Tried at the middle
            boundary, in all layers and directions at once; the largest change of m, as a share
            of m(clip) - m(twin): 0 where both are 0, NaN where a logit is.
    """

    patched: xr.DataArray
    clip: xr.DataArray
    twin: xr.DataArray
    windows: np.ndarray | None
    residual: float

    @property
    def restored(self) -> xr.DataArray:
        """The restored share of each pair: layer, direction, frame, clip."""
        share = (self.patched - self.twin) / (self.clip - self.twin)
        return share.rename("restored share").assign_attrs(quantity="restored share")

    @property
    def restored_overall(self) -> xr.DataArray:
        """Restored over all pairs together: layer, direction, frame.

        The sum of the changes over the sum of the differences, so that pairs that the model can
        hardly tell apart do not count as much as the others.
        """
        share = (self.patched - self.twin).sum("clip") / (self.clip - self.twin).sum("clip")
        return share.rename("restored share").assign_attrs(quantity="restored share")


def logit_difference(labels: Classes, minus: Classes) -> Metric:
    """Make the metric logit[labels] - logit[minus].

    Args:
        labels, minus: A class for all clips, or one for each, (batch,); or a direction over an
            encoder's features.
    Raises:
        ValueError: these are no class numbers; when called, no such class or not one a clip.
    """
    chosen = {"labels": labels, "minus": minus}
    call = "logit_difference: {}".format
    for name, classes in chosen.items():
        if not is_direction(classes):
            class_numbers(classes, None, None, call(name))

    def metric(logits: Tensor) -> Tensor:
        (batch, count), device = logits.shape, logits.device
        each = (
            (as_direction if is_direction(x) else class_numbers)(
                x, batch, count, call(n), device=device
            )
            for n, x in chosen.items()
        )
        return Contrast(*each).of_logits(logits)

    return metric


def logits_from(model: VideoMamba, layer: int, residual: Tensor) -> Tensor:
    """Run the model from the input of one block on, where nothing below it was changed.

    Args:
        model: The model.
        layer: The first block to run.
        residual: What `layers.{layer}.hook_block_input` recorded, (batch, seqlen, d_model).
    """
    for block in model.layers[layer:]:
        residual = block(residual)
    return model.read_out(residual)


def sweep(
    model: VideoMamba,
    clips: Clips,
    surgery: Surgery,
    metric: Metric,
    *,
    layers: Layers = None,
    directions: Sequence[str] | None = None,
    frames: SupportsIndex | Iterable[SupportsIndex] | None = None,
) -> Sweep:
    """Do the same surgery at one place after the other, and measure what it does each time.

    ::

        sweep(model, clip, lambda model, layer, direction, frame:
              reset_state(model, frame, direction=direction, layers=layer), metric)

    Args:
        model, clips: As for `run_with_trace`.
        surgery: Gets (model, layer, direction, frame), gives a context manager.
        metric: Maps logits (batch, num_classes) to (batch,); see `logit_difference`.
        layers, directions: Which; None: all that the model has.
        frames: One or several, handed to `surgery`; None: every frame boundary, 1 to token
            frames - 1.
    Returns:
        A `Sweep`. Shows a progress bar; nothing stays behind when it is interrupted.
    Raises:
        ValueError: there is no such layer or direction, no place at all, or the metric gives
            another shape.
    """
    model = plain(model)
    batch = as_batch(model, clips)
    known = list(model.config.directions) if directions is None else list(directions)
    chosen = numbers(range(len(model.layers)) if layers is None else layers)
    moments = numbers(range(1, model.grid.frames) if frames is None else frames)
    if not chosen or not known or not moments:
        raise ValueError(
            f"sweep: got {len(chosen)} layers, {len(known)} directions and {len(moments)} frames, "
            "expected at least one of each (a model of one token frame has no frame boundary)."
        )
    for direction in known:
        scans(model, chosen, direction)  # raises where there is none
    with torch.no_grad():
        unchanged, found = _measured(metric, model(batch)), []
        places = list(product(chosen, known, moments))
        for place in tqdm(places, desc="sweep", unit="place", leave=False):
            with surgery(model, *place):
                found.append(_measured(metric, model(batch)))
    values = torch.stack(found).view(len(chosen), len(known), len(moments), -1)
    return Sweep(_by_place(values, model, chosen, known, moments), by_clip(unchanged))


def twin_patching(
    model: VideoMamba,
    clips: Clips,
    twins: Clips,
    labels: Classes,
    twin_labels: Classes,
    *,
    layers: Layers = None,
    windows: Sequence[Sequence[int]] | np.ndarray | None = None,
    together: bool = False,
    budget_gib: float = 1.0,
) -> TwinPatching:
    """Put a clip's past into its twin, at one scan and frame boundary after the other.

    The past is all that a scan brings over the boundary (see `transplant`): for a scan that reads
    frames in natural order that of the frames before it, for one that reads them backwards that
    of the frames after it.

    Args:
        model: The model.
        clips: One or several clips.
        twins: As many, of which only the motion's direction differs.
        labels, twin_labels: Their classes, one or one for each.
        layers: Which; None: all.
        windows: First and last clip frame of each clip's motion, to be drawn.
        together: Patch all of `layers` at once instead of one after the other. The result's only
            layer is then named -1.
        budget_gib: The most that the recording of the twins may hold, GiB.
    Returns:
        A `TwinPatching`. Shows a progress bar; nothing stays behind when it is interrupted.
    Raises:
        ValueError: there are not as many twins or windows as clips, there is no such layer, class
            or no layer at all, or the model has one token frame only.
        TraceBudgetError: the recording would be over budget; nothing was patched.
    """
    model = plain(model)
    ours, theirs, contrast = pairs_of(model, clips, twins, labels, twin_labels, "twin_patching")
    if model.grid.frames < 2:
        raise ValueError(
            "twin_patching: this model has one token frame, and a past needs a boundary between "
            "two; take a model with more."
        )
    chosen = sorted({scan.layer for scan in scans(model, layers)})
    if not chosen:
        raise ValueError("twin_patching: got no layer, expected at least one, or None for all.")
    drawn = None if windows is None else _as_windows(windows, len(ours))
    groups: list[list[int]] = [chosen] if together else [[n] for n in chosen]
    known, moments = list(model.config.directions), list(range(1, model.grid.frames))
    # every boundary at once: each clip of the batch has its own
    pairs = torch.arange(len(ours)).repeat_interleave(len(moments))
    at = torch.tensor(moments).repeat(len(ours))
    with torch.no_grad():
        metric = contrast.of_logits
        past, clip = record_past(model, ours), metric(model(ours))
        hooks = [f"layers.{group[0]}.hook_block_input" for group in groups]
        logits, trace = run_with_trace(model, theirs, hooks, budget_gib)
        twin = metric(logits)
        total, found = len(groups) * len(known) * len(pairs), []
        with tqdm(total=total, desc="twin patching", unit="run", leave=False) as bar:
            for group, hook in zip(groups, hooks, strict=True):
                for direction in known:
                    donor = past.of([(layer, direction) for layer in group])
                    for part in torch.arange(len(pairs)).split(ROOM):
                        who, when = pairs[part], at[part].tolist()
                        done = contrast.take(who).of_logits
                        with transplant(
                            model, donor.take(who), when, direction=direction, layers=group
                        ):
                            # the blocks below would do what they did before
                            found.append(done(logits_from(model, group[0], trace[hook][who])))
                        bar.update(len(part))
        with transplant(model, record_past(model, theirs), moments[len(moments) // 2]):
            same = metric(model(theirs))
    values = torch.cat(found).view(len(groups), len(known), len(ours), len(moments)).mT
    patched = _by_place(values, model, [-1] if together else chosen, known, moments)
    residual = largest_share(same - twin, clip - twin)
    return TwinPatching(patched, by_clip(clip), by_clip(twin), drawn, residual)


def pairs_of(
    model: VideoMamba, clips: Clips, twins: Clips, labels: Classes, twin_labels: Classes, call: str
) -> tuple[Tensor, Tensor, Contrast]:
    """Return clips and twins as batches, and what tells them apart.

    Raises:
        ValueError: there are not as many twins as clips, or there is no such class.
    """
    ours, theirs = as_batch(model, clips), as_batch(model, twins)
    if len(ours) != len(theirs):
        raise ValueError(f"{call}: got {len(ours)} clips and {len(theirs)} twins.")
    names = ("labels", "twin_labels")
    return ours, theirs, Contrast.of(model, len(ours), labels, twin_labels, call, names=names)


def by_clip(values: Tensor) -> xr.DataArray:
    """Label one number for each clip."""
    return xr.DataArray(values.cpu().double().numpy(), dims=["clip"])


def largest_share(change: Tensor, whole: Tensor) -> float:
    """The largest size of change / whole; 0 / 0, nothing of nothing, is 0, and NaN stays NaN."""
    share = (change / whole).abs()
    nothing = (change == 0) & (whole == 0)
    return float(share.masked_fill(nothing, 0.0).max())


def _as_windows(windows: Sequence[Sequence[int]] | np.ndarray, clips: int) -> np.ndarray:
    try:
        found = np.asarray(windows)
        got = str(found.shape)
    except ValueError:  # not as many numbers in each
        found, got = np.empty(0), "pairs of different lengths"
    if found.shape != (clips, 2):
        raise ValueError(
            f"twin_patching: windows are {got}, expected ({clips}, 2): first and last clip frame "
            "of each clip."
        )
    return found


def _measured(metric: Metric, logits: Tensor) -> Tensor:
    value = metric(logits)
    if not isinstance(value, Tensor) or value.shape != logits.shape[:1]:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"sweep: the metric gave {got} for logits {tuple(logits.shape)}, expected one number "
            f"a clip, ({len(logits)},)."
        )
    return value


def _by_place(
    values: Tensor,
    model: VideoMamba,
    layers: Sequence[int],
    directions: Sequence[str],
    frames: Sequence[int],
) -> xr.DataArray:
    coords = {
        "layer": list(layers),
        "direction": list(directions),
        "frame": list(frames),
        "clip_frame": ("frame", np.asarray(frames) * model.config.tubelet_size),
    }
    dims = ["layer", "direction", "frame", "clip"]
    return xr.DataArray(values.cpu().double().numpy(), coords, dims, name="metric")
