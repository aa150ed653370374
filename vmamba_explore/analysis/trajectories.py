"""Where the hidden state goes from frame to frame: its path through the clip, in two components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from vmamba_explore.analysis.decay import check_clip, frame_tokens
from vmamba_explore.analysis.similarity import scale_free_states
from vmamba_explore.trace.trace import Trace

COMPONENTS = 2


def states_by_frame(
    trace: Trace, layer: int, *, place: tuple[int, int] | None = None, clip: int = 0
) -> xr.DataArray:
    """Take the hidden state once in every token frame, in a measure without arbitrary scale.

    Args:
        trace: As in `scale_free_states`.
        layer: Block number.
        place: (row, col): the state right after the token there has been read. None: after the
            last token of the frame that the scan reads.
        clip: Which clip of the batch.
    Returns:
        Dims direction, frame, channel, state; natural clip order. The coordinate `step`, dims
        direction, frame, is the step of the scan after which the state was taken, from 0.
    Raises:
        KeyError: no states were recorded there.
        IndexError: no such place.
        ValueError: no such layer or clip.
    """
    check_clip("states_by_frame", trace, clip)
    grid, names = trace.grid, trace.config.directions
    found, steps = [], []
    for name in names:
        order = trace.ssm(layer, name).steps(grid.seqlen).cpu()
        if place is None:
            tokens = torch.stack([read[-1] for read in frame_tokens(grid, order)])
        else:
            tokens = torch.tensor([grid.index(frame, *place) for frame in range(grid.frames)])
        states = scale_free_states(trace, layer, name, tokens, clip)
        found.append(
            states.unflatten(1, (trace.config.d_inner, trace.config.d_state)).cpu().numpy()
        )
        steps.append(order.argsort()[tokens].numpy())
    coords = {
        "direction": list(names),
        **trace.labels.frame_coords(clip),
        "step": (("direction", "frame"), np.stack(steps)),
    }
    attrs = {"quantity": "h, as it is read", "unit": ""}
    dims = ("direction", "frame", "channel", "state")
    return xr.DataArray(np.stack(found), coords, dims, "h", attrs)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The paths of the states of one or several clips, in the plane in which they spread most.

    Each direction has a plane of its own, and all clips share it: principal components of their
    states together.

    Attributes:
        points: Dims clip, direction, frame, component; without scale.
        explained: Dims direction, component: the part of the variance that lies along each.
    """

    points: xr.DataArray
    explained: xr.DataArray


def trajectory(states: Sequence[xr.DataArray]) -> Trajectory:
    """Project states of the same layer on their two first principal components.

    Args:
        states: From `states_by_frame`, one for each clip, of one layer of one model.
    Returns:
        The sign of a component is arbitrary; here the point farthest out is on the positive side.
    Raises:
        ValueError: nothing is given, the shapes differ, or there are fewer than two states.
    """
    if not states or any(each.shape != states[0].shape for each in states):
        raise ValueError(
            f"trajectory: got states {[dict(each.sizes) for each in states]}, expected at least "
            "one, all of the same model and number of frames."
        )
    first = states[0]
    clips, frames = len(states), first.sizes["frame"]
    if clips * frames < 2:
        raise ValueError(
            "trajectory: one state makes no path; this needs at least two token frames."
        )
    points, explained = [], []
    for direction in range(first.sizes["direction"]):
        rows = np.concatenate([each.values[direction].reshape(frames, -1) for each in states])
        where, share = _principal(torch.from_numpy(rows).double())
        points.append(where.view(clips, frames, COMPONENTS).numpy())
        explained.append(share.numpy())
    coords = {name: first[name] for name in ("direction", "frame", "clip_frame", "seconds", "step")}
    component = {"component": np.arange(1, COMPONENTS + 1)}
    return Trajectory(
        points=xr.DataArray(
            np.stack(points, 1), coords | component, ("clip", "direction", "frame", "component"),
            "trajectory", {"unit": ""},
        ),
        explained=xr.DataArray(
            np.stack(explained), {"direction": first["direction"]} | component,
            ("direction", "component"), "explained variance", {"unit": ""},
        ),
    )  # fmt: skip


def _principal(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows on their first components, (samples, component), and each one's part of the variance."""
    centered = rows - rows.mean(0)
    left, sizes, _ = torch.linalg.svd(centered, full_matrices=False)
    total = sizes.square().sum()
    share = sizes.square() / total if total > 0 else torch.zeros_like(sizes)
    points = left * sizes
    farthest = points.gather(0, points.abs().argmax(0, keepdim=True))
    points = points * torch.where(farthest < 0, -1.0, 1.0)
    missing = max(0, COMPONENTS - len(sizes))  # two samples have one component
    points = torch.nn.functional.pad(points, (0, missing))
    return points[:, :COMPONENTS], torch.nn.functional.pad(share, (0, missing))[:COMPONENTS]
