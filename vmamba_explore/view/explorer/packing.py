"""What the explorer sends to the browser: uint8 levels, deflated, and what they stand for."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from vmamba_explore.errors import one_line
from vmamba_explore.view.colors import with_unit
from vmamba_explore.view.explorer.drawn import DrawnMap
from vmamba_explore.view.explorer.exploration import Exploration
from vmamba_explore.view.explorer.vocabulary import evidence_label
from vmamba_explore.view.pictures import encode
from vmamba_explore.view.trust import packed, packed_camera


def pack_side(side: Exploration) -> dict[str, Any]:
    """Return what belongs to one clip: frames, times, classes, curves, what decides."""
    pictures = [encode(frame) for frame in side.clip.frames]
    deciding = side.deciding
    return {
        "title": side.title,
        "source": side.clip.source,
        "size": list(side.clip.frames.shape[1:3]),
        "frames": b"".join(pictures),
        "offsets": [0, *np.cumsum([len(picture) for picture in pictures]).tolist()],
        "seconds": side.clip.seconds.tolist(),
        "repeated": side.clip.repeated,
        "fps": side.clip.fps,
        "classes": [{"name": one_line(name), "probability": float(p)} for name, p in side.classes],
        "controls": packed(side.controls),
        "camera": packed_camera(side.camera),
        "target": one_line(side.target),
        "evidence": evidence_label(side),
        "deciding": None if deciding is None else [int(frame) for frame in deciding],
        "live": side.live is not None,
        "curves": [
            {
                "name": name,
                "direction": str(curve.attrs.get("direction", "")),
                "values": _numbers(curve.values),
            }
            for name, curve in side.curves.items()
        ],
    }


def pack_maps(sides: Sequence[Exploration]) -> tuple[list[dict[str, Any]], bytes]:
    """Scale the maps that all sides have, and those of the difference of two.

    A layer of a map has one scale for all its frames, both directions and all sides; the
    difference has its own, centered on zero. On a logarithmic scale the difference is one of
    logarithms, which is a ratio.

    Returns:
        Their descriptions, in the order of the first side, and the levels, uint8, one deflated
        stream: map by map, for each first the sides, then, of two, their difference; each
        (layer, direction, frame, row, col), with length 1 where a map has no such axis. `ranges`
        and `differenceRanges` have lowest and highest value (or their log10) by layer.
    """
    descriptions, levels = [], []
    for name in sides[0].maps:
        arrays = [side.maps[name] for side in sides if name in side.maps]
        if len(arrays) < len(sides):
            continue
        drawn = DrawnMap.of(arrays)
        levels += [drawn.levels(side) for side in drawn.values]
        descriptions.append(_described(name, arrays[0], drawn))
    return descriptions, zlib.compress(b"".join(part.tobytes() for part in levels), 9)


def pack_steps(side: Exploration) -> bytes:
    """Return at which step each direction reads each token: int32, deflated; directions first."""
    steps = [side.steps[direction].astype("<i4") for direction in side.directions]
    return zlib.compress(b"".join(part.tobytes() for part in steps), 9)


def pack_answer(dataset: xr.Dataset) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return maps that were asked for, each on one scale: descriptions, and uint8 levels.

    Args:
        dataset: Positive maps, dims direction, frame, row, col, drawn on a logarithmic scale.
    """
    descriptions, buffers = [], []
    for name, array in dataset.data_vars.items():
        drawn = DrawnMap.of([array.assign_attrs(log=True).expand_dims("layer")])
        descriptions.append(_described(str(name), array, drawn))
        buffers.append(drawn.levels(0).tobytes())
    return descriptions, buffers


def _described(name: str, array: xr.DataArray, drawn: DrawnMap) -> dict[str, Any]:
    unit = str(array.attrs.get("unit", ""))
    return {
        "name": name,
        "unit": unit,
        "label": with_unit(name, unit),
        "log": drawn.log,
        "signed": drawn.scales[0].signed,
        "shape": list(drawn.shape),
        "ranges": [[scale.low, scale.high] for scale in drawn.scales],
        "differenceRanges": [[scale.low, scale.high] for scale in drawn.difference_scales],
        "about": str(array.attrs.get("about", "")),
    }


def _numbers(values: npt.NDArray[np.floating]) -> list[float | None]:
    """Numbers for JSON, which has none that is not finite."""
    return [float(value) if np.isfinite(value) else None for value in values]
