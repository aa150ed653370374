"""The camera's motion, measured on films whose camera is known, and on real ones."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.registration import phase_cross_correlation

from tests.vmamba_explore.analysis.filmed import PHOTOGRAPHS, filmed, look, poses
from vmamba_explore.analysis.camera_motion import (
    COMPONENTS,
    RATIO,
    THRESHOLD,
    CameraMotion,
    measure_camera,
)
from vmamba_explore.clips import load_clip

REAL = Path(__file__).parents[4] / "shared" / "real_windows"
WAYS = {
    ("pan", 1): "pan right", ("pan", -1): "pan left", ("tilt", 1): "tilt down",
    ("tilt", -1): "tilt up", ("zoom", 1): "zoom in", ("zoom", -1): "zoom out",
    ("roll", 1): "roll clockwise", ("roll", -1): "roll counterclockwise",
}  # fmt: skip


@pytest.mark.parametrize(("axis", "sign"), WAYS)
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_each_motion_is_measured_to_a_sixth_of_a_pixel_and_named(name, axis, sign):
    found = measure_camera(filmed(name, poses(**{axis: sign * 0.02})))
    wanted = [sign * 0.02 * (axis == each) for each in COMPONENTS]
    assert found.applies.all() and not len(found.cuts)
    np.testing.assert_allclose(found.moves, np.tile(wanted, (7, 1)), atol=1 / 64 / 6)
    assert found.label == WAYS[axis, sign]
    assert found.inliers.min() > 0.8


def made(total, applies=True, cuts=(), steps=10):
    """A camera that moves evenly by `total`."""
    moves = np.tile(np.array(total) / steps, (steps, 1))
    fine = np.broadcast_to(applies, steps).copy()
    moves[~fine] = np.nan
    return CameraMotion(
        moves, np.ones(steps), fine, np.array(cuts, np.int64), np.arange(steps + 1) / 8, "made"
    )


def test_the_label_follows_the_largest_component_the_threshold_and_the_ratio():
    assert made([0, 0, 0.9 * THRESHOLD, 0]).label == "static"
    assert made([0, 0, 1.1 * THRESHOLD, 0]).label == "zoom in"
    assert made([0.3, 0.31 / RATIO, 0, 0]).label == "mixed"
    assert made([0.3, 0.29 / RATIO, 0, 0]).label == "pan right"
    assert made([0.3, 0, 0, 0], cuts=[4]).label == "cut"


def test_a_camera_that_comes_back_is_not_static():
    there = made([0.06, 0, 0, 0], steps=5)
    moves = np.concatenate([there.moves, -there.moves])
    back = replace(
        there, moves=moves, inliers=np.ones(10), applies=np.ones(10, bool), seconds=np.arange(11.0)
    )
    assert abs(back.total[0]) < 1e-12 and back.label == "mixed"


def test_a_clip_that_was_hardly_measured_has_no_label():
    fine = np.arange(10) < 4
    assert made([0.5, 0, 0, 0], applies=fine).label == ""
    assert "not measurable" in repr(made([0.5, 0, 0, 0], applies=fine))


def test_steps_that_were_not_measured_add_nothing_to_the_path():
    found = made([0.5, 0, 0, 0], applies=np.arange(10) != 3)
    assert found.path[:, 0].tolist()[3:5] == [pytest.approx(0.15)] * 2
    assert found.total[0] == pytest.approx(0.45)
    assert np.isnan(found.table["pan"][3]) and not found.table["applies"][3]
    assert found.table["start"].tolist() == [step / 8 for step in range(10)]


def test_a_reversed_clip_has_the_opposite_motion():
    clip = filmed("coffee.png", poses(pan=0.03, tilt=-0.01, zoom=0.02, roll=0.01))
    found = measure_camera(clip)
    back = measure_camera(replace(clip, frames=clip.frames[::-1].copy()))
    np.testing.assert_allclose(back.moves, -found.moves[::-1], atol=2e-4)


def test_a_mirrored_and_a_turned_clip_have_the_motion_mirrored_and_turned():
    clip = filmed("astronaut.png", poses(pan=0.03, tilt=-0.01, zoom=0.02, roll=0.01))
    pan, tilt, zoom, roll = measure_camera(clip).total
    mirrored = measure_camera(replace(clip, frames=clip.frames[:, :, ::-1].copy())).total
    np.testing.assert_allclose(mirrored, [-pan, tilt, zoom, -roll], atol=2e-3)
    quarter = measure_camera(replace(clip, frames=np.rot90(clip.frames, 1, (1, 2)).copy())).total
    np.testing.assert_allclose(quarter, [tilt, -pan, zoom, roll], atol=2e-3)


@pytest.mark.parametrize("step", [0.1, 0.2])
def test_a_fast_camera_is_followed_over_many_pixels(step):
    found = measure_camera(filmed("coffee.png", poses(6, pan=-step)))
    assert found.applies.all()
    np.testing.assert_allclose(found.moves[:, 0], -step, atol=0.003)


def cover(picture, number):
    """Another photograph on a quarter of the picture, which moves the other way."""
    other = look("coffee.png", (0, 0, 0, 0), len(picture) // 2)
    side, left = len(other), 8 + 3 * number
    picture[side // 2 : side // 2 + side, left : left + side] = other
    return picture


def test_a_moving_object_is_left_out_and_counted_as_not_following():
    alone = measure_camera(filmed("astronaut.png", poses(pan=0.02)))
    found = measure_camera(filmed("astronaut.png", poses(pan=0.02), change=cover))
    np.testing.assert_allclose(found.moves, alone.moves, atol=0.004)
    assert found.inliers.max() < 0.8 < alone.inliers.min()


def test_light_that_changes_is_not_taken_for_motion():
    found = measure_camera(
        filmed("coffee.png", poses(pan=0.02), change=lambda picture, number: picture + 5 * number)
    )
    np.testing.assert_allclose(found.total, [0.14, 0, 0, 0], atol=0.005)


@pytest.mark.parametrize(
    "between", [("coffee.png", "rocket.jpg"), ("astronaut.png", "chelsea.png")]
)
def test_a_cut_is_found_at_its_frame_and_its_step_has_no_motion(between):
    names = [between[0]] * 5 + [between[1]] * 4
    found = measure_camera(filmed(names, poses(9, pan=0.02), noise=3))
    assert found.cuts.tolist() == [5] and found.label == "cut"
    assert found.applies.tolist() == [step != 4 for step in range(8)]
    assert np.isnan(found.moves[4]).all()
    assert found.table["cut"].tolist() == [step == 4 for step in range(8)]
    assert found.total[0] == pytest.approx(7 * 0.02, abs=0.005)


def test_a_cut_between_pictures_of_the_same_colors_is_found():
    names = ["coffee.png"] * 9
    there = np.where(np.arange(9)[:, None] < 5, [-0.5, 0, 0, 0], [0.5, 0, 0, 2.0])
    assert measure_camera(filmed(names, there, noise=3)).cuts.tolist() == [5]


def test_a_fast_camera_is_not_a_cut():
    for name in PHOTOGRAPHS:
        assert not len(measure_camera(filmed(name, poses(4, pan=0.25, zoom=0.02), noise=3)).cuts)


@pytest.mark.parametrize("noise", [0, 1, 20])
def test_a_flat_picture_is_not_measured_with_or_without_noise(noise):
    gray = filmed("coffee.png", poses(), side=64, change=lambda picture, _: 0 * picture + 99)
    grain = np.random.default_rng(0).normal(0, noise, gray.frames.shape)
    found = measure_camera(replace(gray, frames=(gray.frames + grain).round().astype(np.uint8)))
    assert not found.applies.any() and found.label == "" and not len(found.cuts)
    assert np.isnan(found.moves).all() and (found.total == 0).all()


def test_stripes_that_hide_motion_along_them_are_not_measured():
    stripes = np.indices((64, 64))[0] // 4 % 2 * 120.0 + 60
    clip = filmed(
        "coffee.png", poses(), side=64, change=lambda *_: stripes[..., None] + np.zeros(3)
    )
    assert not measure_camera(clip).applies.any()


def test_frozen_frames_are_static():
    found = measure_camera(filmed("rocket.jpg", poses()))
    assert found.label == "static" and found.inliers.min() == 1
    assert np.abs(found.moves).max() < 1e-4


def test_held_and_damaged_frames_are_left_out():
    damaged = np.arange(8) == 2
    clip = filmed("coffee.png", poses(pan=0.02), repeated=3, damaged=damaged)
    found = measure_camera(clip)
    assert len(found.seconds) == 5 and found.applies.tolist() == [True, False, False, True]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (40, 300), (300, 64)])
def test_clips_of_any_size_are_measured_on_their_middle_square(height, width):
    clip = filmed("coffee.png", poses(pan=0.02), side=300)
    top, left = (300 - height) // 2, (300 - width) // 2
    frames = clip.frames[:, top : top + height, left : left + width]
    found = measure_camera(replace(clip, frames=np.ascontiguousarray(frames)))
    assert len(found.moves) == 7
    if height == 300:
        assert found.moves[:, 0] == pytest.approx(0.02 * 300 / 64, abs=0.01)


def test_a_long_clip_is_measured_as_its_parts_are():
    clip = filmed("coffee.png", 0.5 * np.sin(poses(70, pan=0.05)), side=64)
    whole = measure_camera(clip)
    part = replace(
        clip, frames=clip.frames[60:], seconds=clip.seconds[60:], indices=clip.indices[60:]
    )
    np.testing.assert_allclose(whole.moves[60:], measure_camera(part).moves, atol=1e-4)


def test_a_single_frame_is_refused_in_a_sentence():
    clip = filmed("coffee.png", poses(2), repeated=1)
    with pytest.raises(ValueError, match="measure_camera: a film has 1 frame, expected at least 2"):
        measure_camera(clip)


def test_what_is_not_a_clip_is_refused_in_a_sentence(unchecked):
    with pytest.raises(TypeError, match="measure_camera: clip is 'film.mp4', expected a Clip"):
        measure_camera("film.mp4")


def transforms(frames, label):
    """Exact transforms of a clip and what the camera then does: mirrored, reversed, turned."""
    names = {
        "roll cw": "roll clockwise", "roll ccw": "roll counterclockwise",
    }  # fmt: skip
    label = names.get(label, label)
    moves = {name: (axis, sign) for (axis, sign), name in WAYS.items()}
    yield frames, label
    changes = {
        "mirrored": (lambda f: f[:, :, ::-1], lambda a, s: (a, -s if a in ("pan", "roll") else s)),
        "reversed": (lambda f: f[::-1], lambda a, s: (a, -s)),
        "both": (
            lambda f: f[::-1, :, ::-1],
            lambda a, s: (a, s if a in ("pan", "roll") else -s),
        ),
        "turned left": (
            lambda f: np.rot90(f, 1, (1, 2)),
            lambda a, s: {"pan": ("tilt", -s), "tilt": ("pan", s)}.get(a, (a, s)),
        ),
        "turned right": (
            lambda f: np.rot90(f, 3, (1, 2)),
            lambda a, s: {"pan": ("tilt", s), "tilt": ("pan", -s)}.get(a, (a, s)),
        ),
    }
    for change, way in changes.values():
        known = WAYS[way(*moves[label])] if label in moves else label
        yield np.ascontiguousarray(change(frames)), known


@pytest.fixture(scope="module")
def real():
    """Return (film, truth, what was measured, what phase correlation says) of each real window and
    of its exact transforms."""
    if not REAL.is_dir():
        pytest.skip("there is no ../shared/real_windows")
    found = []
    for window in json.loads((REAL / "truth.json").read_text("utf-8")):
        clip = load_clip(REAL / window["file"], 16, 1, 0, 128)
        for frames, label in transforms(clip.frames, window["label"]):
            changed = replace(clip, frames=frames)
            found.append((window["video"], label, measure_camera(changed), by_phase(changed)))
    return found


def by_phase(clip):
    """The class by scikit-image's phase correlation alone: shifts, no zoom and no roll."""
    gray = clip.frames.mean(-1)
    steps = [
        phase_cross_correlation(second, first, upsample_factor=10)[0]
        for first, second in zip(gray, gray[1:], strict=False)
    ]
    down, right = np.sum(steps, 0) / clip.frames.shape[1]
    sizes = {"pan": -right, "tilt": -down}
    axis = max(sizes, key=lambda name: abs(sizes[name]))
    if abs(sizes[axis]) < THRESHOLD:
        return "static"
    return WAYS[axis, int(np.sign(sizes[axis]))]


def test_it_is_right_on_most_real_windows_and_by_far_better_than_phase_correlation(real):
    ours = np.array([label == motion.label for _, label, motion, _ in real])
    theirs = np.array([label == phase for _, label, _, phase in real])
    print(f"measured {ours.mean():.3f}, phase correlation {theirs.mean():.3f}, n {len(ours)}")
    films = defaultdict(list)
    for (film, *_), right in zip(real, ours, strict=True):
        films[film].append(right)
    for film, right in films.items():
        print(f"{film}: {np.mean(right):.2f} of {len(right)}")
    assert ours.mean() >= 0.84 and ours.mean() - theirs.mean() >= 0.1


def test_pan_and_tilt_of_a_real_window_are_never_the_opposite_of_what_was_filmed(real):
    opposite = {name: WAYS[axis, -sign] for (axis, sign), name in WAYS.items()}
    assert not [film for film, label, motion, _ in real if motion.label == opposite.get(label)]
