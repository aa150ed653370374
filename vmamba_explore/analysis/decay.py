"""How a scan forgets: the sum of its steps, the order it reads in, who is compared with whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.trace import Trace

Place = tuple[int, str]
"""A layer and a direction."""


@dataclass(frozen=True, eq=False)
class Decay:
    """How one direction of one layer forgets in a run; every token axis in natural clip order.

    Attributes:
        A: Decay rate, (d_inner, d_state), float64.
        S: Sum of delta over the tokens read up to each token, itself included, (batch, d_inner,
            seqlen), float64.
        steps: The natural index of the token read at each step, (seqlen,).
        frames: How many frames have been opened up to each token, (seqlen,). A token opens a
            frame when it is the first of its frame to be read; the class token opens none.
    """

    A: Float[Tensor, "d_inner d_state"]
    S: Float[Tensor, "batch d_inner seqlen"]
    steps: Int[Tensor, " seqlen"]
    frames: Int[Tensor, " seqlen"]


def decay(trace: Trace, layer: int, direction: str) -> Decay:
    """Read from a trace how one direction of one layer forgets.

    Args:
        trace: Holds `hook_delta` there.
        layer: Block number, from 0.
        direction: "forward" or "backward".
    Raises:
        KeyError: delta was not recorded there.
        ValueError: no such layer or direction.
    """
    ssm = trace.ssm(layer, direction)
    delta = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_delta"].detach().double()
    steps = ssm.steps(delta.shape[-1]).to(delta.device)
    place = steps.argsort()
    return Decay(
        A=ssm.A.detach().double(),
        S=delta[..., steps].cumsum(-1)[..., place],
        steps=steps,
        frames=frames_opened(trace.grid, steps),
    )


def frames_opened(grid: TokenGrid, steps: Int[Tensor, " seqlen"]) -> Int[Tensor, " seqlen"]:
    """Count at each token the frames of which a first token has been read, itself included.

    Args:
        grid: Where the tokens stand.
        steps: The natural index of the token read at each step.
    Returns:
        int64, natural order: 1 at the first video token read, `grid.frames` at the last.
    """
    opened: set[int] = set()
    counts = []
    for frame in grid.frame_of_tokens()[steps.cpu()].tolist():
        opened |= {frame} if frame >= 0 else set()
        counts.append(len(opened))
    return torch.tensor(counts, device=steps.device)[steps.argsort()]


def frame_tokens(grid: TokenGrid, steps: Int[Tensor, " seqlen"]) -> list[Tensor]:
    """Give for each frame the natural indices of its tokens in the order in which they are read."""
    read = grid.frame_of_tokens().to(steps.device)[steps]
    return [steps[read == frame] for frame in range(grid.frames)]


def channel_groups(
    trace: Trace, layer: int, direction: str, count: int = 4
) -> tuple[Int[Tensor, " channels"], ...]:
    """Split the channels into groups of one size, from the longest memory to the shortest.

    Channels are ordered by how much they forget over the clips: the sum of delta times the
    geometric mean of |A| over their states.

    Args:
        trace, layer, direction: As in `decay`.
        count: Number of groups.
    Returns:
        Channel numbers of each group; sizes differ by one at most.
    Raises:
        KeyError, ValueError: as in `decay`; ValueError also for a count out of range.
    """
    fading = decay(trace, layer, direction)
    d_inner = fading.A.shape[0]
    if not 1 <= count <= d_inner:
        raise ValueError(
            f"channel_groups: count is {count}, expected 1 to {d_inner}, the number of channels."
        )
    last = fading.S[..., fading.steps[-1]].mean(0)
    order = (last * fading.A.abs().log().mean(1).exp()).argsort()
    return tuple(order.tensor_split(count))


def places(trace: Trace, layer: int | None, direction: str | None, what: str) -> Iterator[Place]:
    """Give every (layer, direction) with a recorded delta, or those that were chosen.

    A progress bar shows where it is when there are several.

    Raises:
        KeyError: delta was recorded at none of them.
        ValueError: no such layer or direction.
    """
    layers = range(trace.config.depth) if layer is None else [layer]
    names = trace.config.directions if direction is None else [direction]
    for number in layers:
        for name in names:
            trace.ssm(number, name)  # raises with a sentence
    wanted = [(number, name) for number in layers for name in names]
    found = [place for place in wanted if place in trace.places("delta")]
    if not found:
        raise KeyError(
            f"{what}: delta of layer {'any' if layer is None else layer}, direction "
            f"{direction or 'any'} was not recorded. Record it with names_filter='*.hook_delta'."
        )
    if len({number for number, _ in found}) * len({name for _, name in found}) != len(found):
        raise KeyError(
            f"{what}: delta was recorded at {found} only, which cannot be stacked. Choose layer= "
            "and direction=, or record the rest."
        )
    yield from tqdm(found, desc=what, unit="scan", leave=False, disable=len(found) < 4)


def stack(found: dict[Place, xr.DataArray]) -> xr.DataArray:
    """Put arrays of several layers and directions on the dims layer and direction."""
    layers = list(dict.fromkeys(layer for layer, _ in found))
    names = list(dict.fromkeys(name for _, name in found))
    rows = [xr.concat([found[layer, name] for name in names], "direction") for layer in layers]
    array = xr.concat(rows, "layer", combine_attrs="override")
    return array.assign_coords(layer=layers, direction=names)


def check_clip(call: str, trace: Trace, clip: int) -> None:
    """Raise a ValueError unless there is such a clip in the batch of a trace."""
    batch = len(next(iter(trace.values()))) if len(trace) else 0
    if not 0 <= clip < batch:
        raise ValueError(f"{call}: there is no clip {clip} in this batch of {batch}.")


def check_channels(call: str, channels: Sequence[int] | Tensor | None, d_inner: int) -> Tensor:
    """Return channel numbers as a tensor; None means all.

    Raises:
        ValueError: there are none, or one is out of range.
    """
    if channels is None:
        return torch.arange(d_inner)
    chosen = torch.as_tensor(channels).long().flatten()
    if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= d_inner:
        raise ValueError(
            f"{call}: channels are {chosen.tolist()[:8]}, expected some of 0 to {d_inner - 1}."
        )
    return chosen
