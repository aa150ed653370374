"""Shares of a map inside a known region, on maps that can be counted by hand."""

import warnings

import numpy as np
import pytest
import xarray as xr

from vmamba_explore.analysis.truth import in_window, share_inside, token_share, touched


def make_map(values):
    frames = np.arange(len(values))
    coords = {"frame": frames, "clip_frame": ("frame", frames * 2)}
    return xr.DataArray(np.asarray(values, float), coords, ("frame", "row", "col"))


def test_a_token_touches_a_region_with_a_single_pixel():
    mask = np.zeros((4, 4, 4), bool)
    mask[3, 1, 2] = True  # the second tubelet, upper right token of 2 x 2
    region = touched(mask, make_map(np.zeros((2, 2, 2))))
    assert np.argwhere(region).tolist() == [[1, 0, 1]]


def test_a_token_is_covered_by_the_share_of_its_pixels():
    mask = np.zeros((4, 8, 8), bool)
    mask[0:2, 0:4, 4:8] = True  # one token of 2 x 4 x 4
    mask[2, 4:8, 0:4] = True  # half of another
    share = token_share(mask, (2, 2, 2))
    assert share[0].tolist() == [[0, 1], [0, 0]] and share[1].tolist() == [[0, 0], [0.5, 0]]


def test_a_window_holds_every_tubelet_with_one_of_its_frames():
    values = make_map(np.zeros((8, 1, 1)))
    assert in_window((5, 8), values)[:, 0, 0].nonzero()[0].tolist() == [2, 3, 4]
    assert in_window((4, 5), values)[:, 0, 0].nonzero()[0].tolist() == [2]


def test_shares_count_positive_parts_and_sizes():
    values = make_map([[[3.0, -1.0]], [[1.0, 3.0]]])
    region = np.array([[[True, True]], [[False, False]]])
    share = share_inside(values, region)
    assert share.positive == pytest.approx(3 / 7)
    assert share.size == pytest.approx(4 / 8)
    assert share.area == 0.5
    assert share.lift == pytest.approx(6 / 7)


def test_layers_and_directions_are_summed_before_signs_are_looked_at():
    one = make_map([[[2.0, 1.0]]])
    stacked = xr.concat([one, -one + 1], "layer")  # sums to 1 everywhere
    assert share_inside(stacked, np.array([[[True, False]]])).positive == 0.5


def test_a_uniform_map_has_the_share_of_the_area():
    region = np.zeros((2, 3, 3), bool)
    region[0, :2] = True
    assert share_inside(make_map(np.ones((2, 3, 3))), region).lift == pytest.approx(1)


def test_a_map_of_zeros_has_no_shares_and_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = share_inside(make_map(np.zeros((2, 2, 2))), np.ones((2, 2, 2), bool))
    assert np.isnan([found.positive, found.size]).all() and found.area == 1


def test_what_does_not_fit_is_said(unchecked):
    with pytest.raises(ValueError, match=r"A mask of \(3, 4, 4\).*grid of \(2, 2, 2\)"):
        touched(np.zeros((3, 4, 4), bool), make_map(np.zeros((2, 2, 2))))
    with pytest.raises(ValueError, match=r"region is \(1, 2, 2\), the map .*\(2, 2, 2\)"):
        share_inside(make_map(np.zeros((2, 2, 2))), np.zeros((1, 2, 2), bool))
    with pytest.raises(ValueError, match="expected frame, row and col"):
        share_inside(make_map(np.zeros((2, 2, 2))).sum("frame"), np.zeros((2, 2), bool))


def test_some_frames_of_a_map_have_the_tubelets_that_they_had_in_it():
    whole = make_map(np.zeros((8, 1, 1)))
    assert not in_window((4, 5), whole.isel(frame=[1])).any()
    assert in_window((3, 4), whole.isel(frame=[1])).all()
    for frames in ([1, 6], [6, 1], [0, 3, 7]):
        some = in_window((3, 7), whole.isel(frame=frames))
        assert np.array_equal(some, in_window((3, 7), whole)[frames])


@pytest.mark.parametrize("frames", [1, 3])
def test_a_map_that_does_not_tell_its_tubelets_needs_their_size(frames):
    some = make_map(np.zeros((frames, 1, 1)))
    some = some if frames == 1 else some.drop_vars("frame")
    assert in_window((4, 9), some, tubelet_size=16)[0].all()
    with pytest.raises(ValueError, match="do not tell how long a tubelet is; pass tubelet_size="):
        in_window((4, 9), some)


def test_a_window_needs_the_map_s_frames(unchecked):
    with pytest.raises(ValueError, match="expected frame, row and col, and the coordinate clip_fr"):
        in_window((4, 9), make_map(np.zeros((4, 1, 1))).drop_vars("clip_frame"))
