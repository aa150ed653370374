"""A clip explored by Python and by JavaScript, to compare what they found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from tests.vmamba_explore.view.live.changed import block_of
from tests.vmamba_explore.view.live.engine import Engine
from vmamba_explore.app.gather import begin
from vmamba_explore.app.portable import portable
from vmamba_explore.app.question import Question
from vmamba_explore.clips import Clip
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.view.explorer import Exploration
from vmamba_explore.view.explorer.exploration import DIMS

Changes = list[dict[str, Any]]


def clip_of(frames: np.ndarray) -> Clip:
    """A clip of these frames."""
    count = len(frames)
    return Clip(frames, np.arange(count) / 8, "frames", np.arange(count))


def live_maps(model: VideoMamba) -> list[str]:
    """The names of the maps that a page computes."""
    return [each["name"] for each in portable(model).about["quantities"] if each["live"]]


def explored(
    model: VideoMamba, clip: Clip, changes: Changes | None = None, **asked: Any
) -> Exploration:
    """What Python finds first: all maps that a page computes, and what decides.

    Args:
        model: The model.
        clip: The clip.
        changes: Of the model, as `editsOf` takes them.
        asked: Of the `Question`.
    """
    names = asked.pop("quantities", live_maps(model))
    question = Question(quantities=names, progress=False, **asked)
    edit = (lambda it: block_of(it, changes, clip.frames)) if changes else None
    return begin(model, clip, question, edit=edit, first=names)


def question_of(
    model: VideoMamba,
    exploration: Exploration,
    names: Sequence[str] = (),
    layers: Sequence[int] | None = None,
    edited: bool = False,
) -> dict[str, Any]:
    """What JavaScript is asked, to find the same."""
    about = dict(portable(model).about)
    target, minus = exploration.explained
    return {
        "target": target,
        "minus": minus,
        "layers": list(range(model.config.depth)) if layers is None else list(layers),
        "names": list(names),
        "classNames": about["class_names"],
        "model": about,
        "edited": edited,
    }


def assert_maps_alike(got: dict[str, Any], want: Any, context: object = "") -> None:
    """Assert that JavaScript's maps are Python's: names, places, missing values, and values
    within 1e-4 of the largest.

    Args:
        got: By name, what JavaScript returned.
        want: By name, Python's arrays.
        context: For the message.
    """
    assert list(got) == list(want), context
    for name, each in got.items():
        array: xr.DataArray = want[name]
        array = array.expand_dims([dim for dim in DIMS[:2] if dim not in array.dims])
        known = array.transpose(*DIMS).values
        assert tuple(each["dims"]) == known.shape, (context, name)
        values = each["values"].reshape(known.shape)
        missing = np.isnan(known)
        assert np.array_equal(np.isnan(values), missing), (context, name)
        most = max(float(np.abs(known[~missing]).max(initial=0)), 1e-30)
        apart = float(np.abs(values - known)[~missing].max(initial=0))
        assert apart < 1e-4 * most, (context, name, apart, most)


def started(engine: Engine, clip: Clip, changes: Changes | None = None) -> Any:
    """A run of a clip in JavaScript; swaps take the past of the clip played backwards."""
    swaps = any(change["kind"] == "swap" for change in changes or [])
    past = engine.past(clip.frames[::-1]) if swaps else None
    return engine.run(clip.frames, changes, past)
