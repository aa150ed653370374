"""What each channel of one scan does: how it steps, how long it remembers, what it adds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from vmamba_explore.analysis.decay import check_clip, decay
from vmamba_explore.analysis.evidence import LogitReadout
from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.analysis.states import reading_strength
from vmamba_explore.analysis.trajectories import states_by_frame
from vmamba_explore.errors import check_choice
from vmamba_explore.model.ssm import BOUNDARY
from vmamba_explore.trace.trace import Trace
from vmamba_explore.trace.window import state_window


class Statistic(NamedTuple):
    """What a number of a channel is.

    Args:
        unit: Of the number; "" for none.
        about: A sentence.
        log: Whether it spans orders of magnitude, and is drawn that way.
    """

    unit: str
    about: str
    log: bool = False


STATISTICS = {
    "delta": Statistic(
        "", "The step size, mean over tokens. Large: the channel forgets and takes tokens in."
    ),
    "delta spread": Statistic(
        "", "How much the step size differs between tokens: standard deviation over mean."
    ),
    "half-life": Statistic(
        "tokens",
        "How many tokens a state lasts until half of it is gone, at the mean step size; median "
        "over the channel's states.",
        log=True,
    ),
    "state norm": Statistic(
        "", "The size of the channel's states, each weighted by how strongly it is read; mean "
        "over tokens.",
    ),
    "contribution": Statistic(
        "logits",
        "What the channel adds to the logit directly, summed over all tokens, sorted by size; the "
        "class token's part is in the bars only.",
    ),
    "change between frames": Statistic(
        "", "How far the states move from one frame to the next, relative to their size; mean "
        "over frames.",
    ),
}  # fmt: skip
"""By name, what can be asked of a channel."""


@dataclass(frozen=True, eq=False)
class Channels:
    """Numbers of all channels of one scan, by the names in `STATISTICS`.

    Attributes:
        layer, direction: Whose.
        values: Dim channel.
        courses: Dims channel, frame: the same in each token frame; of "change between frames"
            the step to that frame from the one read before it, NaN in the first.
    """

    layer: int
    direction: str
    values: xr.Dataset
    courses: xr.Dataset

    @property
    def statistics(self) -> tuple[str, ...]:
        """The names that there are numbers for."""
        return tuple(str(name) for name in self.values)

    def ranked(self, statistic: str) -> NDArray[np.int64]:
        """Channel numbers from the largest value to the smallest; signed ones by size, NaN last.

        Raises:
            ValueError: there is no such statistic.
        """
        check_choice("Channels.ranked: statistic", statistic, self.statistics)
        sizes = np.nan_to_num(abs(self.values[statistic].values), nan=-np.inf)
        return np.argsort(-sizes, kind="stable").astype(np.int64)


def channel_statistics(
    trace: Trace, layer: int, direction: str, readout: LogitReadout | None = None, *, clip: int = 0
) -> Channels:
    """Measure every channel of one scan.

    Args:
        trace: Holds, of the layer, what `channel_names(layer)` lists.
        layer, direction: Which scan.
        readout: Of the logit to explain. None, or where the run was edited such that the parts do
            not sum to what it gave: no contributions.
        clip: Which clip of the batch.
    Raises:
        KeyError: something needed was not recorded.
        ValueError: no such layer, direction or clip.
    """
    check_clip("channel_statistics", trace, clip)
    grid = trace.grid
    delta = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_delta"][clip].detach().double()
    lasting = math.log(2) / trace.ssm(layer, direction).A.detach().double().abs()
    typical = lasting.quantile(0.5, dim=1)  # half-life of the channel where delta is 1
    norms = _state_norms(trace, layer, direction, clip)
    by_frame = grid.split(delta)[0].flatten(2)  # (channel, frame, token)
    norms_by_frame = grid.split(norms)[0].flatten(2)
    change = _changes(trace, layer, direction, clip)
    found = {
        "delta": (delta.mean(-1), by_frame.mean(-1)),
        "delta spread": (_spread(delta), _spread(by_frame)),
        "half-life": (typical / delta.mean(-1), typical[:, None] / by_frame.mean(-1)),
        "state norm": (norms.mean(-1), norms_by_frame.mean(-1)),
        "change between frames": (change.nanmean(1), change),
    }
    added = None if readout is None else _added(trace, layer, direction, readout, clip)
    if added is not None:
        found["contribution"] = added.sum(-1), grid.split(added)[0].flatten(2).sum(-1)
    frames = trace.labels.frame_coords(clip)
    values, courses = {}, {}
    for name, (value, course) in found.items():
        attrs = {"unit": STATISTICS[name].unit}
        values[name] = xr.DataArray(value.cpu().numpy(), dims="channel", attrs=attrs)
        courses[name] = xr.DataArray(
            course.cpu().numpy(), frames, ("channel", "frame"), name, attrs
        )
    number = {"channel": np.arange(len(delta))}
    return Channels(layer, direction, xr.Dataset(values, number), xr.Dataset(courses, number))


def channel_names(layer: int | None = None) -> list[str]:
    """List what a trace must hold for `channel_statistics`, as a `names_filter`."""
    at = f"layers.{'*' if layer is None else layer}.mixer"
    return [*ScanOperator.names(layer, kind="beta"), f"{at}.ssm_*.hook_h_boundaries"]


def clip_half_lives(trace: Trace, layer: int, *, clip: int = 0) -> xr.DataArray:
    """Measure how long each state lasts at its channel's mean step size over the clip.

    With S the sum of delta over all T tokens: T ln 2 / (S |A|). One that is above T has, of what
    the first token wrote, more than half left at the end of the clip: all that the clip shows is
    that it lasts longer.

    Args:
        trace: Holds `hook_delta` of the layer.
        layer, clip: Which layer, and which clip of the batch.
    Returns:
        Tokens, dims direction, channel, state. `attrs` have "clip" and "frame", how many tokens
        those are.
    Raises:
        KeyError: delta was not recorded there.
        ValueError: no such layer or clip.
    """
    check_clip("clip_half_lives", trace, clip)
    grid, found = trace.grid, []
    for direction in trace.config.directions:
        fading = decay(trace, layer, direction)
        total = fading.S[clip, :, fading.steps[-1]]
        found.append((grid.seqlen * math.log(2) / (total[:, None] * fading.A.abs())).cpu().numpy())
    attrs = {"unit": "tokens", "clip": grid.seqlen, "frame": grid.rows * grid.cols}
    coords = {"direction": list(trace.config.directions)}
    dims = ("direction", "channel", "state")
    return xr.DataArray(np.stack(found), coords, dims, "half-life", attrs)


def _spread(values: Tensor) -> Tensor:
    """Standard deviation over mean, along the last axis."""
    return values.std(-1, correction=0) / values.mean(-1)


def _state_norms(trace: Trace, layer: int, direction: str, clip: int) -> Tensor:
    """The size of each channel's states at each token, as they are read: (channel, seqlen)."""
    C = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_C"][clip].detach().float()
    reading, seqlen, parts = reading_strength(C), trace.grid.seqlen, []
    for start in range(0, seqlen, BOUNDARY):
        stop = min(start + BOUNDARY, seqlen)
        h = state_window(trace, layer, direction, start, stop)[clip].detach().float()
        parts.append(torch.linalg.vector_norm(h * reading[:, None], dim=1))
    return torch.cat(parts, dim=-1)


def _changes(trace: Trace, layer: int, direction: str, clip: int) -> Tensor:
    """How far the states move to each frame, relative to their rms size: (channel, frame)."""
    states = states_by_frame(trace, layer, clip=clip).sel(direction=direction)
    h = torch.from_numpy(states.values)  # (frame, channel, state)
    order = torch.from_numpy(states["step"].values.argsort())
    change = h.new_full(h.shape[:2], math.nan)
    change[order[1:]] = torch.linalg.vector_norm(h[order].diff(dim=0), dim=-1)
    size = torch.linalg.vector_norm(h, dim=-1).square().mean(0).sqrt()
    return (change / size).T


def _added(
    trace: Trace, layer: int, direction: str, readout: LogitReadout, clip: int
) -> Tensor | None:
    """What each channel adds to the logit at each token, (channel, seqlen); None after an edit."""
    operator = ScanOperator.from_trace(trace, layer=layer, direction=direction, kind="beta")  # type: ignore[arg-type]
    rounding = torch.finfo(trace.mixer(layer).out_proj.weight.dtype).eps
    if not operator.residual < max(1e-4, 4 * rounding):
        return None
    with torch.no_grad():
        return ((operator.T @ readout.at_mixer(trace, layer)) * operator.source)[clip]
