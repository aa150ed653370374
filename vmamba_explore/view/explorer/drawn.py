"""One map of the explorer as it is drawn: values, their difference, and what colors stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from vmamba_explore.view.colors import Scale, scale_of
from vmamba_explore.view.explorer.exploration import DIMS
from vmamba_explore.view.explorer.vocabulary import DIFFERENCE, FLOOR

Floats = npt.NDArray[np.float64]
Side = int | Literal["difference"]


@dataclass(frozen=True, eq=False)
class DrawnMap:
    """A map of one clip or two, on the scales in which it is drawn.

    A layer has one scale for all its frames, both directions and all sides; the difference
    (second side less first) has its own, centered on zero. On a logarithmic scale all numbers
    are log10, so their difference is a ratio.

    Attributes:
        values: By side, (layer, direction, frame, row, col), with length 1 where the map has no
            such axis; NaN where it has no value.
        log: Whether the numbers are log10 of the map's.
        scales: Of the sides, by layer.
        difference_scales: Of the difference, by layer; empty with one side.
    """

    values: dict[Side, Floats]
    log: bool
    scales: list[Scale]
    difference_scales: list[Scale]

    @classmethod
    def of(cls, maps: Sequence[xr.DataArray]) -> DrawnMap:
        """Scale a map that one or two sides have."""
        log = bool(maps[0].attrs.get("log", False))
        known = [array.values[np.isfinite(array.values)] for array in maps]
        top = max((float(values.max()) for values in known if values.size), default=1.0)
        sides = [_numbers(array, FLOOR * top if log else None) for array in maps]
        negative = any(bool((side < 0).any()) for side in sides)
        signed = not log and bool(maps[0].attrs.get("signed", negative))
        values: dict[Side, Floats] = dict(enumerate(sides))
        of_difference: list[Scale] = []
        if len(sides) == 2:
            values[DIFFERENCE] = sides[1] - sides[0]
            of_difference = [scale_of(layer, signed=True) for layer in values[DIFFERENCE]]
        together = np.concatenate(sides, axis=2)
        scales = [scale_of(layer, signed) for layer in together]
        return cls(values, log, scales, of_difference)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of layer, direction, frame, row and col."""
        return self.values[0].shape

    def scales_of(self, side: Side) -> list[Scale]:
        """The scales of one side or of the difference, by layer."""
        return self.difference_scales if side == DIFFERENCE else self.scales

    def levels(self, side: Side) -> npt.NDArray[np.uint8]:
        """The levels of one side or of the difference, shaped like its values."""
        pairs = zip(self.values[side], self.scales_of(side), strict=True)
        return np.stack([scale.levels(layer) for layer, scale in pairs])

    def pane(
        self,
        side: Side,
        direction: int | Literal["difference"],
        layer: int,
        all_layers: bool = False,
    ) -> tuple[Floats, Scale, bool]:
        """What one pane shows of a layer.

        Args:
            side: Which clip, or their difference.
            direction: Its number, or "difference": the first less the second.
            layer: Its place on the axis.
            all_layers: Whether the scale spans all layers.
        Returns:
            Values (frame, row, col), their scale, and whether they are log10 of a ratio.
        """
        spanned = slice(None) if all_layers else slice(layer, layer + 1)
        ratio = self.log and DIFFERENCE in (side, direction)
        if direction == DIFFERENCE:
            alike = [s for s in self.values if (s == DIFFERENCE) == (side == DIFFERENCE)]
            apart = {s: self.values[s][:, 0] - self.values[s][:, 1] for s in alike}
            scale = scale_of(np.stack([values[spanned] for values in apart.values()]), signed=True)
            return apart[side][layer], scale, ratio
        scales = self.scales_of(side)[spanned]
        low, high = min(scale.low for scale in scales), max(scale.high for scale in scales)
        number = min(direction, self.shape[1] - 1)  # a map without directions has one
        return self.values[side][layer, number], Scale(low, high, scales[0].signed), ratio


def _numbers(array: xr.DataArray, floor: float | None) -> Floats:
    """The values with all five axes; their log10 where there is a floor."""
    missing = {dim: 1 for dim in DIMS[:2] if dim not in array.dims}
    values = array.expand_dims(missing).transpose(*DIMS).values.astype(np.float64)
    if floor is None:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.log10(np.maximum(values, floor))
    return np.where(np.isfinite(drawn), drawn, np.nan)
