"""What a store takes is worked out before it is written; test_extract.py compares the two."""

import math

from tests.vmamba_explore.toys import toy
from vmamba_explore.stores.layout import LARGEST_CHUNK, Layout, Sampling
from vmamba_explore.stores.quantities import variables
from vmamba_explore.stores.sizes import size_of


def layout(*quantities, **sampling):
    return Layout(variables(toy(), quantities), Sampling(4, 32, **sampling))


def test_bytes_and_files_grow_with_videos_and_clips():
    one, two = (size_of(layout("delta"), videos) for videos in (1, 2))
    assert two.bytes_by_variable["delta"] == 2 * one.bytes_by_variable["delta"]
    assert two.files - one.files == 4  # delta, seconds, indices, done
    clips = size_of(layout("delta", clips_per_video=3), 1)
    assert clips.bytes_by_variable["delta"] == 3 * one.bytes_by_variable["delta"]


def test_half_the_bytes_in_float16():
    half, whole = size_of(layout("h:float16"), 5), size_of(layout("h"), 5)
    assert 2 * half.bytes_by_variable["h"] == whole.bytes_by_variable["h"]


def test_a_large_value_of_a_video_is_several_chunks_that_waste_next_to_nothing():
    many = layout("h", clips_per_video=100)
    array = many.arrays(3)["h"]
    chunk = 4 * math.prod(array["chunks"])
    assert chunk <= LARGEST_CHUNK and array["chunks"][0] == 1
    numbers = 4 * math.prod(array["shape"])
    assert numbers <= size_of(many, 3).bytes_by_variable["h"] < 1.1 * numbers


def test_hours_are_shared_by_the_workers_and_said():
    size = size_of(layout("delta"), 7200, seconds_per_video=2.0, measured_on=3, workers=2)
    assert size.hours == 2.0
    assert "about 2.0 hours by 2 processes at best: a video took one process 2 s" in repr(size)
    assert "the time is not known" in str(size_of(layout("delta"), 7200))


def test_an_empty_list_takes_no_bytes_of_values():
    size = size_of(layout("delta"), 0)
    assert size.bytes_by_variable["delta"] == 0 and "0 videos" in str(size)
