"""Rows of an array: their places, their order, and what is read for them."""

import numpy as np
import pytest
import torch
import xarray as xr

from tests.vmamba_explore.analysis.features.planted import small_model
from vmamba_explore.analysis.features.activations import (
    Activations,
    ShuffledRows,
    Site,
    record_activations,
    state_gauge,
)
from vmamba_explore.analysis.frame_states import collect
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.trace.record import run_with_trace

PICTURES = {"num_frames": 8, "img_size": 16}


def numbered(**changes):
    """An array whose values say where they stand."""
    sizes = {"video": 5, "clip": 2, "frame": 3, "channel": 4} | changes
    values = np.arange(np.prod(list(sizes.values())), dtype=np.float32)
    return xr.DataArray(values.reshape(list(sizes.values())), dims=tuple(sizes))


def test_a_row_is_the_vector_of_its_place_whatever_the_order_of_dims():
    array = numbered()
    rows = Activations(array.transpose("channel", "frame", "clip", "video"), Site(0))
    wanted = [29, 0, 13]
    places = rows.place(wanted)
    vectors = rows.rows(wanted)
    for at in range(3):
        here = array.isel({dim: int(number[at]) for dim, number in places.items()})
        assert np.array_equal(vectors[at], here)


def test_layer_and_direction_of_the_site_are_selected_by_label():
    array = numbered(layer=2, direction=2, state=3).assign_coords(
        layer=[1, 4], direction=["forward", "backward"]
    )
    rows = Activations(array, Site(4, "backward"))
    part = array.sel(layer=4, direction="backward")
    assert np.array_equal(rows.rows([0])[0], part[0, 0, 0].values.reshape(-1))
    with pytest.raises(ValueError, match="layers \\[1, 4\\], and the site is the"):
        Activations(array, Site(3, "forward"))


def test_dims_are_called_as_a_store_calls_them():
    array = numbered(layer=2).assign_coords(layer=[1, 4])
    stored = array.rename(channel="feature", layer="layer_of_x", frame="frame_of_x")
    one, other = (Activations(each, Site(4)) for each in (array, stored))
    assert np.array_equal(one.rows(range(30)), other.rows(range(30)))
    some = Activations(numbered(patch=3).rename(channel="feature"), Site(4))
    assert some.place([2])["patch"] == [2]


def test_dims_that_are_no_places_are_refused():
    with pytest.raises(ValueError, match="has dims .* expected video"):
        Activations(numbered(time=2), Site(0))
    with pytest.raises(ValueError, match="channel and state"):
        Activations(numbered(), Site(0, "forward"))


def test_a_video_that_was_not_extracted_is_named():
    array = numbered()
    array[3, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="video 3 has values that are not finite"):
        Activations(array, Site(0)).rows([0, 20])


def test_an_epoch_has_every_row_once_in_another_order_than_the_next():
    rows = Activations(numbered(), Site(0))
    one_video = 2 * 3 * 4 * 4 / 2**20
    batches = ShuffledRows(rows, 3, seed=1, block_mib=1.5 * one_video)
    assert (batches.videos, batches.blocks, batches.per_block) == (1, 5, 2)
    epochs = [torch.cat([batches(10 * e + step) for step in range(10)]) for e in (0, 1)]
    assert not torch.equal(epochs[0], epochs[1])
    for epoch in epochs:
        assert torch.equal(epoch[epoch[:, 0].argsort()], rows.rows(range(30)))


def test_a_step_gives_the_same_batch_whatever_was_asked_before():
    rows = Activations(numbered(), Site(0))
    one = ShuffledRows(rows, 4, seed=1, block_mib=1e-4)
    other = ShuffledRows(rows, 4, seed=1, block_mib=1e-4)
    later = [one(step) for step in range(8)]
    assert torch.equal(other(7), later[7])
    assert torch.equal(other(2), later[2])


def test_only_a_block_of_videos_is_read_at_a_time():
    read = []

    class Watched(Activations):
        def block(self, videos):
            read.append(len(videos))
            return super().block(videos)

    batches = ShuffledRows(Watched(numbered(), Site(0)), 2, seed=0, block_mib=2 * 96 / 2**20)
    for step in range(12):
        batches(step)
    assert read == [2, 2]  # six batches of two rows in each block


def test_recorded_tokens_are_those_of_the_residual_stream_without_the_class_token():
    model = small_model()
    series = MotionClips(0, **PICTURES)
    clips = [series[number] for number in range(3)]
    kept = record_activations(model, clips, Site(1), batch_size=2, dtype="float32")
    with torch.no_grad():
        _, trace = run_with_trace(model, [each.clip for each in clips])
    video, _ = model.grid.split(trace["layers.1.hook_block_input"], dim=1)
    assert np.array_equal(kept.values, video)


def test_recorded_states_and_gauge_are_those_of_the_frame_states():
    model, series = small_model(), MotionClips(0, **PICTURES)
    clips = [series[number] for number in range(3)]
    site = Site(1, "backward")
    kept = record_activations(model, clips, site, batch_size=2, dtype="float32")
    states = collect(model, series, range(3), [1])
    assert torch.allclose(
        torch.from_numpy(kept.values.values), states.states[1, "backward"], atol=1e-6
    )
    reading = states.reading[1, "backward"]
    assert torch.allclose(kept.gauge, reading)
    assert torch.allclose(state_gauge(model, clips, site), reading)
    measured = kept.rows([1])[0] * kept.weights
    assert torch.allclose(measured, states.features(1, "backward", 1)[0], atol=1e-5)


def test_half_precision_keeps_three_digits():
    model = small_model()
    clips = [MotionClips(0, **PICTURES)[0]]
    whole, half = (
        record_activations(model, clips, Site(1), dtype=d) for d in ("float32", "float16")
    )
    assert half.values.dtype == np.float16
    assert torch.allclose(half.rows(range(5)), whole.rows(range(5)), rtol=1e-3, atol=1e-4)
