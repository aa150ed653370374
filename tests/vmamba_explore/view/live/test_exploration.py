"""Changed models, controls of a clip and what is shown first: the worker does what Python does."""

import re

import numpy as np
import pytest

from tests.vmamba_explore.view.live.engine import REPORT, JavaScriptError
from tests.vmamba_explore.view.live.explored import assert_maps_alike, clip_of, live_maps
from tests.vmamba_explore.view.live.models import frames_of, model_of
from tests.vmamba_explore.view.live.test_asked import LISTS
from vmamba_explore.app.changes import Changer, parsed
from vmamba_explore.app.control_clips import CONTROLS, control_clip
from vmamba_explore.app.explore import explore
from vmamba_explore.app.gather import begin
from vmamba_explore.app.portable import portable
from vmamba_explore.app.question import Question
from vmamba_explore.clips import Clip

EDITS = {
    name: changes
    for name, changes in LISTS.items()
    if any(each["kind"] not in ("explain", "show") for each in changes)
}


def model_and_clip():
    model = model_of(num_classes=5, num_frames=8, img_size=32, patch_size=16)
    frames = frames_of(model)
    numbers = np.arange(len(frames))
    return model, Clip(frames, numbers / 8, "noise", numbers, repeated=2)


def as_given(clip):
    return {
        "frames": clip.frames.ravel(), "size": list(clip.frames.shape[1:3]), "source": clip.source,
        "seconds": clip.seconds.tolist(), "fps": clip.fps, "repeated": clip.repeated,
    }  # fmt: skip


@pytest.mark.parametrize("changes", EDITS.values(), ids=EDITS)
def test_a_changed_model_is_as_sure_of_its_classes_as_in_python(learned, changes):
    model, clip = model_and_clip()
    explorer = explore(clip, model, quantities=["delta"], progress=False)
    changer = Changer(model, clip, Question(quantities=["delta"], progress=False))
    found = changer.changed(changes, explorer.explorations, ["delta"], lambda words, share: None)
    packed = portable(model)
    engine, about = learned(packed), dict(packed.about)
    checked = engine.call("asked.js", "checkedChanges", changes, about)
    edits = engine.call("asked.js", "editsAmong", checked)
    own = {"network": engine.network, "about": about, "numbers": {}}
    given = {"changes": edits, "names": [], "layers": [0, 1]}
    side = engine.call("exploration.js", "LiveExploration", own, as_given(clip), given, keep=True)
    logits = engine.get(engine.method(side, "ran", REPORT, keep=True), "logits")
    shares = engine.call("ops.js", "softmax", logits)
    expected = dict(found.sides[-1].classes)
    assert {f"class {n}": share for n, share in enumerate(shares)} == pytest.approx(
        expected, abs=1e-5
    )
    assert expected != pytest.approx(dict(explorer.explorations[0].classes), abs=1e-5)
    explorer.close()


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_control_shows_the_same_frames_under_the_same_name(learned, kind):
    model, clip = model_and_clip()
    about = dict(portable(model).about)
    found = learned().call("exploration.js", "controlClip", as_given(clip), kind, about)
    expected = control_clip(clip, kind)
    assert np.array_equal(found["frames"], expected.frames.ravel())
    assert found["source"] == expected.source
    assert found["repeated"] == expected.repeated


@pytest.mark.parametrize("first", ["contribution", "look-back"])
@pytest.mark.parametrize(
    "change", [{"kind": "mute", "direction": "forward"}, {"kind": "freeze", "frame": 1}], ids=str
)
def test_a_change_that_leaves_nothing_of_what_is_shown_shows_another_map(learned, first, change):
    model = model_of()
    want = begun(model, live_maps(model), first, change)
    engine, side = live_side(learned, model, live_maps(model), change)
    engine.method(side, "begin", [first], REPORT, keep=True)
    assert_maps_alike(engine.get(side, "maps"), want.maps)
    assert len(want.maps) == 1
    expected = "delta" if first == "contribution" and change["kind"] == "mute" else first
    assert list(want.maps) == [expected]


def test_a_change_that_leaves_nothing_at_all_is_the_sentence_of_python(learned):
    model, change = model_of(), {"kind": "mute", "direction": "forward"}
    with pytest.raises(ValueError) as theirs:
        begun(model, ["contribution"], "contribution", change)
    engine, side = live_side(learned, model, ["contribution"], change)
    with pytest.raises(JavaScriptError, match=re.escape(str(theirs.value))):
        engine.method(side, "begin", ["contribution"], REPORT, keep=True)


def begun(model, names, first, change):
    question = Question(quantities=names, progress=False)
    return begin(
        model, clip_of(frames_of(model)), question,
        edit=lambda it: parsed(change).block(it, None), first=[first],
    )  # fmt: skip


def live_side(learned, model, names, change):
    """The engine, and the same exploration in it."""
    about = dict(portable(model).about)
    engine = learned(portable(model))
    numbers = {"firstNumbers": engine.get("maps.js", "firstNumbers", keep=True)}
    given = {"network": engine.network, "about": about, "numbers": numbers}
    asked = {"names": names, "layers": [0, 1], "changes": [change]}
    clip = {"frames": frames_of(model)}
    return engine, engine.call("exploration.js", "LiveExploration", given, clip, asked, keep=True)
