"""Exports: the methods of an explorer that write what it shows as pictures, films and tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vmamba_explore.errors import few, shown
from vmamba_explore.files import AnyPath, atomic_write, output_path
from vmamba_explore.spreadsheets import csv_text
from vmamba_explore.view.explorer import export
from vmamba_explore.view.explorer.exploration import Exploration, ViewState
from vmamba_explore.view.explorer.film import films
from vmamba_explore.view.explorer.packing import live_sides
from vmamba_explore.view.explorer.vocabulary import FILES, heading
from vmamba_explore.view.live.embed import MOST_BYTES, companion, live_names
from vmamba_explore.view.live.portable import NotPortableError, PortableModel
from vmamba_explore.view.page import html_page
from vmamba_explore.view.visitors import for_visitors
from vmamba_explore.view.widgets.browser_code import standalone_fragment

Theme = Literal["light", "dark"]
Data = TypeVar("Data", str, bytes)


class Exports:
    """A part of `Explorer`, which has what these methods need."""

    if TYPE_CHECKING:

        @property
        def explorations(self) -> tuple[Exploration, ...]: ...

        def _complete_view(self) -> ViewState: ...

        def _state(self) -> dict[str, Any]: ...

        def set_state(self, sync_data: Mapping[str, Any]) -> None: ...

        _code: str
        _css: str
        changes: list[dict[str, Any]]

    def to_html(
        self,
        path: AnyPath | None = None,
        *,
        source: bool = False,
        live: bool | None = None,
        overwrite: bool = False,
    ) -> str:
        """Return the explorer as one offline page, in its present state.

        With the model inside, the page answers what a notebook answers: what a patch reads, single
        states, the model changed, the clip compared with its controls. The page's address follows
        what is shown, so a link to it, or a bookmark, is a link to the view.

        Args:
            path: Also write the page there.
            source: Whether the page has the frames with all the pixels of their file, too, up to
                640 a side: about 50 kB each.
            live: Whether the model is inside the page. None: where it has at most two million
                parameters, and the page at most 3 MB.
            overwrite: Whether to replace a file.
        Raises:
            ClipError: `source` is asked for, and a file is gone or another one now.
            ValueError: `source` is asked for, and no file has more pixels than the model sees; or
                `live` is, and there is no model, or one that is too large.
        """
        return self._write(lambda: self._page(source, live), path, "to_html", overwrite)

    def to_fragment(
        self, *, addressed: bool = False, source: bool = False, live: bool = False
    ) -> str:
        """Return the explorer as a piece of HTML that needs nothing else.

        Args:
            addressed: Whether the address of the page follows what is shown: for one explorer of a
                page.
            source: As for `to_html`.
            live: Whether the model is inside, too; the page must allow it, see `html_page`.
        Raises:
            NotPortableError: there is no model to embed, or it is too large.
        """
        sides = self.explorations  # complete
        state = self._state() | {"addressed": addressed, "choices": {}, "window": {}}
        state["films"] = films(sides) if source else []
        state["sides"] = [{**side, "live": False, "states": False} for side in state["sides"]]
        inside = None
        if live:
            portable = self._portable()
            inside = companion(portable, list(sides[0].maps), sides[0].model)
            state["choices"] = {"classes": portable.about["class_names"]}
            state["sides"] = live_sides(sides, state["sides"], self.changes)
        return standalone_fragment("explorer", self._code, self._css, state, inside)

    def _portable(self) -> PortableModel:
        """The model of what is shown, for a page.

        Raises:
            NotPortableError: there is none, or a page cannot run it.
        """
        first = self.explorations[0]
        if first.portable is None:
            raise NotPortableError(
                "Explorer: there is no model to put into the page; explore(...) makes an explorer "
                "that has one."
            )
        if first.explained[0] is None:
            raise NotPortableError(
                "Explorer: a page with the model inside explains classes, and here a direction is "
                "explained; live=False leaves the model out."
            )
        found = first.portable()
        if not live_names(found, list(first.maps)):
            raise NotPortableError(
                f"Explorer: a page with the model inside cannot compute {few(first.maps)}, and "
                "there is no other map; explore with more quantities."
            )
        return found

    def _page(self, source: bool, live: bool | None) -> str:
        """The page, with the model where that is wanted and possible."""
        title, parts = heading(self.explorations), {"addressed": True, "source": source}
        if live is not False:
            try:
                page = html_page(title, self.to_fragment(**parts, live=True), live=True)
                if live or len(page.encode()) <= MOST_BYTES:
                    return page
            except NotPortableError:
                if live:
                    raise
        return html_page(title, self.to_fragment(**parts))

    def to_png(
        self, path: AnyPath | None = None, *, theme: Theme = "light", overwrite: bool = False
    ) -> bytes:
        """Return the present frame with its map, legend and evidence as a PNG picture.

        Args:
            path: Also write the picture there.
            theme: "light" or "dark": background and ink.
            overwrite: Whether to replace a file.
        """
        return self._write(
            lambda: export.png(self._complete_view(), theme), path, "to_png", overwrite
        )

    def to_gif(
        self, path: AnyPath | None = None, *, theme: Theme = "light", overwrite: bool = False
    ) -> bytes:
        """Return the same of all frames as an animated GIF, at the present speed; see `to_png`."""
        return self._write(
            lambda: export.gif(self._complete_view(), theme), path, "to_gif", overwrite
        )

    def to_mp4(
        self, path: AnyPath | None = None, *, theme: Theme = "light", overwrite: bool = False
    ) -> bytes:
        """Return the same as an H.264 film; see `to_png`."""
        return self._write(
            lambda: export.mp4(self._complete_view(), theme), path, "to_mp4", overwrite
        )

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

    def _saved(self, content: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        kind = str(content["kind"])
        if kind not in FILES:
            raise ValueError(
                f"Explorer: cannot save as {shown(kind)}; expected {', '.join(FILES)}."
            )
        themed = kind in ("png", "gif", "mp4") and "theme" in content
        options = {"theme": content["theme"]} if themed else {}
        if kind == "html" and for_visitors():  # the weights are their owner's
            options["live"] = False
        self.set_state(content.get("shown", {}))
        data = getattr(self, f"to_{kind}")(**options)
        stem = re.sub(r"[^\w.-]+", "_", self.explorations[0].clip.source) or "clip"
        reply = {"name": f"{stem}-explorer.{kind}", "mime": FILES[kind]}
        return reply, [data.encode() if isinstance(data, str) else data]
