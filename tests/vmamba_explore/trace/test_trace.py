"""What a trace selects, labels and refuses."""

import copy
import pickle

import numpy as np
import pytest
import torch
import xarray as xr

from tests.vmamba_explore import toys
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.trace import QUANTITIES, Trace


def record(names_filter=lambda name: True, **changes):
    return toys.record(toys.toy(num_frames=6, img_size=48, **changes), names_filter)


@pytest.mark.parametrize(
    "kind", [each for each in toys.ORDERS if each.get("backward_order") != "spatial"], ids=str
)
def test_sel_puts_every_token_where_the_grid_says(kind):
    trace = record(**kind)
    h = trace.sel(layer=1, direction="backward", quantity="h", clip=1)
    raw = trace["layers.1.mixer.ssm_backward.hook_h"]
    assert h.dims == ("frame", "row", "col", "channel", "state")
    assert h.shape == (3, 3, 3, 64, 4)
    for frame, row, col in [(0, 0, 0), (1, 2, 0), (2, 1, 2)]:
        token = trace.grid.index(frame, row, col)
        assert np.array_equal(h.values[frame, row, col], raw[1, :, :, token].numpy())


def test_sel_has_the_class_token_of_every_frame():
    trace = record(cls_position="every_frame")  # 9 patches and a class token a frame
    raw = trace["layers.1.mixer.ssm_forward.hook_h"][0].movedim(-1, 0).numpy()
    found = trace.sel(layer=1, direction="forward", quantity="h", token="cls")
    assert found.dims == ("frame", "channel", "state")
    assert np.array_equal(found.values, raw[[4, 14, 24]])
    one = trace.sel(layer=1, direction="forward", quantity="h", token="cls", frame=[2, 1])
    assert np.array_equal(one.values, raw[[24, 14]])
    last = trace.sel(layer=1, direction="forward", quantity="h", token="cls", frame=2, state=1)
    assert np.array_equal(last.values, raw[24, :, 1])


def test_every_quantity_has_its_dims():
    trace = record()
    dims = {q: trace.sel(0, None if q in ("block_input", "x", "z", "out") else "forward", q).dims
            for q in QUANTITIES}  # fmt: skip
    grid = ("frame", "row", "col")
    assert dims == {
        **dict.fromkeys(("block_input", "x", "u", "z", "delta", "y", "out"), (*grid, "channel")),
        "h_over_states": (*grid, "channel"),
        "h_over_channels": (*grid, "state"),
        **dict.fromkeys(("B", "C"), (*grid, "state")),
        **dict.fromkeys(("A_bar", "write", "h"), (*grid, "channel", "state")),
    }


def test_leaving_out_layer_and_direction_stacks_them():
    trace = record()
    every = trace.sel(quantity="delta")
    assert every.dims == ("layer", "direction", "frame", "row", "col", "channel")
    assert every.layer.values.tolist() == [0, 1]
    assert every.direction.values.tolist() == ["forward", "backward"]
    one = trace.sel(layer=1, direction="backward", quantity="delta")
    assert every.sel(layer=1, direction="backward").identical(one)  # labels and all
    assert trace.sel(quantity="out").dims == ("layer", "frame", "row", "col", "channel")
    assert trace.sel(layer=0, quantity="h").dims[0] == "direction"
    forward_only = record(backward_order=None)
    assert forward_only.sel(quantity="delta").sizes["direction"] == 1


@pytest.mark.parametrize(
    "labels",
    [
        {"frame": 1},
        {"frame": [2, 0], "channel": [5]},
        {"frame": slice(1, 2), "row": slice(0, 2), "col": -1},  # frame 2 is in: a label
        {"layer": 1, "row": 2, "col": 0, "channel": slice(None, 8), "state": 3},
        {"layer": [1, 0], "direction": ["backward"], "state": [0, 2]},
        {"layer": slice(1, None), "direction": "forward", "frame": 0, "row": 1, "col": 1},
        {"frame": slice(None, None, -1), "channel": slice(None, None, -7)},
    ],
)
@pytest.mark.parametrize("cls_position", ["front", "middle"])
def test_sel_takes_labels_as_xarray_does(labels, cls_position):
    trace = record(cls_position=cls_position)
    xr.testing.assert_identical(
        trace.sel(quantity="h", clip=1, **labels), trace.sel(quantity="h", clip=1).sel(labels)
    )


def test_sel_takes_a_tuple_as_several_labels():
    trace = record()
    listed, given = ({"layer": kind([1, 0]), "frame": kind([2, 0])} for kind in (list, tuple))
    assert trace.sel(quantity="h", **given).identical(trace.sel(quantity="h", **listed))


def test_a_selection_copies_no_more_than_it_gives():
    trace, width = record(), 64 * 4
    name = "layers.1.mixer.ssm_backward.hook_h"
    half = Trace({name: trace[name].half()}, {name: trace._axes[name]}, trace.config)
    tokens = trace.grid.seqlen
    whole = peak_bytes(lambda: half.sel(quantity="h"))
    some = peak_bytes(lambda: half.sel(quantity="h", frame=0, row=0, col=0))
    one = peak_bytes(lambda: half.sel(quantity="h", channel=3, state=1))
    assert whole >= 4 * (tokens - 1) * width
    assert some <= 6 * width + 64 * tokens and one <= 64 * tokens


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ({}, ValueError, "name a quantity. This trace has block_input, x, z, out, u, delta"),
        ({"quantity": "delta", "frame": 3}, IndexError, "frame is 3, expected some of 0 to 2"),
        ({"quantity": "h", "state": [0, 4]}, IndexError, "expected some of 0 to 3"),
        ({"quantity": "delta", "state": 0}, ValueError, "have no state; they have frame, row, col"),
        ({"quantity": "h", "token": "cls", "row": 0}, ValueError, "no row; they have channel"),
        ({"quantity": "delta", "layer": [0, 7]}, KeyError, "was not recorded; it was recorded at"),
        ({"quantity": "delta", "direction": ["up"]}, ValueError, "direction is 'up', expected"),
        ({"quantity": "delta", "direction": "fwd"}, ValueError, "direction is 'fwd', expected"),
        ({"quantity": "dt"}, ValueError, "no quantity 'dt'.*delta"),
        ({"quantity": "h_boundaries"}, ValueError, "no quantity 'h_boundaries'.*state_window"),
        ({"quantity": "delta", "clip": 2}, KeyError, "clip 2 is outside this batch of 2"),
        ({"quantity": "z", "direction": "forward"}, ValueError, "belongs to both directions"),
    ],
)
def test_what_cannot_be_selected_is_named(labels, error, words, unchecked):
    with pytest.raises(error, match=words):
        record().sel(**labels)


def test_the_class_token_is_apart():
    trace = record()
    cls = trace.sel(layer=0, direction="forward", quantity="h", token="cls")
    assert cls.dims == ("channel", "state")
    assert np.array_equal(cls.values, trace["layers.0.mixer.ssm_forward.hook_h"][0, ..., 0])
    with pytest.raises(ValueError, match="class token is None"):
        record(cls_position=None).sel(quantity="h", token="cls")


def test_frames_carry_the_tubelets_first_frame_and_unknown_seconds_are_nan():
    array = record().sel(layer=0, direction="forward", quantity="delta")
    assert array.clip_frame.values.tolist() == [0, 2, 4]
    assert np.isnan(array.seconds.values).all()


def test_an_array_is_a_read_only_copy():
    for labels in ({}, {"layer": 0, "direction": "forward"}):
        with pytest.raises(ValueError, match="read-only"):
            record().sel(quantity="delta", **labels).values[0] = 0


def test_what_was_not_recorded_says_what_was(unchecked):
    trace = record(names_filter="layers.0.mixer.ssm_forward.hook_delta")
    with pytest.raises(KeyError, match=r"recorded at \[\(0, 'forward'\)\]"):
        trace.sel(layer=1, quantity="delta")
    with pytest.raises(KeyError, match=r"recorded at no layer.*names_filter='\*.hook_h'"):
        trace.sel(quantity="h")
    with pytest.raises(KeyError, match="Closest recorded: 'layers.0.mixer.ssm_forward.hook_delta'"):
        trace["layers.0.mixer.ssm_forward.hook_dt"]
    ragged = record(names_filter=["layers.0.*hook_y", "layers.1.mixer.ssm_forward.hook_y"])
    with pytest.raises(KeyError, match=r"not at \[\(1, 'backward'\)\]"):
        ragged.sel(quantity="y")


@pytest.mark.parametrize("change", [lambda model: model.head.weight.mul_(2), VideoMamba.double])
def test_a_trace_knows_its_model_while_its_weights_stay(change, unchecked):
    trace = record()
    assert trace.ssm(1, "backward") is trace.model.layers[1].mixer.ssm_backward
    with pytest.raises(ValueError, match="There is no layer -1; the model has 0 to 1"):
        trace.mixer(-1)
    with pytest.raises(ValueError, match="no direction 'up'; expected 'forward' or 'backward'"):
        trace.ssm(0, "up")
    with torch.no_grad():
        change(trace.model)
    with pytest.raises(ValueError, match="weights have changed since this trace was recorded"):
        _ = trace.model


def test_values_over_tokens_get_the_labels_of_the_trace():
    trace = record()
    values = torch.arange(trace.grid.seqlen, dtype=torch.float64).expand(2, -1)
    array = trace.token_array(values, name="place", dims=["direction"])
    assert array.dims == ("direction", "frame", "row", "col")
    assert array.values[1, 1, 0, 1] == trace.grid.index(1, 0, 1)
    delta = trace.sel(layer=0, direction="forward", quantity="delta")
    for name in ("frame", "clip_frame", "seconds"):
        np.testing.assert_array_equal(array[name], delta[name])


def test_a_copy_knows_the_model_and_a_deep_copy_has_its_own_tensors_without_a_graph():
    trace = record()
    name = "layers.0.mixer.ssm_forward.hook_y"
    trace._values[name] = (trace[name].detach().requires_grad_() * 1).clone()  # with a graph
    assert copy.copy(trace)[name] is trace[name]
    deep = copy.deepcopy({"a": trace, "b": trace})
    assert deep["a"] is deep["b"] and deep["a"].model is trace.model
    assert torch.equal(deep["a"][name], trace[name]) and not deep["a"][name].requires_grad
    with torch.no_grad():
        deep["a"][name].zero_()
    assert trace[name].any()
    assert deep["a"].sel(quantity="delta").equals(trace.sel(quantity="delta"))


def test_a_pickled_trace_has_its_values_and_says_that_it_does_not_know_its_model():
    trace = record()
    back = pickle.loads(pickle.dumps(trace))
    assert back.names == trace.names and back.sel(quantity="y").equals(trace.sel(quantity="y"))
    with pytest.raises(ValueError, match="does not know its model"):
        _ = back.model
