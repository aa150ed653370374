"""Explorer: one linked view of a clip and all that was recorded of it, alone or beside another."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import anywidget
import traitlets

from vmamba_explore.errors import shown
from vmamba_explore.files import AnyPath, atomic_write, output_path
from vmamba_explore.spreadsheets import csv_text
from vmamba_explore.view.colors import DIRECTION_COLORS, color_table
from vmamba_explore.view.explorer import export
from vmamba_explore.view.explorer.exploration import Exploration, Token, ViewState
from vmamba_explore.view.explorer.packing import pack_answer, pack_maps, pack_side, pack_steps
from vmamba_explore.view.explorer.panels import NumbersPanel
from vmamba_explore.view.explorer.vocabulary import (
    BOTH,
    DIFFERENCE,
    FILES,
    STATE,
    TERMS,
    heading,
)
from vmamba_explore.view.page import html_page
from vmamba_explore.view.visitors import told
from vmamba_explore.view.widgets.browser_code import read_code, read_style, standalone_fragment
from vmamba_explore.view.widgets.guarded import Guarded

_HERE = Path(__file__).parent


Theme = Literal["light", "dark"]
Data = TypeVar("Data", str, bytes)


class WrongValueError(traitlets.TraitError, ValueError):
    """A trait cannot have that value; of a message that sets several, none is then set."""


class Explorer(Guarded, anywidget.AnyWidget):
    """Look at a clip through the model: play it, lay any recorded quantity over it, query a patch.

    Everything recorded is sent once, so the browser needs no Python to play, scrub and switch
    layer, direction or quantity; it keeps working in a saved notebook and in the page that
    `to_html` writes. Only the hidden attention of a new patch needs a kernel (see
    `Exploration.live`).

    Args:
        exploration: What to show.
        other: A second one to show in step, with the difference (other - exploration): another
            clip, the clip reversed, or the same clip through an edited model.
        quantity: The map to show first; None for the first one.
        compact: Show the clip with its maps and nothing else (see `ClipPlayer`).

    Raises:
        ValueError: the two explorations do not fit together, or there is no such quantity.

    The traits below follow the browser and can be set:

    Attributes:
        frame: Clip frame, from 0.
        quantity: Name of the map laid over the frames; "" for none.
        layer: Block number.
        direction: "forward", "backward", "both" side by side, or their "difference" (forward -
            backward).
        query: The patch that is asked, [frame, row, col] in token frames; [] for what the logits
            are read from.
        opacity: Of the map, 0 to 1.
        path: Whether the order in which the scan reads is drawn.
        scale: "layer": colors span this layer's values; "all": those of all layers.
        speed: Of playing, as a factor.
    """

    settable = STATE
    messages = ("request",)

    _css = read_style(_HERE.parent / "widgets" / "theme.css", _HERE / "explorer.css")
    _esm = read_code(_HERE / "explorer.js")

    sides = traitlets.List(traitlets.Dict()).tag(sync=True)  # one clip each, see pack_side
    maps = traitlets.List(traitlets.Dict()).tag(sync=True)  # what the maps are, see pack_maps
    levels = traitlets.Bytes().tag(sync=True)  # all maps, uint8, one zlib stream
    steps = traitlets.Bytes().tag(sync=True)  # int32, one zlib stream, see pack_steps
    cls_steps = traitlets.Dict().tag(sync=True)  # by direction
    layers = traitlets.List(traitlets.Int()).tag(sync=True)
    directions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    colors = traitlets.Dict().tag(sync=True)  # of the directions
    token_frames = traitlets.List(traitlets.Int()).tag(sync=True)  # of each clip frame
    grid = traitlets.List(traitlets.Int()).tag(sync=True)  # token frames, rows, columns
    heading = traitlets.Unicode().tag(sync=True)
    terms = traitlets.Dict(TERMS).tag(sync=True)
    compact = traitlets.Bool(False).tag(sync=True)
    tables = traitlets.Bytes().tag(sync=True)  # red, green, blue: sequential, then diverging

    frame = traitlets.Int(0).tag(sync=True)
    quantity = traitlets.Unicode("").tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    direction = traitlets.Unicode(BOTH).tag(sync=True)
    query = traitlets.List(traitlets.Int()).tag(sync=True)
    opacity = traitlets.Float(0.55, min=0, max=1).tag(sync=True)
    path = traitlets.Bool(False).tag(sync=True)
    scale = traitlets.Enum(("layer", "all"), "layer").tag(sync=True)
    speed = traitlets.Float(0.5, min=0.05, max=4).tag(sync=True)

    def __init__(
        self,
        exploration: Exploration,
        other: Exploration | None = None,
        *,
        quantity: str | None = None,
        compact: bool = False,
    ) -> None:
        self.explorations = (exploration,) if other is None else (exploration, other)
        if other is not None:
            _check_pair(exploration, other)
        maps, levels = pack_maps(self.explorations)
        directions = exploration.directions
        super().__init__(
            sides=[pack_side(side) for side in self.explorations],
            maps=maps,
            levels=levels,
            steps=pack_steps(exploration),
            cls_steps=dict(exploration.cls_steps),
            layers=list(exploration.layers),
            directions=list(directions),
            colors=dict(DIRECTION_COLORS),
            token_frames=exploration.token_frames,
            grid=list(exploration.grid),
            heading=heading(self.explorations),
            compact=compact,
            tables=color_table(signed=False).tobytes() + color_table(signed=True).tobytes(),
            quantity=next((item["name"] for item in maps), "") if quantity is None else quantity,
            layer=exploration.layers[-1] if exploration.layers else 0,
            direction=BOTH if len(directions) > 1 else "".join(directions),
        )

    @traitlets.validate("frame")
    def _inside(self, proposal: dict[str, Any]) -> int:
        return min(max(proposal["value"], 0), self.explorations[0].clip.num_frames - 1)

    @traitlets.validate("quantity", "layer", "direction")
    def _known(self, proposal: dict[str, Any]) -> str | int:
        name, value = proposal["trait"].name, proposal["value"]
        several = [BOTH, DIFFERENCE] if len(self.directions) > 1 else []
        known: list[Any] = {
            "quantity": [*(item["name"] for item in self.maps), ""],
            "layer": self.layers or [0],
            "direction": [*self.directions, *several] or [""],
        }[name]
        if value not in known:
            raise WrongValueError(
                f"Explorer: {name} is {shown(value)}, expected one of "
                f"{', '.join(map(repr, known))}."
            )
        return value

    @traitlets.validate("query")
    def _on_the_grid(self, proposal: dict[str, Any]) -> list[int]:
        place = list(proposal["value"])
        shape = self.explorations[0].grid
        inside = len(place) == 3 and all(
            0 <= n < size for n, size in zip(place, shape, strict=True)
        )
        if place and not inside:
            raise WrongValueError(
                f"Explorer: query is {place}, expected [frame, row, col] below {list(shape)}, or "
                "[] for what the logits are read from."
            )
        return place

    @property
    def view(self) -> ViewState:
        """What is shown now."""
        state = {name: getattr(self, name) for name in STATE}
        return ViewState(self.explorations, **{**state, "query": tuple(self.query)})

    def ask(self, side: int, layer: int, token: Token) -> Any:
        """Return which tokens a token reads and which read it (see `Live.attention`)."""
        live = self.explorations[side].live
        if live is None:
            raise ValueError(
                "Explorer: there is no model to ask; explore(...) makes an explorer that has one."
            )
        return live.attention(layer, token)

    def numbers(self) -> NumbersPanel:
        """Return tabs of figures that follow this explorer: states, channels, memory, scores."""
        return NumbersPanel(self)

    def bytes_on_load(self) -> int:
        """Return how many bytes the browser gets when the explorer is shown, code included."""
        buffers: list[int] = []
        text = json.dumps(self._state(), default=lambda value: buffers.append(len(value)))
        return sum(buffers) + sum(len(part.encode()) for part in (text, self._esm, self._css))

    def to_fragment(self) -> str:
        """Return the explorer as a piece of HTML that needs nothing else."""
        state = self._state()
        state["sides"] = [{**side, "live": False} for side in state["sides"]]
        return standalone_fragment("explorer", self._esm, self._css, state)

    def to_html(self, path: AnyPath | None = None, *, overwrite: bool = False) -> str:
        """Return the explorer as one offline page, in its present state.

        Args:
            path: Also write the page there.
            overwrite: Whether to replace a file.
        """
        return self._write(
            lambda: html_page(self.heading, self.to_fragment()), path, "to_html", overwrite
        )

    def to_png(
        self, path: AnyPath | None = None, *, theme: Theme = "light", overwrite: bool = False
    ) -> bytes:
        """Return the present frame with its map, legend and evidence as a PNG picture.

        Args:
            path: Also write the picture there.
            theme: "light" or "dark": background and ink.
            overwrite: Whether to replace a file.
        """
        return self._write(lambda: export.png(self.view, theme), path, "to_png", overwrite)

    def to_gif(
        self, path: AnyPath | None = None, *, theme: Theme = "light", overwrite: bool = False
    ) -> bytes:
        """Return the same of all frames as an animated GIF, at the present speed; see `to_png`."""
        return self._write(lambda: export.gif(self.view, theme), path, "to_gif", overwrite)

    def to_mp4(
        self, path: AnyPath | None = None, *, theme: Theme = "light", overwrite: bool = False
    ) -> bytes:
        """Return the same as an H.264 film; see `to_png`."""
        return self._write(lambda: export.mp4(self.view, theme), path, "to_mp4", overwrite)

    def to_csv(
        self,
        path: AnyPath | None = None,
        *,
        what: Literal["maps", "curves"] = "maps",
        overwrite: bool = False,
    ) -> str:
        """Return the numbers as CSV with a row per side, layer, direction, frame, row and col.

        Args:
            path: Also write the table there.
            what: "maps", or "curves": the evidence, a row per side and frame.
            overwrite: Whether to replace a file.
        """
        return self._write(
            lambda: csv_text(export.table(self.explorations, what)), path, "to_csv", overwrite
        )

    def to_zarr(self, path: AnyPath, *, overwrite: bool = False) -> Path:
        """Write all maps and curves, labeled, as a Zarr store.

        `xarray.open_zarr(path, consolidated=False)` reads it.

        Args:
            path: The store to write, a folder.
            overwrite: Whether to replace one.

        Raises:
            ModuleNotFoundError: zarr is not installed.
        """
        return export.write_zarr(export.dataset_of(self.explorations), path, overwrite)

    def _write(
        self, make: Callable[[], Data], path: AnyPath | None, call: str, overwrite: bool
    ) -> Data:
        if path is not None:  # before the work
            path = output_path(path, call, overwrite=overwrite)
        data = make()
        if path is not None:
            atomic_write(path, data)
        return data

    def hear(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """Answer the browser: {"request": id}, with "side", "layer", "token" or "kind", "theme"."""
        reply = {"reply": content["request"]}
        packed: list[bytes] = []
        try:
            more, packed = self._saved(content) if "kind" in content else self._asked(content)
            reply |= more
        except Exception as error:  # shown where it was asked
            reply["error"] = told(error, f"{error}" or type(error).__name__)
        self.send(reply, packed)

    def _asked(self, content: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        side, token = content.get("side"), content.get("token")
        if not isinstance(side, int) or side not in range(len(self.explorations)):
            raise ValueError("Explorer: there is no such side to ask.")
        if not isinstance(token, list) or not all(isinstance(place, int) for place in token):
            raise ValueError("Explorer: expected a token as [frame, row, col], or [].")
        layer = self.checked("layer", content.get("layer"))
        maps, packed = pack_answer(self.ask(side, layer, tuple(token) or None))
        return {"maps": maps}, packed

    def _saved(self, content: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        kind = str(content["kind"])
        if kind not in FILES:
            raise ValueError(
                f"Explorer: cannot save as {shown(kind)}; expected {', '.join(FILES)}."
            )
        themed = kind in ("png", "gif", "mp4") and "theme" in content
        data = getattr(self, f"to_{kind}")(**({"theme": content["theme"]} if themed else {}))
        stem = re.sub(r"[^\w.-]+", "_", self.explorations[0].clip.source) or "clip"
        reply = {"name": f"{stem}-explorer.{kind}", "mime": FILES[kind]}
        return reply, [data.encode() if isinstance(data, str) else data]

    def _state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Explorer.class_own_traits(sync=True)}


def _check_pair(one: Exploration, other: Exploration) -> None:
    for what, mine, theirs in (
        ("clip frames", one.clip.num_frames, other.clip.num_frames),
        ("layers", one.layers, other.layers),
        ("directions", one.directions, other.directions),
        ("token grids", one.grid, other.grid),
    ):
        if mine != theirs:
            raise ValueError(
                f"Explorer: the two explorations have different {what}: {mine} and {theirs}. "
                "Compare two clips through one model, explored with the same options."
            )
    if not set(one.maps) & set(other.maps):
        raise ValueError(
            f"Explorer: the two explorations have no map in common: {', '.join(one.maps)} and "
            f"{', '.join(other.maps)}."
        )
