import numpy as np
import pytest

from vmamba_explore.clips.sampling import frame_indices, frame_order


@pytest.mark.parametrize(
    ("arguments", "indices", "repeated"),
    [
        ((100, 4, 2), [46, 48, 50, 52], 0),  # without a start, the middle of the source
        ((100, 4, 3, 7), [7, 10, 13, 16], 0),
        ((7, 4, 2), [0, 2, 4, 6], 0),  # just fits
        ((6, 4, 2), [0, 2, 4, 5], 1),  # a short source repeats its last frame
        ((1, 4, 2), [0, 0, 0, 0], 3),
        ((10, 4, 2, 8), [8, 9, 9, 9], 3),
        ((100, 4, None), [0, 33, 66, 99], 0),  # spread from the first to the last frame
        ((100, 4, None, 96), [96, 97, 98, 99], 0),
        ((100, 3, None, 50), [50, 74, 99], 0),
        ((3, 5, None), [0, 1, 2, 2, 2], 2),  # every frame before one is repeated
        ((100, np.int32(2), np.int64(1), np.uint8(3)), [3, 4], 0),
    ],
)
def test_the_frames_of_a_clip_and_how_many_repeat_the_last(arguments, indices, repeated, unchecked):
    found, count = frame_indices(*arguments)
    assert found.dtype == np.int64
    assert (found.tolist(), count) == (indices, repeated)


@pytest.mark.parametrize("stride", [1, 2, None])
def test_a_clip_of_one_frame_is_the_middle_one(stride):
    (index,), repeated = frame_indices(101, 1, stride)
    assert (index, repeated) == (50, 0)


@pytest.mark.parametrize("available", [1, 2, 3, 15, 16, 17, 31, 32, 400])
@pytest.mark.parametrize("num_frames", [1, 2, 5, 16])
@pytest.mark.parametrize("stride", [1, 2, 5, None])
def test_frame_numbers_rise_stay_inside_and_repeat_only_the_last(available, num_frames, stride):
    indices, repeated = frame_indices(available, num_frames, stride)
    assert len(indices) == num_frames
    assert indices.min() >= 0
    kept = indices[: num_frames - repeated]
    assert (np.diff(kept) > 0).all()
    assert (indices[num_frames - repeated :] == available - 1).all()
    assert kept[-1] <= available - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 0}, "num_frames must be a whole number >= 1, got 0"),
        ({"num_frames": 2.5}, "num_frames must be a whole number >= 1, got 2.5"),
        ({"num_frames": True}, "num_frames must be a whole number >= 1, got True"),
        ({"stride": 0}, "stride must be a whole number >= 1, got 0"),
        ({"stride": "2"}, "stride must be a whole number >= 1, got '2'"),
        ({"start": -1}, "start must be a whole number >= 0, got -1"),
        ({"start": 30}, r"start=30 lies past the end; the source has 30 frames \(0 to 29\)"),
    ],
)
def test_an_impossible_choice_says_what_was_expected(unchecked, arguments, message):
    with pytest.raises(ValueError, match=message):
        frame_indices(30, **arguments)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("sequential", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("block_wise", [5, 6, 7, 8, 1, 2, 3, 4]),
        ("pairwise", [1, 2, 7, 8, 5, 6, 3, 4]),
        ("interleaved", [1, 8, 2, 7, 3, 6, 4, 5]),
    ],
)
def test_frame_orders_are_those_of_the_papers_example(order, expected):
    assert (frame_order(8, order) + 1).tolist() == expected
    assert sorted(frame_order(16, order)) == list(range(16))


def test_frame_order_refuses_what_it_does_not_know(unchecked):
    with pytest.raises(ValueError, match="order must be 'sequential', .*, got 'reversed'"):
        frame_order(8, "reversed")
    with pytest.raises(ValueError, match="num_frames is 7, expected an even number"):
        frame_order(7, "pairwise")
