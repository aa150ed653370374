"""What the frozen operator cannot see: how much goes through delta, B and C instead of u."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.analysis.patching import Metric, by_clip, largest_share, logits_from, pairs_of
from vmamba_explore.hooks import plain
from vmamba_explore.model.contrast import Classes
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.interventions import ablate, patch
from vmamba_explore.trace.places import Layers, Scan, scans
from vmamba_explore.trace.record import Clips, as_batch, run_with_trace

SELECTION = ("delta", "B", "C")
"""What a scan computes from its input to choose with."""
ALL = -1
"""The layer's number where all layers are changed at once."""
_FROM = ("own", "twin")


@dataclass(frozen=True, eq=False)
class SelectionSwap:
    """The logit difference of a clip while its scans get u, or {delta, B, C}, from its twin.

    With m(u from, selection from) the metric of the clip's run, its change has two shares, each
    averaged over the order in which the two are exchanged (Shapley values of two players)::

        by_u         = ((m(twin, own) - m(own, own)) + (m(twin, twin) - m(own, twin))) / 2
        by_selection = ((m(own, twin) - m(own, own)) + (m(twin, twin) - m(twin, own))) / 2

    Args:
        values: m: layer (-1 is all at once), direction, u ("own" or "twin"), selection (the
            same), clip.
        clip: m of the clips as they are, (clip,).
        twin: m of the twins, (clip,).
        residual: m(own, own) should be that of the clip; the largest deviation, as a share of
            m(clip) - m(twin): 0 where both are 0, NaN where a logit is.
    """

    values: xr.DataArray
    clip: xr.DataArray
    twin: xr.DataArray
    residual: float

    @property
    def by_u(self) -> xr.DataArray:
        """What u brings of the clip-minus-twin difference, over all clips: layer, direction."""
        return self._share("u", "selection").rename("by u")

    @property
    def by_selection(self) -> xr.DataArray:
        """What delta, B and C bring of it, over all clips: layer, direction."""
        return self._share("selection", "u").rename("by selection")

    @property
    def both(self) -> xr.DataArray:
        """What exchanging both brings of it: by_u + by_selection."""
        return (self.by_u + self.by_selection).rename("both")

    @property
    def interaction(self) -> xr.DataArray:
        """What only both together bring, minus what each brings alone: layer, direction."""
        m = self._moved()
        return (
            m.sel(u="twin", selection="twin", drop=True)
            - m.sel(u="twin", selection="own", drop=True)
            - m.sel(u="own", selection="twin", drop=True)
        ).rename("interaction")

    @property
    def selection_share(self) -> xr.DataArray:
        """by_selection / (by_u + by_selection); read it only where `both` is not small."""
        return (self.by_selection / self.both).rename("selection share")

    def _moved(self) -> xr.DataArray:
        """How far towards the twin, over all clips: 0 is the clip, 1 the twin."""
        start = self.values.sel(u="own", selection="own", drop=True)
        # NaN where a group does not exist, such as both directions of one layer
        moved = (start - self.values).sum("clip", skipna=False)
        return moved / (self.clip - self.twin).sum("clip")

    def _share(self, player: str, other: str) -> xr.DataArray:
        m = self._moved()
        gain = m.sel({player: "twin"}, drop=True) - m.sel({player: "own"}, drop=True)
        return gain.mean(other)


@dataclass(frozen=True, eq=False)
class TimeInvariant:
    """The metric while delta, B and C, or one of them, do not change from token to token.

    Args:
        values: layer (-1 is all at once), direction, quantity ("delta", "B", "C", "all"), clip.
        plain: The metric without any change, (clip,).
    """

    values: xr.DataArray
    plain: xr.DataArray

    @property
    def kept(self) -> xr.DataArray:
        """The share of the metric that is left, over all clips: layer, direction, quantity."""
        left = self.values.sum("clip", skipna=False) / self.plain.sum("clip")
        return left.rename("share kept")


def selection_swap(
    model: VideoMamba,
    clips: Clips,
    twins: Clips,
    labels: Classes,
    twin_labels: Classes,
    *,
    layers: Layers = None,
    budget_gib: float = 1.0,
) -> SelectionSwap:
    """Give the scans of a clip their input u, or {delta, B, C}, from its twin: all four ways.

    An operator that freezes delta, B and C sees what u brings and nothing else; this measures
    what it misses. Layer by layer and direction by direction, and everywhere at once.

    Args:
        model, clips, twins, labels, twin_labels: As for `twin_patching`.
        layers: Which to try one by one; None: all. "All at once" always means every layer.
        budget_gib: The most that each of a pair's two recordings may hold, GiB.
    Returns:
        A `SelectionSwap`. Shows a progress bar; nothing stays behind when it is interrupted.
    Raises:
        ValueError: there are not as many twins as clips, or there is no such layer or class.
        TraceBudgetError: a recording would be over budget; nothing was swapped.
    """
    ours, theirs, contrast = pairs_of(model, clips, twins, labels, twin_labels, "selection_swap")
    groups = _groups(model, layers)
    results, ends = [], []
    names = [f"*.hook_{name}" for name in ("u", *SELECTION, "block_input")]
    with (
        torch.no_grad(),
        tqdm(
            total=4 * len(groups) * len(ours), desc="selection swap", unit="run", leave=False
        ) as bar,
    ):
        for clip in range(len(ours)):  # one pair's scan inputs at a time
            own_clip, twin_clip = ours[clip : clip + 1], theirs[clip : clip + 1]
            metric = contrast.take([clip]).of_logits
            logits, own = run_with_trace(model, own_clip, names, budget_gib)
            twin_logits, twin = run_with_trace(model, twin_clip, names, budget_gib)
            ends.append(torch.cat([metric(logits), metric(twin_logits)]))
            found = []
            for group in groups.values():
                first = group[0].layer  # below it nothing changes
                residual = own[f"layers.{first}.hook_block_input"]
                for u_from, selection_from in product((own, twin), repeat=2):
                    u = patch(model, _hooks(group, ["u"]), u_from)
                    with u, patch(model, _hooks(group, SELECTION), selection_from):
                        found.append(metric(logits_from(model, first, residual)))
                    bar.update()
            results.append(torch.cat(found).view(len(groups), 2, 2))
    values = torch.stack(results, -1)
    clip_end, twin_end = torch.stack(ends, -1)
    moved = largest_share(values[:, 0, 0] - clip_end, clip_end - twin_end)
    labeled = _labeled(values, groups, {"u": _FROM, "selection": _FROM})
    return SelectionSwap(labeled, by_clip(clip_end), by_clip(twin_end), moved)


def time_invariant(
    model: VideoMamba,
    clips: Clips,
    metric: Metric,
    *,
    layers: Layers = None,
) -> TimeInvariant:
    """Hold delta, B and C at their means over the clip, channel by channel: a fixed filter.

    The class token, which is not part of the clip, keeps its own values.

    Args:
        model, clips, layers: As for `selection_swap`.
        metric: Maps logits (batch, num_classes) to (batch,); see `logit_difference`.
    Returns:
        A `TimeInvariant`. Shows a progress bar; nothing stays behind when it is interrupted.
    Raises:
        ValueError: there is no such layer.
    """
    model = plain(model)
    batch, groups = as_batch(model, clips), _groups(model, layers)
    kinds = {**{name: (name,) for name in SELECTION}, "all": SELECTION}
    runs = list(product(groups.values(), kinds.values()))
    with torch.no_grad():
        unchanged, found = metric(model(batch)), []
        for group, quantities in tqdm(runs, desc="time-invariant", unit="run", leave=False):
            with ablate(model, _hooks(group, quantities), "mean"):
                found.append(metric(model(batch)))
    values = torch.stack(found).view(len(groups), len(kinds), len(batch))
    return TimeInvariant(_labeled(values, groups, {"quantity": tuple(kinds)}), by_clip(unchanged))


def _groups(model: VideoMamba, layers: Layers) -> dict[tuple[int, str], list[Scan]]:
    """The scans that are changed together: each alone, then all of a direction, then all."""
    groups = {(s.layer, s.direction): [s] for s in scans(model, layers)}
    for direction in model.config.directions:
        groups[ALL, direction] = scans(model, None, direction)
    if len(model.config.directions) > 1:
        groups[ALL, "both"] = scans(model)
    return groups


def _hooks(group: list[Scan], quantities: Iterable[str]) -> list[str]:
    at = [scan.ssm.hook_u.name.removesuffix("u") for scan in group]
    return [place + quantity for place in at for quantity in quantities]


def _labeled(
    values: Tensor, groups: dict[tuple[int, str], list[Scan]], dims: dict[str, tuple[str, ...]]
) -> xr.DataArray:
    """(group, *dims, clip) as layer, direction, *dims, clip; NaN where there is no such group."""
    layers = sorted({layer for layer, _ in groups}, key=lambda n: (n == ALL, n))
    directions = list(dict.fromkeys(direction for _, direction in groups))
    shape = (len(layers), len(directions), *values.shape[1:])
    whole = torch.full(shape, float("nan"), dtype=torch.float64)  # holds whatever the logits are
    for value, (layer, direction) in zip(values, groups, strict=True):
        whole[layers.index(layer), directions.index(direction)] = value
    coords = {"layer": layers, "direction": directions, **{k: list(v) for k, v in dims.items()}}
    return xr.DataArray(whole.numpy(), coords, [*coords, "clip"], name="metric")
