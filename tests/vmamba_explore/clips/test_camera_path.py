import numpy as np
import pytest

from vmamba_explore.clips.camera_path import (
    AXIS_AND_SIGN,
    CLASS_NAMES,
    CUT,
    KINDS,
    LEVELS,
    MIXED,
    OPPOSITE,
    STATIC,
    UNITS,
    direction_class,
    draw_path,
    flow,
    label_of,
    profile,
    shake,
    shares,
    travel,
)


def straight(axis: int, size: float) -> np.ndarray:
    pose = np.zeros((16, 4))
    pose[:, axis] = np.linspace(0, size, 16) / UNITS[axis]
    return pose


@pytest.mark.parametrize("level", LEVELS)
def test_the_label_of_a_drawn_path_is_its_kind_and_mixed_paths_have_none(level):
    for number in range(40):
        for kind in range(len(KINDS)):
            if kind == CUT:
                continue
            path = draw_path(np.random.default_rng([number, kind]), kind, 16, level)
            wanted = MIXED if KINDS[kind] == "mixed" else kind
            assert label_of(shares(path.led)) == wanted, (number, KINDS[kind])


@pytest.mark.parametrize("label", range(1, 9))
def test_a_straight_path_is_named_after_its_direction(label):
    axis, sign = AXIS_AND_SIGN[label - 1]
    target = shares(straight(axis, sign * 0.1))
    assert target.argmax() == label and target[label] > 0.99
    assert abs(target.sum() - 1) < 1e-12


def test_shares_follow_the_fourth_power_of_the_travel_and_stillness_counts_like_22_thousandths():
    both = straight(0, 0.1) + straight(1, 0.2)
    target = shares(both)
    pan, tilt = CLASS_NAMES.index("pan right"), CLASS_NAMES.index("tilt down")
    assert target[tilt] / target[pan] == pytest.approx(16)
    barely = shares(straight(3, 0.022))
    assert barely[STATIC] == pytest.approx(0.5) and label_of(barely) == MIXED


def test_there_and_back_is_mixed_though_the_camera_ends_where_it_began():
    there = straight(0, 0.2)[:8]
    pose = np.concatenate([there, there[::-1]])
    assert np.allclose(pose[0], pose[-1])
    target = shares(pose)
    assert label_of(target) == MIXED
    assert target[1] == pytest.approx(target[2]) and target[1] > 0.49


def test_travel_is_in_shares_of_the_side_for_zooms_and_rolls_too():
    for label, (axis, sign) in enumerate(AXIS_AND_SIGN, 1):
        assert travel(straight(axis, sign * 0.3))[label - 1] == pytest.approx(0.3)


def test_jitter_has_the_amplitude_asked_for_and_no_trend():
    amplitudes = []
    for seed in range(200):
        jitter = shake(np.random.default_rng(seed), 16, 0.01)
        time = np.arange(16) - 7.5
        assert np.abs(jitter.mean(0)).max() < 1e-12 and np.abs(time @ jitter).max() < 1e-12
        amplitudes.append(jitter[:, 0].std())
    assert 0.006 < np.mean(amplitudes) < 0.012


def test_a_profile_goes_from_0_to_1_and_never_backward():
    for seed in range(100):
        done = profile(np.random.default_rng(seed), 16)
        assert done[0] == 0 and done[-1] == pytest.approx(1) and (np.diff(done) >= 0).all()


def test_content_moves_against_the_camera_and_grows_with_a_zoom():
    right, down = np.array([0.5, 0.0]), np.array([0.0, 0.5])
    step = np.eye(4)
    assert np.allclose(flow(step[0], right, down), [[-1, 0], [-1, 0]])
    assert np.allclose(flow(step[1], right, down), [[0, -1], [0, -1]])
    assert np.allclose(flow(step[2], right, down), [[0.5, 0], [0, 0.5]])
    # the camera rolls clockwise: what is right of the center goes up, what is below goes right
    assert np.allclose(flow(step[3], right, down), [[0, -0.5], [0.5, 0]])


def test_opposite_directions_share_an_axis_and_differ_in_sign():
    for label, (axis, sign) in enumerate(AXIS_AND_SIGN, 1):
        assert direction_class(axis, 0.01 * sign) == label
        assert direction_class(axis, -0.01 * sign) == OPPOSITE[label]
