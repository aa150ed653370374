"""A made-up reading of a state lens."""

import numpy as np
import xarray as xr

from vmamba_explore.analysis.lens import PARTS, PLACES, SCORES, LensReading


def made_lens(layers=6, frames=16, answers=("red", "yellow", "green", "blue"), seed=0):
    """Return a reading of two targets in both directions."""
    random = np.random.default_rng(seed)
    coords = {
        "layer": np.arange(layers), "direction": ["forward", "backward"],
        "frame": np.arange(frames),
    }  # fmt: skip
    times = {
        "clip_frame": ("frame", np.arange(frames)),
        "seconds": ("frame", np.arange(frames) / 8),
    }
    shape = layers, 2, frames
    targets, scores = {}, {}
    for name in ("sample <b>color</b>", "label"):
        values = random.dirichlet(np.full(len(answers), 0.5), shape)
        targets[name] = xr.DataArray(
            values, {**coords, **times, "answer": list(answers)}, (*PLACES, "answer"), name
        )
        accuracy = random.random(shape)
        ends = {"low": accuracy - 0.05, "high": accuracy + 0.05, "shuffled": np.full(shape, 0.25)}
        by_frame = dict(zip(SCORES, (accuracy, *ends.values()), strict=True))
        parts = {f"{part} {score}": by_frame[score].mean(-1) for part in PARTS for score in SCORES}
        parts["before accuracy"] = np.full(shape[:2], np.nan)
        variables = {key: (PLACES[: each.ndim], each) for key, each in (by_frame | parts).items()}
        scores[name] = xr.Dataset(variables, coords, {"chance": 1 / len(answers)})
    note = (
        "A read-out shows what a state holds, not that the answer depends on it. From layer 1 on, "
        "it does not show either which direction carried it."
    )
    return LensReading("test-nano", targets, scores, 400, note)
