"""Drawing motion clips."""

from importlib import resources

import numpy as np

from vmamba_explore.clips import motion_render
from vmamba_explore.clips.motion_plan import NUM_SPRITES, TURN
from vmamba_explore.clips.motion_render import PHOTOGRAPHS, Layer

SIZE = 64
MIDDLE = [TURN // 2, TURN // 2, 0, TURN // 2, TURN - 1]  # centered, upright, opaque


def layer(*changes: dict[int, int], ring: bool = True) -> np.ndarray:
    """One frame of sprite 3 for each dict {coordinate: phase}, over an empty picture."""
    poses = np.array([MIDDLE] * len(changes))
    for pose, change in zip(poses, changes, strict=True):
        for coordinate, phase in change.items():
            pose[coordinate] = phase
    return Layer(3, poses, ring, SIZE).full(SIZE)


def test_train_and_test_photographs_are_disjoint_and_in_scikit_images_wheel():
    assert not set(PHOTOGRAPHS["train"]) & set(PHOTOGRAPHS["test"])
    folder = resources.files("skimage").joinpath("data")
    for name in PHOTOGRAPHS["train"] + PHOTOGRAPHS["test"]:
        assert folder.joinpath(name).is_file()


def test_tables_do_not_hang_on_the_last_digit_of_a_math_library():
    turn = 4096 * np.sin(2 * np.pi * np.arange(4096) / 4096)
    shrink = 4096 * 2.0 ** (-np.arange(1024) / 1024)
    for values in (turn, shrink):
        assert np.abs(np.abs(values) % 1 - 0.5).min() > 1e-9


def test_an_object_moves_right_down_and_around_the_edge():
    step = TURN // 8
    here, right, down, wrapped = layer(
        {}, {0: TURN // 2 + step}, {1: TURN // 2 + step}, {0: 0, 1: TURN // 2}
    )
    np.testing.assert_array_equal(right, np.roll(here, 8, axis=1))
    np.testing.assert_array_equal(down, np.roll(here, 8, axis=0))
    np.testing.assert_array_equal(wrapped, np.roll(here, 32, axis=1))


def test_a_quarter_turn_is_clockwise_on_the_screen():
    upright, turned = layer({}, {2: TURN // 4})
    quarter = np.rot90(upright, -1)
    off_by = [np.abs(frame - turned).mean() for frame in (quarter, upright, np.rot90(upright))]
    assert off_by[0] < min(off_by[1:]) / 4


def test_size_grows_by_an_octave_and_opacity_by_its_range():
    small, large = layer({3: 0}, {3: TURN - 1})
    area = [(frame[..., 3] > 128).sum() for frame in (small, large)]
    assert 3.5 < area[1] / area[0] < 4.5
    faint, full = layer({4: 0}, {4: TURN - 1})
    assert faint[..., 3].max() == 255 * 96 // 256
    assert full[..., 3].max() >= 254


def test_the_ring_shows_two_colors_round_the_target_only():
    ringed, plain = layer({})[0], layer({}, ring=False)[0]
    for color in motion_render.RING_COLORS:
        near = [(np.abs(f[..., :3] - color).max(axis=-1) < 40).sum() for f in (ringed, plain)]
        assert near[0] > near[1] + 40


def test_sprites_differ_and_look_different_when_turned():
    pictures = set()
    some = range(0, NUM_SPRITES, 4)
    for sprite in some:
        poses = np.array([[*MIDDLE[:2], k * TURN // 12, *MIDDLE[3:]] for k in range(12)])
        frames = Layer(sprite, poses, False, SIZE).full(SIZE)
        pictures.add(frames[0].tobytes())
        step = np.abs(frames - np.roll(frames, 1, axis=0)).max(axis=-1) > 60
        covered = frames[..., 3] > 60
        assert (step.sum(axis=(1, 2)) > 0.1 * covered.sum(axis=(1, 2))).all()
    assert len(pictures) == len(some)
