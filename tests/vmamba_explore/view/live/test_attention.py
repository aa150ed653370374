"""What a token reads and what reads it, in JavaScript as in Python."""

import shutil

import numpy as np
import pytest

from tests.vmamba_explore.view.live.engine import Engine
from tests.vmamba_explore.view.live.explored import assert_maps_alike, clip_of, explored, started
from tests.vmamba_explore.view.live.models import VARIANTS, frames_of, model_of
from vmamba_explore import load_clip, load_model, resources
from vmamba_explore.app.portable import portable

ASKED = (
    "front", "middle", "mean pooling", "forward only", "spatial", "temporal, class token",
    "odd sizes", "one token",
)  # fmt: skip


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


def places_of(grid):
    """A few places, the first and the last among them, and what the logits are read from."""
    last = (grid.frames - 1, grid.rows - 1, grid.cols - 1)
    return [None, *dict.fromkeys([(0, 0, 0), (grid.frames // 2, 0, grid.cols - 1), last])]


@pytest.mark.parametrize("variant", ASKED)
def test_rows_and_columns_are_those_of_python_and_missing_where_a_scan_cannot_read(variant):
    model = model_of(**VARIANTS[variant])
    clip = clip_of(frames_of(model))
    live = explored(model, clip, quantities=["delta"]).live
    last, missing = model.config.depth - 1, 0
    with Engine(portable(model)) as engine:
        run = started(engine, clip)
        for place in places_of(model.grid):
            want = live.attention(last, place)
            got = engine.call("attention.js", "tokenRows", engine.network, run, last, place)
            assert_maps_alike(got, want, place)
            missing += sum(int(np.isnan(each["values"]).sum()) for each in got.values())
    assert (missing > 0) == (model.grid.seqlen > 1)


@pytest.mark.parametrize(
    "changes",
    [
        [{"kind": "mute", "direction": "backward"}],
        [{"kind": "freeze", "frame": 0}],
        [{"kind": "reset", "frame": 1}],
    ],
    ids=str,
)
def test_a_changed_model_is_asked_as_it_is_changed(changes):
    model = model_of()
    clip = clip_of(frames_of(model))
    live = explored(model, clip, changes, quantities=["delta"]).live
    with Engine(portable(model)) as engine:
        run = started(engine, clip, changes)
        for place in places_of(model.grid):
            got = engine.call("attention.js", "tokenRows", engine.network, run, 1, place)
            assert_maps_alike(got, live.attention(1, place), place)


def test_a_patch_of_a_bundled_model():
    model = load_model("motion-nano")
    clip = load_clip(resources.path("clips/clockwise.mp4"), img_size=64)
    live = explored(model, clip, quantities=["delta"]).live
    with Engine(portable(model), compiled=True) as engine:
        run = started(engine, clip)
        for layer in (0, 5):
            got = engine.call("attention.js", "tokenRows", engine.network, run, layer, (3, 2, 6))
            assert list(got) == ["reads", "read_by"]
            assert_maps_alike(got, live.attention(layer, (3, 2, 6)), layer)
