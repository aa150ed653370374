"""Frames as encoded pictures, and maps laid over them."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from PIL import Image, ImageDraw, ImageFont

from vmamba_explore.clips import Clip
from vmamba_explore.view.colors import MISSING, Scale, color_table, scale_of, theme_named, with_unit

EXACT_SIDE = 128
"""Frames up to this many pixels a side are encoded without loss (PNG), larger ones as JPEG."""


def encode(frame: npt.NDArray[np.uint8]) -> bytes:
    """Return one frame, uint8 (height, width, 3), as PNG where small and as JPEG otherwise."""
    buffer = io.BytesIO()
    if max(frame.shape[:2]) <= EXACT_SIDE:
        Image.fromarray(frame).save(buffer, "PNG", optimize=True)
    else:
        Image.fromarray(frame).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def thumbnail(frame: npt.NDArray[np.uint8], side: int = 112) -> str:
    """Return a small JPEG of a frame, uint8 (height, width, 3), as a data URI for a figure."""
    image = Image.fromarray(frame)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True, eq=False)
class Overlay:
    """A map over a clip's frames, ready to draw: levels of one scale that spans the whole clip.

    Attributes:
        name: What the map shows.
        unit: Unit of its values; empty where there is none.
        scale: Values that the first and the last color stand for.
        levels: uint8 (frames, rows, cols), 0 to 254, or `MISSING`.
        token_frame: int64 (num_frames,): the map's frame that covers each frame of the clip.
    """

    name: str
    unit: str
    scale: Scale
    levels: npt.NDArray[np.uint8]
    token_frame: npt.NDArray[np.int64]

    @classmethod
    def from_map(cls, name: str, values: xr.DataArray, num_frames: int) -> Overlay:
        """Scale one map for a clip.

        Args:
            name: What the map shows, for the legend.
            values: Dims frame, row, col in any order. The coordinate `clip_frame`, where there
                is one, gives the first clip frame of each of its frames; otherwise its frames
                share the clip evenly. `attrs["unit"]` goes into the legend.
            num_frames: Frames of the clip.

        Raises:
            ValueError: the dims are not frame, row and col, or one of them is empty.
        """
        if set(values.dims) != {"frame", "row", "col"} or 0 in values.shape:
            raise ValueError(
                f"overlay {name!r}: got dims {dict(values.sizes)}, expected frame, row and col, "
                'none empty. Reduce the others first, for example with .mean("channel").'
            )
        values = values.transpose("frame", "row", "col")
        if "clip_frame" in values.coords:
            starts = values["clip_frame"].values
        else:
            starts = np.arange(values.sizes["frame"]) * num_frames / values.sizes["frame"]
        clip_frames = np.arange(num_frames)
        token_frame = np.searchsorted(starts, clip_frames, side="right") - 1
        scale = scale_of(values.values)
        return cls(
            name=name,
            unit=str(values.attrs.get("unit", "")),
            scale=scale,
            levels=scale.levels(values.values),
            token_frame=np.maximum(token_frame, 0).astype(np.int64),
        )

    def over(self, clip: Clip, frame: int, opacity: float) -> npt.NDArray[np.uint8]:
        """Return one frame of the clip, uint8 (height, width, 3), with the map blended in.

        The frame is turned gray, so that all color is the map's; it shows alone where a value is
        missing.
        """
        picture = np.asarray(Image.fromarray(clip.frames[frame]).convert("L"))[..., None]
        height, width = picture.shape[:2]
        levels = self.levels[self.token_frame[frame]]
        rows = np.arange(height) * levels.shape[0] // height
        cols = np.arange(width) * levels.shape[1] // width
        levels = levels[rows][:, cols]
        table = np.vstack([color_table(self.scale.signed), np.zeros((1, 3), np.uint8)])
        blended = (1 - opacity) * picture + opacity * table[levels]
        return np.where((levels == MISSING)[..., None], picture, blended).round().astype(np.uint8)


def contact_sheet(
    pictures: Sequence[npt.NDArray[np.uint8]],
    labels: Sequence[str],
    overlay: Overlay | None = None,
    columns: int = 8,
    theme: str = "light",
) -> Image.Image:
    """Return pictures of one size with a label under each and the overlay's legend below.

    Args:
        pictures: uint8 (height, width, 3) each.
        labels: One per picture.
        overlay: Whose legend to draw.
        columns: Pictures in a line.
        theme: "light" or "dark".

    Raises:
        ValueError: another theme.
    """
    colors = theme_named(theme, "contact_sheet")
    height, width = pictures[0].shape[:2]
    zoom = max(1, round(160 / width))
    height, width, gap, line = height * zoom, width * zoom, 8, 24
    columns = min(columns, len(pictures))
    lines = math.ceil(len(pictures) / columns)
    legend = 0 if overlay is None else 56
    sheet = Image.new(
        "RGB",
        (columns * (width + gap) + gap, lines * (height + line) + gap + legend),
        colors.background,
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = gap + i % columns * (width + gap), gap + i // columns * (height + line)
        resized = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(resized, (x, y))
        draw.text((x + width / 2, y + height + 3), label, colors.ink, font, anchor="ma")
    if overlay is not None:
        bar = Image.fromarray(color_table(overlay.scale.signed)[None]).resize((255, 14))
        y, scale = sheet.height - legend + 6, overlay.scale
        sheet.paste(bar, (gap, y))
        draw.text((gap, y + 18), f"{scale.low:.3g}", colors.ink, font)
        if scale.signed:
            draw.text((gap + 127, y + 18), "0", colors.ink, font, anchor="ma")
        draw.text((gap + 255, y + 18), f"{scale.high:.3g}", colors.ink, font, anchor="ra")
        label = with_unit(overlay.name, overlay.unit)
        draw.text((gap + 275, y - 2), label, colors.ink, font)
    return sheet
