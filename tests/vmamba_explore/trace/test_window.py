"""state_window against all states of the same run."""

import pytest
import torch

from tests.vmamba_explore.toys import clips_for, record, toy
from vmamba_explore.trace.past import reset_state
from vmamba_explore.trace.record import replay_layer, run_with_trace
from vmamba_explore.trace.window import state_window, window_names

PRO = "videomambapro"
ORDERS = [
    ("spatiotemporal", "front", "mamba"),
    ("spatial", None, "mamba"),
    ("temporal", "front", "mamba"),
    ("spatiotemporal", "middle", "mamba"),
    ("spatiotemporal", "every_frame", "mamba"),
    ("spatiotemporal", "front", PRO),
    ("temporal", None, PRO),
]
WINDOWS = [(0, 10), (70, 71), (100, 180), (200, 250)]
SCAN_INPUTS = [f"*.hook_{name}" for name in ("u", "delta", "B", "C")]


FEW = ["*.hook_h_boundaries", "*.hook_block_input"]


def build(order="spatiotemporal", cls_position="front", scan_variant="mamba"):
    """A model of 8 x 6 x 6 = 288 tokens, so four boundaries."""
    changes = {"backward_order": order, "cls_position": cls_position, "scan_variant": scan_variant}
    return toy(num_frames=16, img_size=96, **changes)


@pytest.mark.parametrize(("order", "cls_position", "variant"), ORDERS)
@pytest.mark.parametrize("channels", [None, slice(3, 20), [40, 2]], ids=str)
def test_a_window_is_that_part_of_all_states(order, cls_position, variant, channels):
    model = build(order, cls_position, variant)
    part = slice(None) if channels is None else channels
    full, small = record(model, "*.hook_h"), record(model, FEW)
    exact = record(model, ["*.hook_h_boundaries", *SCAN_INPUTS])
    with torch.no_grad():
        for direction in ("forward", "backward"):
            h = full[f"layers.1.mixer.ssm_{direction}.hook_h"]
            for start, stop in WINDOWS:
                wanted = h[:, part, :, start:stop]
                where = 1, direction, start, stop, channels
                assert torch.equal(state_window(exact, *where), wanted)
                found = state_window(small, *where)
                assert ((found - wanted).norm() / wanted.norm()).item() < 1e-5


def test_the_tokens_before_the_boundary_and_after_the_window_are_not_read():
    trace = record(build(), FEW)
    with torch.no_grad():
        plain = state_window(trace, 0, "forward", 140, 150)
        tokens = trace["layers.0.hook_block_input"]
        tokens[:, : 128 - 3] = torch.nan  # three tokens of the convolution's past are read
        tokens[:, 150:] = torch.nan
        assert torch.equal(state_window(trace, 0, "forward", 140, 150), plain)


def test_boundaries_of_all_layers_take_a_64th_of_the_states():
    full, small = (record(build(), f"*.hook_{name}") for name in ("h", "h_boundaries"))
    assert small.nbytes <= full.nbytes / 64


@pytest.mark.parametrize(
    ("where", "error", "words"),
    [
        ((0, "forward", 0, 5), KeyError, r"needs 'layers.0.*hook_h_boundaries'.*names_filter="),
        ((0, "forward", 5, 5), ValueError, "start 5 and stop 5 are no window of 289 tokens"),
        ((2, "forward", 0, 5), ValueError, "There is no layer 2; the model has 0 to 1"),
        ((0, "down", 0, 5), ValueError, "no direction 'down'; expected 'forward' or 'backward'"),
    ],
)
def test_what_is_missing_is_named(where, error, words):
    with pytest.raises(error, match=words):
        state_window(record(build(), ["layers.0.hook_block_input", "*.hook_u"]), *where)


def test_states_that_were_reset_are_taken_from_the_run_and_not_computed_from_those_before():
    model = build()
    with torch.no_grad():
        plain = record(model, ["*.hook_block_input"])
        assert window_names(plain, 1)[-2].endswith("h_boundaries")  # one in 64 is enough
        with reset_state(model, 4):
            trace = run_with_trace(model, clips_for(model), ["*.hook_block_input", "*.hook_h"])[1]
            replayed = replay_layer(trace, 1, window_names(trace, 1))
            few = replay_layer(trace, 1, ["*.hook_h_boundaries", *SCAN_INPUTS])
        after = model.grid.index(4, 0, 0), model.grid.index(4, 1, 0)
        wanted = trace["layers.1.mixer.ssm_forward.hook_h"][..., slice(*after)]
        assert torch.equal(state_window(replayed, 1, "forward", *after), wanted)
        part = state_window(replayed, 1, "forward", *after, channels=[3])
        assert torch.equal(part, wanted[:, [3]])
        assert not torch.allclose(state_window(few, 1, "forward", *after), wanted)
