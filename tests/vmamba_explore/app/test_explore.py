"""explore(): from a clip to the explorer, alone and beside another; and what the browser says."""

import shutil

import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from jupyter_core.utils import run_sync

from vmamba_explore.app.control_clips import backwards
from vmamba_explore.app.explore import explore
from vmamba_explore.app.gather import gather
from vmamba_explore.app.question import Question
from vmamba_explore.clips import ClipError
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.resources import data_dir
from vmamba_explore.trace.interventions import mute
from vmamba_explore.view.explorer import Explorer

FEW = {"quantities": ["delta", "contribution"], "progress": False}


@pytest.fixture
def clip(model, noise_clip):
    return noise_clip(model)


def test_a_file_and_the_name_of_a_model_are_enough():
    explorer = explore(data_dir() / "clips" / "right.mp4", progress=False)
    (side,) = explorer.explorations
    assert isinstance(explorer, Explorer) and explorer.view.sides[0].model == "motion-nano"
    assert side.classes[0][0] == side.target == "right"
    assert len(explorer.maps) == 7 and side.live is not None
    assert explorer.bytes_on_load() < 300_000
    again = gather(side.live.trace.model, side.clip, Question(target="right", progress=False))
    for name, values in side.maps.items():
        np.testing.assert_array_equal(values.values, again.maps[name].values)


def test_a_clip_beside_itself_differs_nowhere(model, clip):
    one, other = explore(clip, model, compare=clip, **FEW).explorations
    for name in one.maps:
        np.testing.assert_array_equal(one.maps[name].values, other.maps[name].values)


def test_the_second_side_is_asked_about_the_classes_of_the_first(small_model, noise_clip):
    model = small_model()
    first = noise_clip(model)
    named = model.predict(first)[0].index
    second = next(
        clip
        for clip in (noise_clip(model, seed) for seed in range(1, 500))
        if model.predict(clip)[0].index != named
    )
    one, other = explore(first, model, compare=second, **FEW).explorations
    assert one.classes[0][0] != other.classes[0][0]
    assert one.explained == other.explained == (int(one.classes[0][0].split()[-1]), None)
    question = Question(target=one.explained[0], quantities=["contribution"], progress=False)
    wanted = gather(model, other.clip, question).maps["contribution"]
    np.testing.assert_array_equal(other.maps["contribution"].values, wanted.values)


def test_both_sides_of_an_edit_show_the_same_frames(model, clip):
    edit = lambda model: mute(model, "forward")  # noqa: E731
    one, other = explore(clip, model, compare=edit, **FEW).explorations
    assert one.clip is other.clip and other.title == "edited model"
    assert "contribution" in one.maps and "contribution" not in other.maps


def test_reversed_is_the_clip_played_backwards(model, clip):
    one, other = explore(clip, model, compare="reversed", **FEW).explorations
    np.testing.assert_array_equal(other.clip.frames, clip.frames[::-1])
    np.testing.assert_array_equal(other.clip.indices, clip.indices[::-1])
    np.testing.assert_array_equal(other.clip.seconds, clip.seconds)
    assert other.title == "noise 0, backwards"


@pytest.mark.parametrize("compare", [None, "reversed", lambda model: mute(model, "forward")])
def test_a_closed_explorer_leaves_no_widget_behind(model, clip, compare):
    before = set(_instances)
    explorer = explore(clip, model, compare=compare, quantities=["delta"], progress=False)
    panel = explorer.numbers()
    assert len(_instances) > len(before) + 10
    panel.close()
    explorer.close()
    assert set(_instances) == before


def test_a_file_called_reversed_is_named_by_its_path(model, clip, tmp_path, monkeypatch):
    shutil.copy(data_dir() / "clips" / "clockwise.mp4", tmp_path / "reversed")
    monkeypatch.chdir(tmp_path)
    for compare, title in (("reversed", "noise 0, backwards"), ("./reversed", "reversed")):
        _, other = explore(clip, model, compare=compare, **FEW).explorations
        assert other.clip.source == title


def test_a_clip_reversed_twice_is_the_clip(small_model, noise_clip):
    clip = noise_clip(small_model())
    again = backwards(backwards(clip))
    np.testing.assert_array_equal(again.frames, clip.frames)
    np.testing.assert_array_equal(again.indices, clip.indices)


def test_backwards_nothing_is_held_at_the_end_and_time_never_stands_still(small_model, noise_clip):
    held = noise_clip(small_model(), repeated=3, seconds=np.array([0, 1, 2, 3, 4, 4, 4, 4]) / 8)
    found = backwards(held)
    assert found.repeated == 0 and found.fps == held.fps == 8
    np.testing.assert_allclose(found.seconds, np.arange(8) / 8)
    assert held.seconds[-1] == 0.5, "the clip itself has changed"


@pytest.mark.parametrize("number", range(4))
def test_a_motion_clip_backwards_is_its_truth_backwards(number):
    motion = MotionClips(5, num_frames=8, img_size=32)[number]
    found = backwards(motion)
    assert found.label == motion.label ^ 1
    first, last = found.window
    assert (7 - last, 7 - first) == motion.window
    for frame in range(8):
        np.testing.assert_array_equal(found.evidence[frame], motion.evidence[7 - frame])
        np.testing.assert_array_equal(found.clip.frames[frame], motion.clip.frames[7 - frame])
    changed = (found.clip.frames[1:] != found.clip.frames[:-1]).any((1, 2, 3))
    assert changed[first:last].all(), "something moves in the window"


def test_the_deciding_frames_of_both_sides_are_shown(model):
    motion = MotionClips(3, num_frames=8, img_size=32)[0]
    explorer = explore(motion, model, compare="reversed", **FEW)
    first, last = motion.window
    shaded = [side["deciding"] for side in explorer.sides]
    assert shaded == [[[first, last]], [[7 - last, 7 - first]]]
    for side in explorer.explorations:
        assert side.numbers.truth().any()
    forth, back = (side.numbers.truth() for side in explorer.explorations)
    np.testing.assert_array_equal(back, forth[::-1])


def test_one_report_hears_of_both_runs_as_one(small_model, noise_clip):
    from vmamba_explore.app.explore import side_by_side

    model, heard = small_model(), []
    question = Question(progress=False, report=lambda words, done: heard.append(done))
    side_by_side(model, noise_clip(model), "reversed", question)
    assert heard == sorted(heard) and heard[0] == 0 and 0.5 in heard and heard[-1] < 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"clip": "no.mp4"}, ClipError, "no.mp4: no such file"),
        ({"clip": np.zeros((8, 32, 32, 3))}, TypeError, "a clip is ndarray, expected a file, a "),
        ({"compare": "no.mp4"}, ClipError, "no.mp4: no such file"),
        ({"compare": [1, 2]}, TypeError, "a clip is list, expected a file, a Clip or a generated"),
        ({"compare": lambda model: None}, TypeError, "compare returned NoneType, expected a `with"),
        ({"model": "no-model"}, ValueError, "no-model is not a file or folder, a bundled"),
        ({"layers": [7]}, ValueError, r"explore: layers is \[7\], expected a list of some of 0, 1"),
        ({"budget_gib": 1e-9}, MemoryError, "the budget is 0.00 GiB"),
    ],
)
def test_a_wrong_argument_is_refused_in_a_sentence(model, clip, unchecked, arguments, error, words):
    options = {"clip": clip, "model": model, "progress": False} | arguments
    with pytest.raises(error, match=words):
        explore(**options)


CELLS = [
    "import torch, numpy as np\n"
    "from vmamba_explore import Clip, VideoMamba, VideoMambaConfig, explore\n"
    "torch.manual_seed(0)\n"
    "config = VideoMambaConfig(num_frames=8, img_size=32, patch_size=8, d_model=16, depth=2,\n"
    "                          num_classes=5)\n"
    "model = VideoMamba(config).eval()\n"
    "frames = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)\n"
    "clip = Clip(frames, np.arange(8) / 8, 'clip', np.arange(8))",
    "explorer = explore(clip, model, quantities=['delta'], compare='reversed', progress=False)\n"
    "heard = []\n"
    "explorer.observe(lambda change: heard.append(change.name),\n"
    "                 ['frame', 'layer', 'direction', 'query'])\n"
    "explorer",
]


def test_the_browsers_messages_reach_the_kernel_and_are_answered(kernel):
    """A real kernel; the messages are those that the browser sends, and there is no browser."""
    for cell in CELLS:
        kernel.run(cell)
    widgets = kernel.client.widget_state.items()
    (comm,) = (key for key, state in widgets if "levels" in state or "sides" in state)
    answers = []

    def hear_answers(count):
        while len(answers) < count:
            message = run_sync(kernel.client.kc.get_iopub_msg)(timeout=600)
            content = message["content"].get("data", {})
            if message["msg_type"] == "comm_msg" and content.get("method") == "custom":
                answers.append((content["content"], message["buffers"]))

    changes = {"frame": 3, "layer": 0, "direction": "difference", "query": [1, 2, 3]}
    kernel.send(comm, method="update", state=changes, buffer_paths=[])
    for number, token in enumerate(([1, 2, 3], [], [9, 0, 0])):
        ask = {"request": number, "side": 1, "layer": 0, "token": token}
        kernel.send(comm, method="custom", content=ask)
    hear_answers(3)
    kernel.send(comm, method="update", state={"layer": 99}, buffer_paths=[])
    said = kernel.says("[getattr(explorer, n) for n in ('frame', 'layer', 'direction', 'query')]")
    assert said == "[3, 0, 'difference', [1, 2, 3]]"
    assert kernel.says("sorted(heard)") == "['direction', 'frame', 'layer', 'query']"
    first, second, third = answers
    assert [content["reply"] for content, _ in answers] == [0, 1, 2]
    assert [m["name"] for m in first[0]["maps"]] == ["reads", "read_by"]
    assert [len(bytes(buffer)) for buffer in first[1]] == [2 * 64, 2 * 64]
    assert [m["name"] for m in second[0]["maps"]] == ["reads"]
    assert "query is [9, 0, 0], expected [frame, row, col] below [4, 4, 4]" in third[0]["error"]
    assert not third[1]


def test_an_explorer_opens_where_its_sentence_says():
    explorer = explore(data_dir() / "clips/vanish.mp4", progress=False)
    found = explorer.view.sides[0].headline
    assert found.sentence.startswith("Decided at token frames 4 to 5 (83 % of what adds to vanish)")
    assert (explorer.quantity, explorer.layer, explorer.direction) == ("contribution", *found.scan)
    assert explorer.view.token_frame == found.frame == 5
    asked = explore(
        data_dir() / "clips/vanish.mp4", quantities=["delta", "retention"], progress=False
    )
    assert (asked.quantity, asked.frame, asked.view.sides[0].headline) == ("delta", 0, None)


def test_a_state_opens_the_view_that_it_was_taken_from(model, clip):
    first = explore(clip, model, **FEW)
    first.frame, first.direction, first.query = 3, "backward", [1, 0, 1]
    again = explore(clip, model, state=first.state(), **FEW)
    assert again.state() == first.state()


def test_what_is_not_a_state_is_refused_before_the_model_runs(model, clip):
    model.forward = lambda *given: pytest.fail("ran")
    with pytest.raises(ValueError, match="explore: state has 'zoom', expected some of frame"):
        explore(clip, model, state="page.html#view:zoom=2", **FEW)


def test_a_state_of_another_model_leaves_no_widget_behind(model, clip):
    before = set(_instances)
    with pytest.raises(ValueError, match="layer is 99, expected one of"):
        explore(clip, model, state={"layer": 99}, **FEW)
    assert set(_instances) == before


def test_the_page_of_an_encoder_shows_a_direction_and_no_classes(
    small_model, noise_clip, open_offline, tmp_path
):
    encoder = small_model(num_classes=0)
    clip, target = noise_clip(encoder), torch.randn(16)
    explorer = explore(clip, encoder, target=target, compare="reversed", **FEW)
    explorer.to_html(tmp_path / "encoder.html")
    page = open_offline(tmp_path / "encoder.html")
    page.wait_for_selector(".vmx-classes")
    shown = page.locator(".vmx-classes")
    assert "an encoder" in shown.inner_text() and "explained: the direction" in shown.inner_text()
    assert shown.locator("ol").count() == 0
    assert page.errors == []
