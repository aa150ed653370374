"""Maps that know nothing of the model: what every method has to beat.

A thing that moves alone is found by the difference of two frames, without any model; so a map that
finds it shows nothing about the model unless it does better than these.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from vmamba_explore.attribution.problem import Problem
from vmamba_explore.attribution.result import Found, with_cls

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def random(problem: Problem) -> Found:
    """Give every token a number between 0 and 1, by chance."""
    grid = problem.labels.grid
    values = torch.rand(problem.batch, *grid.shape, generator=problem.generator)
    return Found(with_cls(values.to(problem.inputs), grid))


def frame_difference(problem: Problem) -> Found:
    """Show where the picture changes: the mean of |x[t+1] - x[t]| and |x[t] - x[t-1]|.

    The first and the last frame have one neighbor and get the difference from it; a clip of one
    frame gets zeros. On pixels, every color for itself, in units of the model's input.
    """
    inputs = problem.inputs
    between = inputs.diff(dim=2).abs()
    if not between.shape[2]:
        return Found(torch.zeros_like(inputs))
    earlier = torch.cat([between[:, :, :1], between], 2)
    later = torch.cat([between, between[:, :, -1:]], 2)
    return Found((earlier + later) / 2)


def edge_energy(problem: Problem, *, still: bool = True) -> Found:
    """Show the edges in the picture: the squared size of the Sobel gradient of every color.

    Args:
        still: True: its mean over the clip's frames, the same map in every frame, which knows
            where edges are and not when. False: each frame's own.
    """
    inputs = problem.inputs
    across = inputs.new_tensor(_SOBEL) / 8
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    pictures = inputs.reshape(-1, 1, *inputs.shape[-2:])
    slopes = F.conv2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), kernels)
    energy = slopes.square().sum(1).view_as(inputs)
    return Found(energy.mean(2, keepdim=True).expand_as(inputs).clone() if still else energy)


def center_prior(problem: Problem, *, width: float | int = 0.5) -> Found:
    """Guess that what matters happens in the middle of the picture and of the clip.

    A Gaussian over frame, row and column around the middle of the token grid.

    Args:
        width: Standard deviation in halves of each side.
    Raises:
        ValueError: the width is not positive.
    """
    if not width > 0:
        raise ValueError(f"attribute: center_prior's width is {width}, expected more than 0.")
    grid = problem.labels.grid
    exponents = [
        ((torch.arange(size) + 0.5) / size * 2 - 1).div(width).square() / 2 for size in grid.shape
    ]
    frame, row, col = torch.meshgrid(*exponents, indexing="ij")
    values = (-(frame + row + col)).exp().expand(problem.batch, *grid.shape)
    return Found(with_cls(values.to(problem.inputs), grid))
