"""Register two pictures: the shift, zoom and rotation that most of the picture follows.

Direct and without learning: Gauss-Newton on the gray values themselves, from coarse to fine, with
weights that leave out what moves by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, pad

SIDE = 64
"""Pixels of the square on which pictures are registered."""

MEAN_REACH = (math.sqrt(2) + math.asinh(1)) / 6
"""Mean distance from the middle of a square of side 1: what a small rotation or zoom, times this,
shifts the picture by on average."""

_BLURS = (4.0, 2.0, 1.0)  # standard deviations, pixels
_STEPS = 3  # of Gauss-Newton with each blur
_MARGIN = 2  # pixels at the border that are not compared
_ALIKE = 0.5  # slopes that differ by this share of the larger one belong together
_CLEAR = 4.0  # gray levels per pixel from which on a slope counts as one
_NEAR = 0.05  # pixels that are never told apart
_DAMPING = 1.0  # of Gauss-Newton
_DOUBTFUL = 0.75  # where less is explained, a second start is tried
_LARGEST = 0.6  # shift in sides, zoom in log units, rotation in radians

Pictures = Float[Tensor, "pair side side"]


@dataclass(frozen=True, eq=False)
class Registration:
    """How the content of each second picture lies over that of the first.

    Attributes:
        moves: Of the content: shift right and down in sides of the square, logarithm of the zoom,
            clockwise rotation in radians, zoom and rotation about the middle.
        explained: The share of the structure that both pictures show, 0 to 1, that lies where the
            move says; structure is the area with a slope, faint slopes count less.
        overlap: The share of the square that both pictures show, 0 to 1.
        structure: Gray levels (of 255) by which the picture changes for a move of one pixel, root
            mean square, for the shift, zoom or rotation that it shows least.
    """

    moves: Float[Tensor, "pair 4"]
    explained: Float[Tensor, " pair"]
    overlap: Float[Tensor, " pair"]
    structure: Float[Tensor, " pair"]


@torch.no_grad()
def register(first: Pictures, second: Pictures) -> Registration:
    """Register pictures in pairs, each from rest; what that does not explain, once more from the
    peak of the phase correlation, for shifts of many pixels.

    Args:
        first: Gray values, float32, 0 to 255, on squares of SIDE pixels.
        second: Likewise.
    Returns:
        The moves from the first to the second of each pair.
    Source:
        Baker and Matthews 2004, IJCV 56 (forward compositional); Kuglin and Hines 1975.
    """
    found = _refined(first.new_zeros(len(first), 4), first, second)
    doubtful = (found.explained < _DOUBTFUL).nonzero()[:, 0]
    if not len(doubtful):
        return found
    pairs = first[doubtful], second[doubtful]
    again = _refined(_correlated(*pairs), *pairs)
    better = again.explained > found.explained[doubtful]
    taken = {
        name: getattr(found, name).index_copy(0, doubtful[better], getattr(again, name)[better])
        for name in (field.name for field in fields(found))
    }
    return Registration(**taken)


def _blurred(pictures: Pictures, sigma: float) -> Pictures:
    """Blur with a Gaussian of this standard deviation, pixels."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1).to(pictures) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    framed = pad(pictures[:, None], (reach,) * 4, mode="reflect")
    return conv2d(conv2d(framed, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]


def _correlated(first: Pictures, second: Pictures) -> Float[Tensor, "pair 4"]:
    """Shifts, in whole pixels, by phase correlation."""
    window = torch.hann_window(SIDE, periodic=False).to(first)
    window = window * window[:, None]
    ours, theirs = (
        torch.fft.rfft2((part - part.mean((1, 2), keepdim=True)) * window)
        for part in (_blurred(first, 1.0), _blurred(second, 1.0))
    )
    cross = theirs * ours.conj()
    peaks = torch.fft.irfft2(cross / cross.abs().clamp_min(1e-9), (SIDE, SIDE)).flatten(1).argmax(1)
    shifts = torch.stack([peaks % SIDE, peaks // SIDE], 1)
    return pad(((shifts + SIDE // 2) % SIDE - SIDE // 2).to(first) / SIDE, (0, 2))


def _refined(moves: Float[Tensor, "pair 4"], first: Pictures, second: Pictures) -> Registration:
    """Improve moves from coarse to fine, and judge them."""
    for sigma in _BLURS:
        ours, theirs = _blurred(first, sigma), _blurred(second, sigma)
        for _ in range(_STEPS):
            moves = _improved(moves, _Comparison(moves, ours, theirs))
    return _judged(moves, _Comparison(moves, ours, theirs))


class _Comparison:
    """First pictures moved half way to the second ones, beside second ones moved half way back.

    Both are sampled alike, so that exchanging them gives exactly the opposite move.

    Attributes:
        half: Half of the move, a shift and a turn: complex numbers u and v in x -> v x + u.
        left: What differs, gray levels, less its median: the light may have changed.
        seen: Which pixels both show.
        slopes: Gray levels per side to the right and down, of both.
        changes: What differs more for shifts, zoom and rotation, gray levels per unit of `moves`.
    """

    def __init__(self, moves: Float[Tensor, "pair 4"], first: Pictures, second: Pictures) -> None:
        line = (torch.arange(SIDE).to(first) - (SIDE - 1) / 2) / SIDE
        x, y = line.expand(SIDE, SIDE), line[:, None].expand(SIDE, SIDE)
        shift, turn = _shift_and_turn(moves)
        self.half = shift / (1 + turn.sqrt()), turn.sqrt()
        (shift, turn), place = (part[:, None, None] for part in self.half), torch.complex(x, y)
        places = torch.stack([(place - shift) / turn, turn * place + shift])
        there = torch.view_as_real(places)
        inside = (there.abs() <= 0.5 - _MARGIN / SIDE).all(-1).all(0)
        self.seen: Bool[Tensor, "pair pixel"] = inside.flatten(1)
        both = torch.stack([first, second]).flatten(0, 1)[:, None]
        sampled = grid_sample(
            both, 2 * there.flatten(0, 1), padding_mode="border", align_corners=False
        )[:, 0]
        self.slopes = _slopes(sampled).unflatten(0, (2, -1))
        ours, theirs = sampled.flatten(1).unflatten(0, (2, -1))
        self.left = theirs - ours
        self.left = self.left - self.median(self.left)
        right, down = self.slopes.mean(0).unbind(1)
        self.changes = torch.stack([right, down, right * x + down * y, down * x - right * y], 1)
        self.changes = self.changes.flatten(2)

    def median(self, values: Float[Tensor, "pair pixel"]) -> Float[Tensor, "pair 1"]:
        """The median of what both pictures show, by every third pixel; 0 where that is nothing."""
        hidden = values[:, ::3].masked_fill(~self.seen[:, ::3], torch.nan)
        return hidden.nanmedian(1, keepdim=True).values.nan_to_num()


def _shift_and_turn(moves: Float[Tensor, "pair 4"]) -> tuple[Tensor, Tensor]:
    """A move as two complex numbers, the shift and the zoom with the rotation."""
    right, down, zoom, turn = moves.unbind(-1)
    return torch.complex(right, down), torch.polar(zoom.exp(), turn)


def _slopes(pictures: Pictures) -> Float[Tensor, "pair 2 side side"]:
    """Gray levels per side to the right and down, each smoothed across."""
    along = torch.tensor([-0.5, 0.0, 0.5]).to(pictures) * SIDE
    across = torch.tensor([0.25, 0.5, 0.25]).to(pictures)
    kernels = torch.stack([across[:, None] * along, along[:, None] * across])[:, None]
    return conv2d(pad(pictures[:, None], (1,) * 4, mode="replicate"), kernels)


def _improved(moves: Float[Tensor, "pair 4"], now: _Comparison) -> Float[Tensor, "pair 4"]:
    """One step of Gauss-Newton in which every pixel with structure counts alike, strong or faint,
    and less the more it is off, in pixels, against what is usual."""
    slope = now.changes[:, :2].square().sum(1) / SIDE**2 + _CLEAR**2
    off = now.left / slope.sqrt()
    usual = 1.5 * now.median(off.abs()) + _NEAR
    weight = now.seen / (1 + (off / usual) ** 2) / slope
    weighted = now.changes * weight[:, None]
    system = weighted @ now.changes.mT + _DAMPING * torch.eye(4).to(moves)
    step = -torch.linalg.solve(system, weighted @ now.left[..., None])[..., 0]
    shift, turn = _shift_and_turn(step)  # between the two halves
    half_shift, half_turn = now.half
    shift = half_turn * (turn * half_shift + shift) + half_shift
    turned = moves[:, 2:] + step[:, 2:]
    return torch.cat([torch.view_as_real(shift), turned], 1).clamp(-_LARGEST, _LARGEST)


def _judged(moves: Float[Tensor, "pair 4"], now: _Comparison) -> Registration:
    """Say how far moves can be believed."""
    ours, theirs = now.slopes.flatten(3)
    steep = torch.maximum(*(slopes.square().sum(1) for slopes in (ours, theirs)))
    weight = steep / (steep + (_CLEAR * SIDE) ** 2) * now.seen
    alike = (ours - theirs).square().sum(1) <= _ALIKE**2 * steep
    explained = (weight * alike).sum(1) / weight.sum(1).clamp_min(1e-6)
    pixel = torch.tensor([1, 1, 1 / MEAN_REACH, 1 / MEAN_REACH]).to(moves) / SIDE
    changes = now.changes * pixel[:, None] * now.seen[:, None]
    least = torch.linalg.eigvalsh(changes @ changes.mT)[:, 0] / now.seen.sum(1).clamp_min(1)
    return Registration(moves, explained, now.seen.float().mean(1), least.clamp_min(0).sqrt())
