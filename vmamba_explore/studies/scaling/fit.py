"""How fast a cost grows with the length of a clip: a power law, fitted to points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vmamba_explore.errors import shown


@dataclass(frozen=True)
class Curve:
    """One quantity of one model against the frames of a clip, shortest clip first.

    Attributes:
        model: Name of the model.
        quantity: What `values` are, such as "time".
        unit: Their unit.
        num_frames: Frames of each clip.
        values: One per clip.
    """

    model: str
    quantity: str
    unit: str
    num_frames: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class PowerLaw:
    """`value = factor * num_frames ** exponent`.

    Attributes:
        exponent: 1 where twice the frames cost twice as much, 2 where they cost four times.
        standard_error: Of the exponent, from how far the points lie off the line; it knows
            nothing of what lies outside the fitted clips.
        factor: In the unit of the curve.
        num_frames: The fitted clips.
    """

    exponent: float
    standard_error: float
    factor: float
    num_frames: tuple[int, ...]

    def at(self, num_frames: int) -> float:
        """The value at this length, an extrapolation outside the fitted clips."""
        return self.factor * num_frames**self.exponent

    def __str__(self) -> str:
        fitted = f"{self.num_frames[0]} to {self.num_frames[-1]} frames"
        return f"frames^({self.exponent:.2f} ± {self.standard_error:.2f}), fitted at {fitted}"


def fit_exponent(curve: Curve, at_least: int = 0) -> PowerLaw:
    """Fit a power law: a straight line through the logarithms, by least squares.

    Args:
        curve: What to fit; lengths without a finite positive value are left out.
        at_least: Leave out shorter clips, where what every call costs whatever its length still
            weighs in.
    Raises:
        ValueError: fewer than three points are left: two always lie on a line, and nothing then
            tells how far to trust it.
    """
    points = [
        (frames, value)
        for frames, value in zip(curve.num_frames, curve.values, strict=True)
        if frames >= at_least and 0 < value < math.inf
    ]
    if len(points) < 3:
        raise ValueError(
            f"fit_exponent: {len(points)} lengths of {shown(curve.model)} have {at_least} frames "
            "or more; at least 3 are needed. Measure more lengths, or lower at_least."
        )
    x, y = np.log(np.array(points, dtype=np.float64)).T
    spread = ((x - x.mean()) ** 2).sum()
    exponent = ((x - x.mean()) * (y - y.mean())).sum() / spread
    level = y.mean() - exponent * x.mean()
    residual = ((y - level - exponent * x) ** 2).sum() / (len(points) - 2)
    return PowerLaw(
        exponent=float(exponent),
        standard_error=float(np.sqrt(residual / spread)),
        factor=float(np.exp(level)),
        num_frames=tuple(frames for frames, _ in points),
    )


def make_curve(model: str, quantity: str, unit: str, values: Mapping[int, int | float]) -> Curve:
    """Return the curve of values by number of frames, in any order."""
    frames = sorted(values)
    return Curve(model, quantity, unit, tuple(frames), tuple(float(values[n]) for n in frames))
