"""explore(): from a clip to the explorer in one call."""

import numpy as np
import pytest

from vmamba_explore.app.explore import backwards, explore
from vmamba_explore.clips import ClipError
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.trace.interventions import mute
from vmamba_explore.view.explorer import Explorer


def test_a_file_and_a_model_by_name_are_enough():
    explorer = explore("data/clips/right.mp4", quantities=["delta"], progress=False)
    assert isinstance(explorer, Explorer)
    assert explorer.model_name == "motion-nano"
    assert explorer.explorations[0].classes[0][0] == "right"
    assert explorer.ask(0, 5, (3, 4, 4))["reads"].shape == (2, 8, 8, 8)


def test_a_clip_backwards_is_the_clip_backwards(make_model, motion_clip):
    explorer = explore(motion_clip, make_model(), compare="reversed", progress=False)
    one, other = explorer.explorations
    np.testing.assert_array_equal(other.clip.frames, one.clip.frames[::-1])
    np.testing.assert_array_equal(other.clip.seconds, one.clip.seconds)
    last = one.clip.num_frames - 1
    assert other.deciding == (last - one.deciding[1], last - one.deciding[0])
    assert other.title.endswith(", backwards")


def test_a_motion_clip_backwards_bears_the_opposite_label():
    clip = MotionClips(0)[5]
    other = backwards(clip)
    assert other.label == clip.label ^ 1
    assert backwards(other).window == clip.window
    np.testing.assert_array_equal(other.evidence, clip.evidence[::-1])


def test_both_sides_explain_the_same_class(make_model, motion_clip):
    other = MotionClips(4, num_frames=8, img_size=32)[1]
    explorer = explore(motion_clip, make_model(), compare=other, progress=False)
    one, two = explorer.explorations
    assert one.explained == two.explained and one.target == two.target


def test_an_edit_is_compared_with_the_same_clip_unedited(make_model, motion_clip):
    model = make_model()
    explorer = explore(
        motion_clip, model, compare=lambda m: mute(m, "forward"), target=1, progress=False
    )
    one, two = explorer.explorations
    assert two.clip is one.clip and two.title == "edited model"
    assert "relevance" in one.maps and "relevance" not in [m["name"] for m in explorer.maps]
    assert one.curves["seen from the start"].values[-1] != pytest.approx(
        two.curves["seen from the start"].values[-1]
    )


def test_a_clip_beside_itself_shows_no_difference(make_model, motion_clip):
    explorer = explore(motion_clip, make_model(), compare=motion_clip, progress=False)
    for each in explorer.maps:
        for (low, high), name in zip(each["differenceRanges"], [each["name"]] * 9, strict=False):
            assert (low, high) == (-1.0, 1.0), name  # the scale of nothing but zeros


def test_a_file_that_is_no_clip_is_a_clip_error(tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(ClipError, match="notes.txt"):
        explore(tmp_path / "notes.txt")


def test_a_clip_of_another_shape_is_refused_with_the_shape_expected(make_model, motion_clip):
    with pytest.raises(ValueError, match="8"):
        explore(motion_clip, make_model(num_frames=16), progress=False)
