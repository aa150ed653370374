"""Places of interventions: scans, tokens, and where a scan crosses from frame to frame."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import SupportsIndex, cast

import torch
from torch import Tensor

from vmamba_explore.errors import shown
from vmamba_explore.hooks import plain
from vmamba_explore.model.mixer import BidirectionalMixer
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.tokens import TokenGrid

Frames = SupportsIndex | Sequence[SupportsIndex]
"""One whole number or several, of any kind."""
Layers = Frames | None
Tokens = int | Sequence[int] | Tensor


@dataclass(frozen=True, eq=False)
class Scan:
    """One direction of one layer of a model."""

    layer: int
    direction: str
    ssm: SelectiveSSM
    mixer: BidirectionalMixer


@dataclass(frozen=True, eq=False)
class Boundary:
    """Where a scan crosses a boundary between frames.

    All tokens are places in the sequence that the scan reads: the natural one, unless tokens are
    dropped.

    Args:
        handover: The last token on this side, whose state is handed over.
        before: Up to d_conv - 1 tokens read last on this side, in scan order.
        after: The tokens read first on the other side, whose convolutions reach back over it.
    """

    handover: int
    before: Tensor
    after: Tensor


def numbers(given: SupportsIndex | Iterable[SupportsIndex]) -> list[int]:
    """One or several whole numbers, of whatever kind (numpy's too), as a list."""
    try:
        return [operator.index(cast(SupportsIndex, given))]
    except TypeError:  # arrays, too, have an index of their own, which fails
        return [operator.index(each) for each in cast(Iterable[SupportsIndex], given)]


def usable(value: Tensor) -> Tensor:
    """The value, or a copy where it is an inference tensor and gradients are on."""
    return value.clone() if value.is_inference() and torch.is_grad_enabled() else value


def scans(model: VideoMamba, layers: Layers = None, direction: str | None = None) -> list[Scan]:
    """List the scans of some layers and directions, from input to output.

    Args:
        model: The model.
        layers: One layer, several, or None for all.
        direction: "forward", "backward", or None for those the model has.
    Raises:
        ValueError: there is no such layer or direction.
    """
    model = plain(model)
    depth, known = len(model.layers), list(model.config.directions)
    wanted = list(range(depth)) if layers is None else numbers(layers)
    for layer in wanted:
        if not 0 <= layer < depth:
            raise ValueError(f"There is no layer {layer}; the model has 0 to {depth - 1}.")
    if direction is not None and direction not in known:
        raise ValueError(
            f"This model has no direction {shown(direction)}; expected "
            f"{' or '.join(map(repr, known))}."
        )
    found = []
    for layer in sorted(set(wanted)):
        mixer = cast(BidirectionalMixer, model.layers[layer].mixer)
        for name, ssm in mixer.directions.items():
            if direction in (None, name):
                found.append(Scan(layer, name, ssm, mixer))
    return found


def frame_tokens(grid: TokenGrid, frames: Frames) -> Tensor:
    """The natural indices of all tokens of some token frames, int64.

    Raises:
        ValueError: there is no such frame.
    """
    wanted = numbers(frames)
    for frame in wanted:
        if not 0 <= frame < grid.frames:
            raise ValueError(
                f"There is no token frame {frame}; this model has 0 to {grid.frames - 1}."
            )
    return torch.isin(grid.frame_of_tokens(), torch.tensor(wanted, dtype=torch.long)).nonzero()[
        :, 0
    ]


def natural_tokens(model: VideoMamba) -> Tensor:
    """The natural index of each token that the blocks see in this run, int64 (tokens,)."""
    kept = model.kept_tokens
    return torch.arange(model.grid.seqlen) if kept is None else kept.cpu()


def boundary(model: VideoMamba, ssm: SelectiveSSM, frame: int) -> Boundary:
    """Find where a scan crosses the boundary before token frame `frame`.

    A scan that reads the frames in natural order comes from the frames below `frame`, one that
    reads them backwards from `frame` and those above.

    Raises:
        ValueError: there is no such boundary, or no token is left on one of its sides.
    """
    count = model.grid.frames
    if not 1 <= frame < count:
        raise ValueError(
            f"There is no boundary before token frame {frame}; this model has {count} token "
            f"frames, so its boundaries are 1 to {count - 1}."
        )
    natural = natural_tokens(model)
    steps = ssm.steps(len(natural)).cpu()
    frames = model.grid.frame_of_tokens()[natural[steps]]
    above = (frames >= frame).nonzero()[:, 0]
    below = ((frames >= 0) & (frames < frame)).nonzero()[:, 0]
    if not len(above) or not len(below):
        side = f"below token frame {frame}" if len(above) else f"of token frame {frame} or above"
        raise ValueError(f"No token {side} is left, so no scan crosses that boundary.")
    crossing = int(max(above[0], below[0]))
    reach = ssm.conv1d.kernel_size[0] - 1
    return Boundary(
        int(steps[crossing - 1]),
        steps[max(0, crossing - reach) : crossing],
        steps[crossing : crossing + reach],
    )
