"""What a state lens reads, for the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vmamba_explore.errors import one_line

if TYPE_CHECKING:
    from vmamba_explore.analysis.lens import LensReading

SCORES = ("accuracy", "low", "high", "shuffled")
AFTER = tuple(f"after {name}" for name in SCORES)


def packed_lens(reading: LensReading | None) -> dict[str, Any] | None:
    """Return a reading for the browser: percent as uint8, 255 where there is no number.

    Returns:
        Of each target `probabilities` (layer, direction, frame, answer), `scores` (score, layer,
        direction, frame) and `after` (score, layer, direction); None for None.
    """
    if reading is None:
        return None
    first = next(iter(reading.probabilities.values()))
    return {
        "note": reading.note,
        "clips": reading.clips,
        "model": one_line(reading.model),
        "layers": [int(layer) for layer in first["layer"].values],
        "directions": [str(name) for name in first["direction"].values],
        "targets": [
            {
                "name": name,
                "answers": [one_line(str(answer)) for answer in values["answer"].values],
                "chance": round(100 * reading.scores[name].attrs["chance"]),
                "probabilities": _percent(values.values),
                "scores": _percent(np.stack([reading.scores[name][s].values for s in SCORES])),
                "after": _percent(np.stack([reading.scores[name][s].values for s in AFTER])),
            }
            for name, values in reading.probabilities.items()
        ],
    }


def _percent(values: npt.NDArray[np.floating]) -> bytes:
    return np.where(np.isfinite(values), np.round(100 * values), 255).astype(np.uint8).tobytes()
