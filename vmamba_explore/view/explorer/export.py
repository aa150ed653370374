"""Export: what an explorer shows as pictures and films, and its numbers as tables."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from vmamba_explore.clips.encode import encode_clip
from vmamba_explore.errors import one_line, shown
from vmamba_explore.files import AnyPath, atomic_folder, output_path
from vmamba_explore.view.explorer.exploration import Exploration, ViewState
from vmamba_explore.view.explorer.snapshot import Snapshots
from vmamba_explore.view.explorer.vocabulary import SIDE_NAMES

COLORS = 256
"""Colors of a GIF's palette."""


def png(view: ViewState, theme: str, sheet: bool = False) -> bytes:
    """Return the present frame, or a contact sheet of all frames, as a PNG picture."""
    snapshots, buffer = Snapshots(view, theme), io.BytesIO()
    picture = snapshots.sheet() if sheet else snapshots.picture(view.frame)
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif(view: ViewState, theme: str) -> bytes:
    """Return all frames as an animated GIF, at the view's speed, with one palette."""
    pictures = _all_frames(view, theme)
    samples = pictures[:: max(1, len(pictures) // 4)]
    width, height = pictures[0].size
    together = Image.new("RGB", (width, height * len(samples)))
    for place, picture in enumerate(samples):
        together.paste(picture, (0, place * height))
    palette = together.quantize(COLORS, dither=Image.Dither.NONE)
    frames = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], loop=0, optimize=False,
        duration=round(1000 / view.frames_per_second),
    )  # fmt: skip
    return buffer.getvalue()


def mp4(view: ViewState, theme: str) -> bytes:
    """Return all frames as an H.264 film, at the view's speed."""
    pictures = np.stack([np.asarray(picture) for picture in _all_frames(view, theme)])
    rate = view.frames_per_second
    times = max(1, round(8 / rate))  # players dislike films of few frames a second
    buffer = io.BytesIO()
    encode_clip(buffer, pictures.repeat(times, axis=0), fps=max(1, round(rate * times)))
    return buffer.getvalue()


def table(sides: Sequence[Exploration], what: Literal["maps", "curves"]) -> pd.DataFrame:
    """Return all numbers as a tidy table.

    Args:
        sides: One clip or two.
        what: "maps" for a row per side, layer, direction, frame, row and col; a map without layer
            and direction is repeated in all of them. "curves" for a row per side and frame.
    """
    if what not in ("maps", "curves"):
        raise ValueError(f"to_csv: what is {shown(what)}, expected 'maps' or 'curves'.")
    dataset = dataset_of(sides)
    names = [n for n in dataset if ("row" in dataset[n].dims) == (what == "maps")]
    if not names:
        raise ValueError("to_csv: this explorer has no curves; what='maps' has its maps.")
    frame = dataset[names].to_dataframe().reset_index()
    keys = [k for k in (*DIMENSIONS, "clip_frame", "seconds") if k in frame]
    return frame[[*keys, *names]].sort_values([k for k in DIMENSIONS if k in frame])


DIMENSIONS = ("side", "layer", "direction", "frame", "row", "col")


def dataset_of(sides: Sequence[Exploration]) -> xr.Dataset:
    """Return all maps and curves of all sides; of two, along a dim `side`, "A" and "B"."""
    datasets = [side.dataset() for side in sides]
    if len(datasets) == 1:
        return datasets[0]
    together = xr.concat(
        datasets, pd.Index([SIDE_NAMES[0], SIDE_NAMES[1]], name="side"), data_vars="all",
        coords="different", compat="equals", join="inner", combine_attrs="drop",
    )  # fmt: skip
    names = {SIDE_NAMES[number]: side.title for number, side in enumerate(sides)}
    return together.assign_attrs(model=sides[0].model, target=sides[0].target, **names)


def write_zarr(dataset: xr.Dataset, path: AnyPath, overwrite: bool) -> Path:
    """Write a dataset as a Zarr store.

    Names of sides and directions are stored as numbers, in the order of the attribute `names`:
    text has no settled form in Zarr.

    Raises:
        ModuleNotFoundError: zarr is not installed.
        FileExistsError: something is there already, or something that is not a Zarr store.
    """
    try:
        import zarr  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "to_zarr needs the package zarr, which is not installed: pip install "
            "'vmamba-explore[extract]'; to_csv needs nothing more."
        ) from None
    store = Path(path)
    if overwrite and os.path.exists(store) and not _is_store(store):
        raise FileExistsError(
            f"to_zarr: {one_line(store)} is not a Zarr store, so it is not replaced; name another "
            "folder."
        )
    output_path(store, "to_zarr", overwrite=overwrite, folder=True)
    for name in ("side", "direction"):
        if name in dataset.coords:
            words = [str(word) for word in dataset[name].values]
            numbers = xr.DataArray(np.arange(len(words)), dims=name, attrs={"names": words})
            dataset = dataset.assign_coords({name: numbers})
    for values in dataset.variables.values():
        values.attrs = {key: _plain(value) for key, value in values.attrs.items()}
    atomic_folder(store, lambda new: dataset.to_zarr(new, mode="w", consolidated=False))
    return store


def _is_store(path: Path) -> bool:
    """Whether a folder may be replaced by a Zarr store: it is one, or empty."""
    if not path.is_dir():
        return False
    marks = (path / name for name in ("zarr.json", ".zgroup", ".zarray"))
    return any(mark.exists() for mark in marks) or not any(path.iterdir())


def _plain(value: object) -> object:
    """An attribute as something that JSON has."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _all_frames(view: ViewState, theme: str) -> list[Image.Image]:
    snapshots = Snapshots(view, theme)
    return [snapshots.picture(n) for n in range(view.sides[0].clip.num_frames)]
