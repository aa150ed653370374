"""ClipPlayer: the very frames a model saw, played with maps laid over them."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
import xarray as xr

from vmamba_explore.clips import Clip
from vmamba_explore.files import atomic_write
from vmamba_explore.view.colors import color_table, with_unit
from vmamba_explore.view.page import html_page
from vmamba_explore.view.pictures import Overlay, contact_sheet, encode
from vmamba_explore.view.widgets.browser_code import read_code, standalone_fragment

_HERE = Path(__file__).parent


class ClipPlayer(anywidget.AnyWidget):
    """Play a clip's frames with a map over them: play, scrub, choose the map, fade it.

    Everything is sent once. After that the browser needs no Python: the player stays alive without
    a kernel, in the page that `to_html` writes, and in a notebook saved with its widget state.

    Args:
        clip: The clip. Its frames are sent as they are (PNG) up to 128 pixels a side, larger ones
            as JPEG.
        overlays: Maps by name, dims frame, row, col (see `Overlay.from_map`). Each has one scale
            over the whole clip, centered on zero where it has negative values.
        overlay: The map to show first; None for the first one.
        opacity: Of the map, 0 to 1.

    Raises:
        ValueError: a map's dims are not frame, row, col, or no map is called `overlay`.

    The traits `frame`, `overlay` ("" for none) and `opacity` follow the browser and can be set.
    """

    _esm = read_code([_HERE / "drawing.js", _HERE / "player.js"])
    _css = read_code([_HERE / "theme.css", _HERE / "player.css"])

    frames = traitlets.Bytes().tag(sync=True)  # encoded pictures, one after the other
    offsets = traitlets.List(traitlets.Int()).tag(sync=True)  # where each picture starts; the end
    size = traitlets.List(traitlets.Int()).tag(sync=True)  # height, width in pixels
    seconds = traitlets.List(traitlets.Float()).tag(sync=True)
    fps = traitlets.Float().tag(sync=True)
    source = traitlets.Unicode().tag(sync=True)
    maps = traitlets.List(traitlets.Dict()).tag(sync=True)  # what the legends and layouts need
    levels = traitlets.Bytes().tag(sync=True)  # all maps, uint8, one zlib stream
    tables = traitlets.Bytes().tag(sync=True)  # red, green, blue: sequential, then diverging
    frame = traitlets.Int(0).tag(sync=True)
    overlay = traitlets.Unicode("").tag(sync=True)
    opacity = traitlets.Float(0.55, min=0, max=1).tag(sync=True)

    def __init__(
        self,
        clip: Clip,
        overlays: Mapping[str, xr.DataArray] | None = None,
        *,
        overlay: str | None = None,
        opacity: float = 0.55,
    ) -> None:
        self._clip = clip
        self._overlays = {
            name: Overlay.from_map(name, values, clip.num_frames)
            for name, values in (overlays or {}).items()
        }
        pictures = [encode(frame) for frame in clip.frames]
        levels = b"".join(item.levels.tobytes() for item in self._overlays.values())
        super().__init__(
            frames=b"".join(pictures),
            offsets=[0, *np.cumsum([len(picture) for picture in pictures]).tolist()],
            size=list(clip.frames.shape[1:3]),
            seconds=clip.seconds.tolist(),
            fps=clip.fps,
            source=clip.source,
            maps=[_description(item) for item in self._overlays.values()],
            levels=zlib.compress(levels, 9),
            tables=color_table(signed=False).tobytes() + color_table(signed=True).tobytes(),
            overlay=next(iter(self._overlays), "") if overlay is None else overlay,
            opacity=opacity,
        )

    @traitlets.validate("frame")
    def _inside(self, proposal: dict[str, Any]) -> int:
        return min(max(proposal["value"], 0), self._clip.num_frames - 1)

    @traitlets.validate("overlay")
    def _known(self, proposal: dict[str, Any]) -> str:
        name = proposal["value"]
        if name and name not in self._overlays:
            raise ValueError(
                f"ClipPlayer has no overlay {name!r}. It has: "
                f"{', '.join(map(repr, self._overlays)) or 'none'}; '' shows the frames alone."
            )
        return name

    def bytes_on_load(self) -> int:
        """Return how many bytes the browser gets when the player is shown, code included."""
        state = self._state()
        data = sum(len(value) for value in state.values() if isinstance(value, bytes))
        text = {key: value for key, value in state.items() if not isinstance(value, bytes)}
        return data + len(json.dumps(text)) + len(self._esm.encode()) + len(self._css.encode())

    def to_fragment(self) -> str:
        """Return the player as a piece of HTML that needs nothing else: no Jupyter, no network."""
        return standalone_fragment("player", self._esm, self._css, self._state())

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the player as one offline page, and write it to `path` where one is given."""
        page = html_page(self.source, self.to_fragment())
        if path is not None:
            atomic_write(path, page)
        return page

    def to_png(self, path: str | Path | None = None, theme: str = "light") -> bytes:
        """Return all frames with the present overlay and its legend as one PNG picture.

        Args:
            path: Also write the picture there.
            theme: "light" or "dark".

        Raises:
            ValueError: another theme.
        """
        item = self._overlays.get(self.overlay)
        numbers = range(self._clip.num_frames)
        pictures = [
            self._clip.frames[i] if item is None else item.over(self._clip, i, self.opacity)
            for i in numbers
        ]
        labels = [f"{i} · {self.seconds[i]:.2f} s" for i in numbers]
        buffer = io.BytesIO()
        contact_sheet(pictures, labels, item, theme=theme).save(buffer, "PNG", optimize=True)
        if path is not None:
            atomic_write(path, buffer.getvalue())
        return buffer.getvalue()

    def _state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ClipPlayer.class_own_traits(sync=True)}


def _description(item: Overlay) -> dict[str, Any]:
    return {
        "name": item.name,
        "label": with_unit(item.name, item.unit),
        "low": item.scale.low,
        "high": item.scale.high,
        "signed": item.scale.signed,
        "shape": list(item.levels.shape),
        "tokenFrame": item.token_frame.tolist(),
    }
