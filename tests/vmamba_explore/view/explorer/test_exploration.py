"""What an exploration promises about its maps, and how it refuses others."""

import numpy as np
import pytest


def test_layers_directions_and_first_frames_are_those_of_the_maps(make_exploration):
    exploration = make_exploration()
    assert exploration.layers == (0, 3)
    assert exploration.directions == ("forward", "backward")
    assert exploration.first_clip_frames.tolist() == [0, 2, 4]


def test_without_clip_frames_the_frames_are_spread_evenly(make_exploration):
    maps = {n: m.drop_vars("clip_frame") for n, m in make_exploration().maps.items()}
    assert make_exploration(maps=maps).first_clip_frames.tolist() == [0, 2, 4]


def test_it_is_called_by_its_name_or_else_by_its_clip(make_exploration):
    assert make_exploration().title == "clip <b>0</b>.mp4"
    assert make_exploration(name="muted").title == "muted"


def test_a_map_of_the_model_as_a_whole_has_no_layers(make_exploration):
    maps = {"relevance": make_exploration().maps["relevance"]}
    assert make_exploration(maps=maps).layers == ()


def test_the_dataset_has_every_map_and_curve_with_its_labels(make_exploration):
    exploration = make_exploration()
    dataset = exploration.dataset()
    for name, values in {**exploration.maps, **exploration.curves}.items():
        found = dataset[name.replace(" ", "_")]
        assert found.dims == values.dims and found.attrs == values.attrs
        np.testing.assert_array_equal(found.values, values.values)
    assert dataset.attrs == {
        "clip": "clip <b>0</b>.mp4", "model": "test model", "target": "right",
    }  # fmt: skip


def test_no_maps_is_an_error(make_exploration):
    with pytest.raises(ValueError, match="maps is empty, expected at least one"):
        make_exploration(maps={})


def test_no_steps_is_an_error(make_exploration):
    with pytest.raises(ValueError, match="steps is empty, expected those of every direction"):
        make_exploration(steps={})


def test_a_map_with_other_dims_is_an_error(make_exploration):
    values = make_exploration().maps["delta"].isel(direction=0)
    with pytest.raises(ValueError, match="map 'delta' has dims .*expected layer, direction, frame"):
        make_exploration(maps={"delta": values})


def test_an_empty_map_is_an_error(make_exploration):
    values = make_exploration().maps["delta"].isel(layer=[])
    with pytest.raises(ValueError, match="map 'delta' has dims .*none empty"):
        make_exploration(maps={"delta": values})


def test_maps_and_steps_over_different_grids_are_an_error(make_exploration):
    steps = {"forward": np.arange(6).reshape(3, 2, 1)}
    with pytest.raises(ValueError, match=r"grids of \[\(3, 2, 1\), \(3, 2, 4\)\] tokens"):
        make_exploration(steps=steps)
