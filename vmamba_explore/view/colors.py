"""The colors of every view: two scales and one color per direction.

Figures, the player and the pictures it saves read the same two tables; which value a color
stands for, the legend beside each says. Both scales and both direction colors can be told apart
with the common forms of color blindness, and the hues of the directions do not occur at the ends
of the scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SEQUENTIAL = (
    "#440154", "#482878", "#3e4989", "#31688e", "#26828e",
    "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
)  # fmt: skip
"""Stops from low to high. Source: viridis (van der Walt and Smith, CC0)."""

DIVERGING = (
    "#762a83", "#9970ab", "#c2a5cf", "#e7d4e8", "#f7f7f7",
    "#d9f0d3", "#a6dba0", "#5aae61", "#1b7837",
)  # fmt: skip
"""Stops from negative over zero (the middle one) to positive. Source: ColorBrewer PRGn."""

DIRECTION_COLORS = {"forward": "#0072b2", "backward": "#d55e00"}
"""One color per scan direction. Source: Okabe and Ito's blue and vermilion."""


@dataclass(frozen=True)
class Theme:
    """Colors of a picture that is saved for one theme.

    Attributes:
        background: Of the whole picture.
        ink: Text and lines.
        muted: What matters less.
        grid: Rulers and borders.
    """

    background: str
    ink: str
    muted: str
    grid: str


THEMES = {
    "light": Theme(background="#ffffff", ink="#222222", muted="#666666", grid="#d9d9d9"),
    "dark": Theme(background="#111111", ink="#e8e8e8", muted="#a3a3a3", grid="#404040"),
}
"""The palette of each theme that `theme=` can name."""

LEVELS = 255
"""Levels of a scale; its middle one, 127, is zero in the diverging scale."""

MISSING = 255
"""The level of a value that is not a number: drawn as nothing."""


@dataclass(frozen=True)
class Scale:
    """The range of values that a view's colors span, and which of the two tables it uses."""

    low: float
    high: float
    signed: bool

    @property
    def stops(self) -> tuple[str, ...]:
        """The table's colors, evenly spaced from `low` to `high`."""
        return DIVERGING if self.signed else SEQUENTIAL

    def levels(self, values: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Return the level of each value, 0 to 254, or `MISSING` where it is not finite."""
        numbers = np.asarray(values, dtype=np.float64)
        finite = np.isfinite(numbers)
        share = (np.where(finite, numbers, self.low) - self.low) / (self.high - self.low)
        levels = np.rint(np.clip(share, 0, 1) * (LEVELS - 1)).astype(np.uint8)
        return np.where(finite, levels, np.uint8(MISSING))


def scale_of(values: npt.ArrayLike, signed: bool | None = None) -> Scale:
    """Return one scale that spans all the values.

    Args:
        values: Any shape; values that are not finite are left out.
        signed: Whether the quantity can be negative; None looks at the values. A signed scale
            is centered on zero.
    """
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)
    if signed is None:
        signed = low < 0
    if signed:
        reach = max(-low, high) or 1.0
        return Scale(-reach, reach, signed=True)
    if low == high:  # a constant still needs a range: the one from zero
        low, high = min(low, 0.0), max(high, 0.0)
    return Scale(low, high if high > low else low + 1.0, signed=False)


def color_table(signed: bool) -> npt.NDArray[np.uint8]:
    """Return red, green and blue of each of the 255 levels, uint8 (255, 3)."""
    hexes = DIVERGING if signed else SEQUENTIAL
    stops = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in hexes])
    place = np.linspace(0, len(stops) - 1, LEVELS)
    columns = [np.interp(place, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(columns, axis=1)).astype(np.uint8)


def with_unit(name: str, unit: str = "") -> str:
    """Return a label such as "time (s)"; a quantity without unit says so."""
    return f"{name} ({unit or 'no unit'})"
