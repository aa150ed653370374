"""What an explorer shows, as a picture drawn without a browser: for slides, GIFs and films."""

from __future__ import annotations

import importlib.util
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from vmamba_explore.errors import one_line, shown
from vmamba_explore.view.colors import (
    DIRECTION_COLORS,
    MISSING,
    THEMES,
    Scale,
    color_table,
    with_unit,
)
from vmamba_explore.view.explorer.drawn import DrawnMap, Side
from vmamba_explore.view.explorer.exploration import STATE_MAP, ViewState, state_label
from vmamba_explore.view.explorer.vocabulary import (
    BOTH,
    DIFFERENCE,
    DIRECTION_NAMES,
    SIDE_NAMES,
    evidence_label,
    heading,
)

PANE = 224
"""Pixels of a pane's longer side, about: frames are enlarged by a whole number."""
GAP, LINE, CHART = 8, 20, 96
SHEET_COLUMNS = 8
Box = tuple[int, int, int, int]
Point = tuple[float | int, float | int]
IN_FONT = str.maketrans({"−": "-", "×": "x", "—": "-"})
"""Signs that Pillow's own font lacks, and what is written instead."""


class Snapshots:
    """Draws a view, any frame of it, always in the same size.

    Args:
        view: What is drawn; its frame does not matter.
        theme: "light" or "dark".

    Raises:
        ValueError: another theme.
    """

    def __init__(self, view: ViewState, theme: str = "light") -> None:
        if theme not in list(THEMES):  # a browser may send what cannot be a key
            known = " or ".join(map(repr, THEMES))
            raise ValueError(f"Explorer: theme is {shown(theme)}, expected {known}.")
        self._view, self._theme = view, THEMES[theme]
        self._sides = view.sides
        self._token_frames = view.sides[0].token_frames
        self._font, self._wide_font = ImageFont.load_default(13), _wide_font(13)
        self._maps = view.maps
        self._map = DrawnMap.of(self._maps) if self._maps else None
        directions = self._directions()
        sides: list[Side] = [*range(len(self._sides))]
        if len(sides) > 1 and self._map is not None:
            sides.append(DIFFERENCE)
        self._panes = [(side, direction) for direction in directions for side in sides]
        self._columns = len(sides) if len(sides) > 1 else len(directions)
        height, width = self._sides[0].clip.frames.shape[1:3]
        zoom = max(1, round(PANE / max(height, width)))
        self._pane_size = (width * zoom, height * zoom)

    def picture(self, frame: int) -> Image.Image:
        """Return the view at a clip frame: RGB, even sides."""
        lines = -(-len(self._panes) // self._columns)
        width = max(480, self._columns * (self._pane_size[0] + GAP) + GAP)
        legends = self._legends()
        top = GAP + 2 * LINE
        bottom = top + lines * (self._pane_size[1] + LINE + GAP)
        height = bottom + 2 * LINE * len(legends) + (CHART if self._curves() else 0) + GAP
        image, draw = self._paper(width, height)
        self._write(draw, (GAP, GAP), heading(self._sides), self._theme.ink)
        self._write(draw, (GAP, GAP + LINE), self._caption(frame), self._theme.muted)
        for place, (side, direction) in enumerate(self._panes):
            x = GAP + place % self._columns * (self._pane_size[0] + GAP)
            y = top + place // self._columns * (self._pane_size[1] + LINE + GAP)
            swatch = 16 if direction in DIRECTION_COLORS else 0
            if swatch:
                draw.rectangle((x, y + 2, x + 10, y + 12), DIRECTION_COLORS[direction])
            self._write(draw, (x + swatch, y), self._title(side, direction), self._theme.ink)
            image.paste(self._pane(side, direction, frame), (x, y + LINE))
        self._write_legends(image, draw, bottom, legends)
        bottom += 2 * LINE * len(legends)
        if self._curves():
            self._chart(draw, (GAP, bottom, image.width - GAP, bottom + CHART), frame)
        return image

    def sheet(self) -> Image.Image:
        """Return a contact sheet: the first pane of every frame with its time, and the legends."""
        count = self._sides[0].clip.num_frames
        columns = min(SHEET_COLUMNS, count)
        wide, high = self._pane_size[0] + GAP, self._pane_size[1] + LINE + GAP
        legends, bottom = self._legends(), GAP + -(-count // columns) * high
        image, draw = self._paper(columns * wide + GAP, bottom + 2 * LINE * len(legends))
        for frame in range(count):
            x, y = GAP + frame % columns * wide, GAP + frame // columns * high
            image.paste(self._pane(*self._panes[0], frame), (x, y))
            time = f"{frame} · {self._sides[0].clip.seconds[frame]:.2f} s"
            self._write(draw, (x, y + self._pane_size[1] + 2), time, self._theme.ink)
        self._write_legends(image, draw, bottom, legends)
        return image

    def _paper(self, width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """An empty picture whose sides are even, as films want them."""
        size = (width + width % 2, height + height % 2)
        image = Image.new("RGB", size, self._theme.background)
        return image, ImageDraw.Draw(image)

    def _directions(self) -> Sequence[str]:
        shown = self._view.direction
        without = self._map is None or self._map.shape[1] == 1  # the map has no directions
        if without and not (self._view.path and self._view.directions):
            return [""]
        every = shown == BOTH or (without and shown == DIFFERENCE)  # a path in each
        return self._view.directions if every else [shown]

    def _shown(
        self, drawn: DrawnMap, side: Side, direction: str
    ) -> tuple[npt.NDArray[np.float64], Scale, bool]:
        view = self._view
        number = view.directions.index(direction) if direction in view.directions else 0
        layer = self._sides[0].layers.index(view.layer) if drawn.shape[0] > 1 else 0
        which: int | Literal["difference"] = DIFFERENCE if direction == DIFFERENCE else number
        return drawn.pane(side, which, layer, view.scale == "all")

    def _pane(self, side: Side, direction: str, frame: int) -> Image.Image:
        clip = self._sides[1 if side == DIFFERENCE else side].clip
        picture = Image.fromarray(clip.frames[frame])
        if self._map is not None:
            picture = picture.convert("L").convert("RGB")
        picture = picture.resize(self._pane_size, Image.Resampling.NEAREST)
        if self._map is not None:
            self._lay_over(picture, self._map, side, direction, frame)
        if self._view.path and self._view.directions:
            both = direction == DIFFERENCE
            names = self._view.directions if both else [direction]
            for i, name in enumerate(names):  # side by side, where they run the same way
                self._draw_path(picture, name, frame, 4 * i - 2 if both else 0)
        query = self._query_in(frame)
        if query is not None:
            _, rows, cols = self._sides[0].grid
            wide, high = picture.width / cols, picture.height / rows
            row, col = query
            box = (col * wide, row * high, (col + 1) * wide, (row + 1) * high)
            for color, line in (("black", 4), ("white", 2)):
                ImageDraw.Draw(picture).rectangle(box, outline=color, width=line)
        return picture

    def _lay_over(
        self, picture: Image.Image, drawn: DrawnMap, side: Side, direction: str, frame: int
    ) -> None:
        values, scale, _ = self._shown(drawn, side, direction)
        levels = scale.levels(values[self._token_frames[frame]])
        table = np.vstack([color_table(scale.signed), np.zeros((1, 3), np.uint8)])
        colors = Image.fromarray(table[levels]).resize(self._pane_size, Image.Resampling.NEAREST)
        strength = np.where(levels == MISSING, 0, round(255 * self._view.opacity))
        mask = Image.fromarray(strength.astype(np.uint8))
        picture.paste(colors, mask=mask.resize(self._pane_size, Image.Resampling.NEAREST))

    def _draw_path(self, picture: Image.Image, direction: str, frame: int, shift: int = 0) -> None:
        """The order in which a scan reads this frame: a dot where it begins, thick up to the query,
        or all of it thick where none is asked."""
        steps = self._sides[0].steps[direction][self._token_frames[frame]]
        query, draw = self._query_in(frame), ImageDraw.Draw(picture)
        wide, high = picture.width / steps.shape[1], picture.height / steps.shape[0]
        places = np.argwhere(steps >= 0)[steps.ravel().argsort()]
        points = [((col + 0.5) * wide + shift, (row + 0.5) * high + shift) for row, col in places]
        read = sorted(steps.ravel())
        last = read[-1] if query is None else int(steps[query])
        color = DIRECTION_COLORS[direction]
        for begin, end, step, following in zip(points, points[1:], read, read[1:], strict=False):
            if following == step + 1:  # else the scan has left the frame in between
                draw.line((begin, end), color, 3 if following <= last else 1)
        x, y = points[0]
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), color)

    def _query_in(self, frame: int) -> tuple[int, int] | None:
        """Row and column of the asked patch where it is in this clip frame."""
        query = self._view.query
        if not query or query[0] != self._token_frames[frame]:
            return None
        return query[1], query[2]

    def _title(self, side: Side, direction: str) -> str:
        name = DIRECTION_NAMES.get(direction, direction)
        if not direction and self._map is not None and self._view.directions:
            name = "all layers and directions"
        letter = SIDE_NAMES[side] if len(self._sides) > 1 else ""
        return ": ".join(part for part in (letter, name) if part)

    def _caption(self, frame: int) -> str:
        first = self._sides[0]
        clip_frame = "" if first.grid[0] == first.clip.num_frames else f" · clip frame {frame}"
        words = f"token frame {first.token_frames[frame]}{clip_frame}"
        words += f", {first.clip.seconds[frame]:.2f} s"
        if self._map is not None and self._map.shape[0] > 1:
            words += f" · layer {self._view.layer}"
        classes = [f"{s.classes[0][0]} {s.classes[0][1]:.0%}" for s in self._sides if s.classes]
        return f"{words} · {', '.join(classes)}" if classes else words

    def _legends(self) -> list[tuple[str, Scale, bool]]:
        if self._map is None:
            return []
        name, direction = self._view.quantity, self._panes[0][1]
        if name == STATE_MAP:
            name = state_label(self._view.layer, self._view.channel, self._view.state_number)
        unit = str(self._maps[0].attrs.get("unit", ""))
        legends = []
        sides: list[Side] = [0, DIFFERENCE] if len(self._sides) > 1 else [0]
        for side in sides:
            _, scale, ratio = self._shown(self._map, side, direction)
            words = with_unit(name, "ratio" if ratio else unit)
            legends.append((words if side == 0 else f"{SIDE_NAMES[side]}: {words}", scale, ratio))
        return legends

    def _write_legends(
        self, image: Image.Image, draw: ImageDraw.ImageDraw, y: int,
        legends: Sequence[tuple[str, Scale, bool]],
    ) -> None:  # fmt: skip
        for words, scale, ratio in legends:
            bar = Image.fromarray(color_table(scale.signed)[None]).resize((200, 12))
            image.paste(bar, (GAP, y + 2))
            log = ratio or (self._map is not None and self._map.log)
            ends = [scale.low, 0.0, scale.high] if scale.signed else [scale.low, scale.high]
            anchors = "lmr" if scale.signed else "lr"
            for place, (value, anchor) in enumerate(zip(ends, anchors, strict=True)):
                number = f"{'x' if ratio else ''}{10**value if log else value:.3g}"
                at = (GAP + 200 * place / (len(ends) - 1), y + 15)
                draw.text(at, number, self._theme.muted, self._font, anchor=f"{anchor}a")
            self._write(draw, (GAP + 212, y), words, self._theme.ink)
            y += 2 * LINE

    def _curves(self) -> list[tuple[int, str, str, npt.NDArray[np.floating]]]:
        """Side, name, color and values of every curve."""
        colors, ink = DIRECTION_COLORS, self._theme.ink
        return [
            (number, name, colors.get(str(curve.attrs.get("direction")), ink), curve.values)
            for number, side in enumerate(self._sides)
            for name, curve in side.curves.items()
        ]

    def _chart(self, draw: ImageDraw.ImageDraw, box: Box, frame: int) -> None:
        """The evidence under the panes, with the frame's place in it; the second side thinner."""
        left, top, right, bottom = box
        curves, clip, theme = self._curves(), self._sides[0].clip, self._theme
        x: float | int = left
        for name, color in dict.fromkeys((name, color) for _, name, color, _ in curves):
            draw.line((x, top + 8, x + 16, top + 8), color, 2)
            self._write(draw, (x + 22, top), name, theme.ink)
            x += 22 + int(draw.textlength(f"{name}   ", self._font))
        label = next(filter(None, map(evidence_label, self._sides)))
        self._write(draw, (x, top), label, theme.muted)
        low = min(0.0, *(float(np.nanmin(values)) for *_, values in curves))
        high = max(0.0, *(float(np.nanmax(values)) for *_, values in curves))
        top, left = top + LINE, left + 44
        scale_y = (bottom - top - 4) / ((high - low) or 1.0)
        wide = (right - left) / clip.num_frames
        for begin, end in self._sides[0].deciding:
            span = (left + begin * wide, top, left + (end + 1) * wide, bottom)
            draw.rectangle(span, fill=theme.grid)
        for value in (low, 0.0, high):
            y = bottom - 2 - (value - low) * scale_y
            draw.line((left, y, right, y), theme.muted if value == 0 else theme.grid)
            if value or scale_y * min(-low, high) > LINE / 2:
                draw.text((left - 6, y), f"{value:.3g}", theme.muted, self._font, anchor="rm")
        first = self._sides[0].first_clip_frames
        ends = np.append(first[1:], clip.num_frames)
        for number, _, color, values in curves:
            points = [
                (left + (a + b) / 2 * wide, bottom - 2 - (value - low) * scale_y)
                for a, b, value in zip(first, ends, values, strict=True)
                if np.isfinite(value)
            ]
            draw.line(points, color, 2 - number)
        x = left + (frame + 0.5) * wide
        draw.line((x, top, x, bottom), theme.ink, 2)

    def _write(self, draw: ImageDraw.ImageDraw, place: Point, words: str, color: str) -> None:
        """Write a line, cut where it would leave the picture."""
        words = one_line(words, 400).translate(IN_FONT)
        font = self._font if words.replace("·", "").isascii() else self._wide_font
        room = draw.im.size[0] - place[0] - GAP
        if font.getlength(words) > room:
            sizes = range(len(words))
            most = bisect_right(sizes, room, key=lambda n: font.getlength(f"{words[:n]}..."))
            words = f"{words[: max(0, most - 1)]}..."
        draw.text(place, words, color, font)


def _wide_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font with accents, Greek and Cyrillic, for names: the one that matplotlib brings along."""
    found = importlib.util.find_spec("matplotlib")  # does not import it
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "mpl-data/fonts/ttf/DejaVuSans.ttf"
        if path.exists():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)
