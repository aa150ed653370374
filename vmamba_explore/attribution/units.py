"""What is taken away at a time: a tubelet, a frame, a tube that follows the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from skimage.segmentation import slic
from torch import Tensor
from torch.nn import functional as F

from vmamba_explore.attribution.problem import Problem, at_least_one
from vmamba_explore.clips.clip import IMAGENET_MEAN, IMAGENET_STD
from vmamba_explore.errors import shown
from vmamba_explore.tokens import TokenGrid

Unit = str | Tensor
"""One of `UNITS`, or the number of the unit that each video token belongs to."""
UNITS = ("tubelets", "frames", "tubes")
_FINE = 4
"""Tubes are found on clips of so many pixels a patch: about as long as wide, and fast."""


@dataclass(frozen=True, eq=False)
class Units:
    """The unit that every video token of every clip belongs to.

    Args:
        numbers: Unit of each video token, from 0, (batch, num_patches).
        grid: Where the tokens stand.
        name: What the units are, such as "frames".
    """

    numbers: Int64[Tensor, "batch num_patches"]
    grid: TokenGrid
    name: str = "custom"

    @property
    def count(self) -> int:
        """How many units a clip has at most; some clips may have fewer (see `sizes`)."""
        return int(self.numbers.max()) + 1

    @property
    def sizes(self) -> Int64[Tensor, "batch n_units"]:
        """Video tokens in each unit of each clip; 0 for a unit that a clip does not have."""
        return self._added(torch.ones_like(self.numbers))

    def sums(self, values: Float[Tensor, "batch frame row col"]) -> Float[Tensor, "batch n_units"]:
        """The sum of a token map over each unit."""
        return self._added(values.flatten(1))

    def spread(
        self, values: Float[Tensor, "batch n_units"]
    ) -> Float[Tensor, "batch frame row col"]:
        """A token map in which each unit's value is shared out evenly, so that its sum stays."""
        shares = values / self.sizes.clamp_min(1)
        return shares.gather(1, self.numbers).unflatten(1, self.grid.shape)

    def tokens(
        self, present: Bool[Tensor, "rows n_units"], which: Int64[Tensor, " rows"]
    ) -> Bool[Tensor, "rows frame row col"]:
        """Which video tokens are there when only some units are.

        Args:
            present: Whether each unit is there.
            which: For which clip each row stands.
        """
        return present.gather(1, self.numbers[which]).unflatten(1, self.grid.shape)

    def _added(self, values: Tensor) -> Tensor:
        totals = values.new_zeros(len(self.numbers), self.count)
        return totals.scatter_add(1, self.numbers, values)

    def __repr__(self) -> str:
        batch, tokens = self.numbers.shape
        return f"Units({self.name}: {tokens} tokens in {self.count} units, {batch} clips)"


def units_of(problem: Problem, unit: Unit = "tubelets", *, n_tubes: int = 40) -> Units:
    """Say to which unit each video token belongs.

    Args:
        problem: Whose clips.
        unit: A name, or your own whole numbers from 0, (frame, row, col) for all clips or
            (batch, frame, row, col), the three axes flat if you like.

            * "tubelets": every video token for itself;
            * "frames": all tokens of a token frame;
            * "tubes": supervoxels of the clip: regions of like color that go on through time.
        n_tubes: About how many tubes; colors that vary make more, even ones fewer.
    Raises:
        ValueError: an unknown name, or numbers that do not fit the clips.
    Source:
        Tubes: Achanta et al. 2012 (SLIC), in frame, row and column, by scikit-image.
    """
    grid, batch = problem.labels.grid, problem.batch
    device = problem.inputs.device
    if isinstance(unit, Tensor):
        return Units(_checked(unit, problem), grid)
    if unit == "tubelets":
        numbers = torch.arange(grid.num_patches)
    elif unit == "frames":
        numbers = torch.arange(grid.frames).repeat_interleave(grid.rows * grid.cols)
    elif unit == "pixels":
        raise ValueError(
            "attribute: unit='pixels' would take the model once for each of thousands of pixels. "
            "occlusion slides a window over them, and gradient methods give each its value."
        )
    elif unit == "tubes":
        at_least_one("attribute", n_tubes=n_tubes)
        tubes = [_tubes(clip, grid, n_tubes) for clip in problem.inputs]
        return Units(torch.stack(tubes).to(device), grid, unit)
    else:
        raise ValueError(
            f"attribute: unit is {shown(unit)}; expected one of {', '.join(UNITS)}, or a tensor "
            "with the number of each token's unit."
        )
    return Units(numbers.to(device).expand(batch, -1), grid, unit)


def _tubes(clip: Tensor, grid: TokenGrid, count: int) -> Tensor:
    """The supervoxel of each token of a clip (channels, num_frames, height, width)."""
    picture = clip.detach().double().cpu()
    colored = len(picture) == len(IMAGENET_MEAN)
    if colored:
        mean, std = (picture.new_tensor(c).view(-1, 1, 1, 1) for c in (IMAGENET_MEAN, IMAGENET_STD))
        picture = (picture * std + mean).clamp(0, 1)
    t, h, w = grid.shape
    fine = F.adaptive_avg_pool3d(picture, (picture.shape[1], h * _FINE, w * _FINE))
    regions = slic(
        fine.movedim(0, -1).numpy(),
        n_segments=count,
        compactness=10 if colored else 0.1,
        min_size_factor=0.2,
        convert2lab=colored,
        channel_axis=-1,
        start_label=0,
    )
    pixels = rearrange(regions, "(t a) (h b) (w c) -> (t h w) (a b c)", t=t, h=h, w=w)
    most = [np.bincount(token).argmax() for token in pixels]
    return torch.from_numpy(np.unique(most, return_inverse=True)[1].astype(np.int64))


def _checked(unit: Tensor, problem: Problem) -> Tensor:
    grid, batch = problem.labels.grid, problem.batch
    shape = tuple(unit.shape)
    allowed = [
        (*lead, *axes)
        for lead in ((), (1,), (batch,))
        for axes in (grid.shape, (grid.num_patches,))
    ]
    if shape not in allowed:
        raise ValueError(
            f"attribute: unit is {shape}; expected a number for every video token (no class "
            f"token), {grid.shape} or {(batch, *grid.shape)}."
        )
    if unit.is_floating_point() or unit.dtype == torch.bool:
        raise ValueError(f"attribute: unit is {unit.dtype}, expected whole numbers.")
    low, high = int(unit.min()), int(unit.max())
    if low < 0 or high >= grid.num_patches:
        raise ValueError(
            f"attribute: unit has numbers {low} to {high}; expected 0 to at most "
            f"{grid.num_patches - 1}, one less than there are video tokens."
        )
    flat = unit.detach().long().to(problem.inputs.device).reshape(-1, grid.num_patches)
    return flat.expand(batch, -1)
