"""ClipPlayer: the very frames a model saw, played with maps laid over them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import xarray as xr

from vmamba_explore.clips import Clip
from vmamba_explore.files import AnyPath
from vmamba_explore.view.explorer import export
from vmamba_explore.view.explorer.exploration import DIMS, Exploration
from vmamba_explore.view.explorer.exports import Theme
from vmamba_explore.view.explorer.widget import Explorer
from vmamba_explore.view.pictures import over_tokens


class ClipPlayer(Explorer):
    """Play a clip's frames with a map over them: an explorer of nothing but maps.

    Args:
        clip: The clip. Its frames are sent as they are (PNG) up to 128 pixels a side, larger ones
            as JPEG.
        overlays: Maps by name, dims frame, row, col in any order, `attrs["unit"]` for the legend.
            The coordinate `clip_frame`, where there is one, gives the first clip frame of each
            token frame; otherwise they share the clip evenly. Each map has one scale over the
            whole clip, centered on zero where it has negative values.
        overlay: The map to show first; None for the first one, "" for none.
        opacity: Of the map, 0 to 1.

    Raises:
        ValueError: a map's dims are not frame, row, col, or no map is called `overlay`.

    The trait `quantity`, of the same value as `overlay`, and the traits `frame` and `opacity`
    follow the browser and can be set.
    """

    def __init__(
        self,
        clip: Clip,
        overlays: Mapping[str, xr.DataArray] | None = None,
        *,
        overlay: str | None = None,
        opacity: float | int = 0.55,
    ) -> None:
        maps = {n: over_tokens("ClipPlayer", n, values) for n, values in (overlays or {}).items()}
        super().__init__(Exploration(clip, _one_grid(clip, maps)), quantity=overlay, compact=True)
        self.opacity = opacity

    @property
    def overlay(self) -> str:
        """The map that is shown, "" for none; the same as `quantity`."""
        return self.quantity

    @overlay.setter
    def overlay(self, name: str) -> None:
        self.quantity = name

    def to_png(
        self, path: AnyPath | None = None, *, theme: Theme = "light", overwrite: bool = False
    ) -> bytes:
        """Return all frames with the present map and its legend as one PNG picture.

        Args:
            path: Also write the picture there.
            theme: "light" or "dark": background and ink.
            overwrite: Whether to replace a file.
        """
        return self._write(
            lambda: export.png(self._complete_view(), theme, sheet=True), path, "to_png", overwrite
        )


def _one_grid(clip: Clip, maps: Mapping[str, xr.DataArray]) -> Mapping[str, xr.DataArray]:
    """Maps over one grid, as they are, or else repeated until every cell lies within one token."""
    places = {n: Exploration(clip, {n: values}).token_frames for n, values in maps.items()}
    grids = {(values.shape, *places[name]) for name, values in maps.items()}
    if len(grids) <= 1:
        return maps
    rows, cols = (math.lcm(*(values.sizes[dim] for values in maps.values())) for dim in DIMS[3:])
    found = {}
    for name, values in maps.items():
        fine = values.values[places[name]]
        fine = fine.repeat(rows // fine.shape[1], axis=1).repeat(cols // fine.shape[2], axis=2)
        found[name] = xr.DataArray(fine, dims=DIMS[2:], attrs=values.attrs)
    return found
