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
from vmamba_explore.view.explorer.film import film_key
from vmamba_explore.view.explorer.vocabulary import evidence_label, heading
from vmamba_explore.view.lens import packed_lens
from vmamba_explore.view.pictures import encode
from vmamba_explore.view.trust import packed, packed_camera, packed_headline


def pack_sides(sides: Sequence[Exploration]) -> dict[str, Any]:
    """Return the traits of the explorer that hold what one side or two show.

    Of two that show the same clip, the second has no frames of its own.
    """
    first, *others = sides
    maps, levels = pack_maps(sides)
    return {
        "sides": [
            pack_side(first),
            *(pack_side(each, each.clip is not first.clip) for each in others),
        ],
        "late": [pack_late(side) for side in sides],
        "maps": [{**item, "late": False} for item in maps],
        "levels": levels,
        "late_levels": zlib.compress(b""),
        "steps": pack_steps(first),
        "cls_steps": dict(first.cls_steps),
        "layers": list(first.layers),
        "directions": list(first.directions),
        "token_frames": first.token_frames,
        "grid": list(first.grid),
        "heading": heading(sides),
    }


def pack_side(side: Exploration, frames: bool = True) -> dict[str, Any]:
    """Return what belongs to one side from the start: frames, times, classes, what decides."""
    return {
        "title": side.title,
        "source": side.clip.source,
        "size": list(side.clip.frames.shape[1:3]),
        **_pictures([encode(frame) for frame in side.clip.frames] if frames else []),
        "seconds": side.clip.seconds.tolist(),
        "repeated": side.clip.repeated,
        "fps": side.clip.fps,
        "classes": [{"name": one_line(name), "probability": float(p)} for name, p in side.classes],
        "target": side.explained[0],
        "minus": side.explained[1],
        "explained": one_line(side.target),
        "deciding": [list(stretch) for stretch in side.deciding],
        "live": side.live is not None,
        "states": side.states is not None,
        "film": film_key(side.clip),
    }


def live_sides(
    sides: Sequence[Exploration],
    packed: Sequence[dict[str, Any]],
    changes: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return packed sides for a page that has their model: frames without loss, and who answers.

    Args:
        sides: One clip or two.
        packed: The same, as `pack_side` packs them.
        changes: Of the model, as a browser sends them: a side that ran edited in another way
            cannot be run again in the page, so it does not answer.
    """
    redone = any(change["kind"] not in ("explain", "show") for change in changes)
    found = []
    for number, (side, own) in enumerate(zip(sides, packed, strict=True)):
        answers = side.portable is not None or (number > 0 and redone)
        exact = [encode(frame, exact=True) for frame in side.clip.frames]
        pictures = _pictures(exact) if own["frames"] else {}
        found.append({**own, **pictures, "live": answers, "states": answers})
    return found


def _pictures(pictures: Sequence[bytes]) -> dict[str, Any]:
    """Encoded frames in one buffer, and where each starts and ends."""
    ends = np.cumsum([len(picture) for picture in pictures], dtype=np.int64)
    return {"frames": b"".join(pictures), "offsets": [0, *ends.tolist()]}


def pack_late(side: Exploration) -> dict[str, Any]:
    """Return what belongs to one side and may come later: controls, the camera, curves.

    `missing` says whether anything is yet to come.
    """
    return {
        "missing": side.later is not None,
        "headline": packed_headline(side.headline, side.opening),
        "controls": packed(side.controls),
        "camera": packed_camera(side.camera),
        "evidence": evidence_label(side),
        "lens": packed_lens(side.lens),
        "curves": [
            {
                "name": name,
                "direction": str(curve.attrs.get("direction", "")),
                "values": _numbers(curve.values),
            }
            for name, curve in side.curves.items()
        ],
    }


def common_maps(sides: Sequence[Exploration]) -> list[str]:
    """Return the names of the maps that all sides have, in the order of the first side."""
    return [name for name in sides[0].maps if all(name in side.maps for side in sides)]


def pack_maps(
    sides: Sequence[Exploration], names: Sequence[str] | None = None
) -> tuple[list[dict[str, Any]], bytes]:
    """Scale maps that all sides have, and those of the difference of two.

    A layer of a map has one scale for all its frames, both directions and all sides; the
    difference has its own, centered on zero. On a logarithmic scale the difference is one of
    logarithms, which is a ratio.

    Args:
        sides: One clip or two.
        names: Which maps; None for all that all sides have.
    Returns:
        Their descriptions, in the order of the names, and the levels, uint8, one deflated
        stream: map by map, for each first the sides, then, of two, their difference; each
        (layer, direction, frame, row, col), with length 1 where a map has no such axis. `ranges`
        and `differenceRanges` have lowest and highest value (or their log10) by layer.
    """
    descriptions, levels = [], []
    for name in common_maps(sides) if names is None else names:
        description, packed_levels = pack_together(name, [side.maps[name] for side in sides])
        levels.append(packed_levels)
        descriptions.append(description)
    return descriptions, zlib.compress(b"".join(levels), 9)


def pack_together(name: str, maps: Sequence[xr.DataArray]) -> tuple[dict[str, Any], bytes]:
    """Scale one map of all sides: its description, and the levels, first the sides', then, of two,
    their difference's."""
    drawn = DrawnMap.of(maps)
    levels = b"".join(drawn.levels(side).tobytes() for side in drawn.values)
    return _described(name, maps[0], drawn), levels


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
