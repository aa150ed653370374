"""A motion detector with weights set by hand: Hassenstein and Reichardt's, made of one scan.

The textbook detector multiplies the delayed signal of one receptor with the present signal of its
neighbor, does the same with the two exchanged, and subtracts the two products. Here a token is one
frame of a row of receptors, and one Mamba layer does it: a channel per product; the state delays,
the gate multiplies, the output projection subtracts. Where it departs from the textbook:

* the delay is a fast state minus a slow one, where the textbook has one low-pass filter;
* the gate multiplies with SiLU(z), which is nearly the brightness z, not exactly;
* the output is averaged over all pairs of neighbors in the row.

Source:
    Hassenstein and Reichardt 1956, Zeitschrift für Naturforschung 11b, 513-524; Borst and Egelhaaf
    1989, Trends in Neurosciences 12, 297-306.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

DELTA = 0.1
"""The detector's step size as it is built. At 2.0 it prefers the other direction."""

RATES = (1.0, 0.25)
"""-A of the first and of the second state as they are built: fast minus slow. No unit."""

GAIN = 8.0
"""What multiplies the gate's input, so that SiLU(GAIN x) / GAIN is nearly x for bright x."""


def moving_dots(
    speeds: Sequence[float] | Float[Tensor, " movies"], num_pixels: int = 16, width: float = 1.0
) -> Float[Tensor, "movies pixels frames"]:
    """Make one movie per speed: a bright dot crosses a dark row of pixels once.

    Args:
        speeds: Pixels per frame, rightward positive, none of them zero.
        num_pixels: Length of the row.
        width: Standard deviation of the dot's round profile, pixels.

    Returns:
        Brightness, 0 to 1. All movies last as long as the slowest dot takes, the dot in the
        middle of the row in the middle of the movie.
    """
    each = torch.as_tensor(speeds, dtype=torch.float32)
    if each.numel() == 0 or (each == 0).any():
        raise ValueError(f"moving_dots: speeds are {each.tolist()}, expected some, none of them 0.")
    way = num_pixels + 8 * width  # from out of sight to out of sight
    frames = math.ceil(way / float(each.abs().min()))
    time = torch.arange(frames) - (frames - 1) / 2
    center = (num_pixels - 1) / 2 + each[:, None] * time
    distance = torch.arange(num_pixels)[:, None] - center[:, None]
    return torch.exp(-0.5 * (distance / width).square())


def detector_inputs(
    rows: Float[Tensor, "movies pixels frames"],
    delta: float = DELTA,
    rates: tuple[float, float] = RATES,
) -> dict[str, Tensor]:
    """Return the arguments of `selective_scan` that make it the detector.

    A token is a frame. The first half of the channels pairs each pixel's delayed brightness (u)
    with the present brightness of its right neighbor (z): products for rightward motion. The
    second half exchanges the two. Each state is a leaky average, h' = -rate (h - u).

    Args:
        rows: Brightness over pixels and frames.
        delta: Step size, the same at every token: this detector is not selective.
        rates: -A of the first state, which C adds, and of the second, which it subtracts.

    Returns:
        u, delta, A, B, C and z; d_inner is 2 (pixels - 1), d_state 2.
    """
    if delta <= 0 or min(rates) <= 0:
        raise ValueError(
            f"detector_inputs: delta is {delta} and rates are {rates}; all must be positive."
        )
    left, right = rows[:, :-1], rows[:, 1:]
    u = torch.cat([left, right], dim=1)
    movies, d_inner, seqlen = u.shape
    rate = rows.new_tensor(rates)
    return {
        "u": u,
        "delta": torch.full_like(u, delta),
        "A": -rate.expand(d_inner, 2),
        "B": rate[:, None].expand(movies, 2, seqlen),
        "C": rows.new_tensor([1.0, -1.0])[:, None].expand(movies, 2, seqlen),
        "z": GAIN * torch.cat([right, left], dim=1),
    }


def opponent(y: Float[Tensor, "movies d_inner frames"]) -> Float[Tensor, "movies frames"]:
    """Subtract the leftward from the rightward products, averaged over the pairs of pixels.

    Args:
        y: What the scan gave for `detector_inputs`.

    Returns:
        The detector's response over the frames: positive where it says rightward.
    """
    rightward, leftward = y.chunk(2, dim=1)
    return (rightward - leftward).mean(dim=1) / GAIN


def while_crossing(
    response: Float[Tensor, "movies frames"],
    speeds: Sequence[float] | Float[Tensor, " movies"],
    num_pixels: int = 16,
) -> Float[Tensor, " movies"]:
    """Average the response over the time that each dot of `moving_dots` needs to cross the row."""
    each = torch.as_tensor(speeds, dtype=torch.float32)
    return response.sum(dim=1) * each.abs() / num_pixels


def delay_kernel(
    lags: Float[Tensor, " lags"], delta: float = DELTA, rates: tuple[float, float] = RATES
) -> Float[Tensor, "3 lags"]:
    """Return what is left of a flash `lags` frames later: of the first state, the second, and both.

    The detector answers with the kernel's value at the lag between two neighbors, 1 / speed::

        k(lag) = delta (r1 exp(-r1 delta lag) - r2 exp(-r2 delta lag))

    Args:
        lags: Frames since the flash, at least 0.
        delta, rates: As in `detector_inputs`.

    Returns:
        The first state, the second state, and the first minus the second.
    """
    rate = lags.new_tensor(rates)[:, None]
    first, second = delta * rate * torch.exp(-delta * rate * lags)
    return torch.stack([first, second, first - second])


def turning_lag(delta: float = DELTA, rates: tuple[float, float] = RATES) -> float:
    """Return the lag, in frames, at which the delay kernel changes its sign.

    It is ln(r1 / r2) / ((r1 - r2) delta), for rates r1 and r2.
    A dot that needs longer from one pixel to the next is seen going the other way. NaN where the
    rates are equal: both states then say the same, and the detector is blind.
    """
    first, second = rates
    return math.nan if first == second else math.log(first / second) / (first - second) / delta


def rows_of_clips(
    frames: UInt8[Tensor, "clips frames height width 3"], cell: int = 4
) -> Float[Tensor, "movies pixels frames"]:
    """Cut clips into rows for the detector: gray, coarse, without what stands still.

    Args:
        frames: Clips of one size, for example `MotionClips.batch`'s.
        cell: Pixels of a side that are averaged into one.

    Returns:
        One movie per clip and coarse row, clips outermost: the brightness minus its median over
        the frames, so that a background that stands still is zero.
    """
    clips, count, height, width, _ = frames.shape
    gray = frames.float().mean(dim=-1) / 255
    coarse = F.avg_pool2d(gray, cell)
    moving = coarse - coarse.median(dim=1, keepdim=True).values
    return moving.permute(0, 2, 3, 1).reshape(-1, width // cell, count)
