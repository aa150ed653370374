"""state_window against all states of the same run."""

import pytest
import torch

from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import run_with_trace
from vmamba_explore.trace.window import state_window

ORDERS = [
    ("spatiotemporal", "front"),
    ("spatial", None),
    ("temporal", "front"),
    ("spatiotemporal", "middle"),
]
WINDOWS = [(0, 10), (70, 71), (100, 180), (200, 250)]
SCAN_INPUTS = [f"*.hook_{name}" for name in ("u", "delta", "B", "C")]


def build(order="spatiotemporal", cls_position="front"):
    """A model of 8 x 6 x 6 = 288 tokens, so four boundaries."""
    torch.manual_seed(0)
    config = VideoMambaConfig.preset(
        "toy", num_frames=16, img_size=96, backward_order=order, cls_position=cls_position
    )
    model = VideoMamba(config).eval()
    assert config.grid.seqlen > 250
    return model, torch.randn(2, 3, 16, 96, 96)


@pytest.mark.parametrize(("order", "cls_position"), ORDERS)
@pytest.mark.parametrize("channels", [None, slice(3, 20), [40, 2]], ids=str)
def test_a_window_is_that_part_of_all_states(order, cls_position, channels):
    model, clips = build(order, cls_position)
    part = slice(None) if channels is None else channels
    few = ["*.hook_h_boundaries", "*.hook_block_input"]
    with torch.no_grad():
        _, full = run_with_trace(model, clips, "*.hook_h")
        _, small = run_with_trace(model, clips, few)
        _, exact = run_with_trace(model, clips, ["*.hook_h_boundaries", *SCAN_INPUTS])
        for direction in ("forward", "backward"):
            h = full[f"layers.1.mixer.ssm_{direction}.hook_h"]
            for start, stop in WINDOWS:
                wanted = h[:, part, :, start:stop]
                where = 1, direction, start, stop, channels
                assert torch.equal(state_window(exact, *where), wanted)
                found = state_window(small, *where)
                assert ((found - wanted).norm() / wanted.norm()).item() < 1e-5


def test_the_tokens_before_the_boundary_and_after_the_window_are_not_read():
    model, clips = build()
    few = ["*.hook_h_boundaries", "*.hook_block_input"]
    with torch.no_grad():
        _, trace = run_with_trace(model, clips, few)
        plain = state_window(trace, 0, "forward", 140, 150)
        tokens = trace["layers.0.hook_block_input"]
        tokens[:, : 128 - 3] = torch.nan  # three tokens of the convolution's past are read
        tokens[:, 150:] = torch.nan
        assert torch.equal(state_window(trace, 0, "forward", 140, 150), plain)


def test_boundaries_of_all_layers_take_a_64th_of_the_states():
    model, clips = build()
    with torch.no_grad():
        _, full = run_with_trace(model, clips, "*.hook_h")
        _, small = run_with_trace(model, clips, "*.hook_h_boundaries")
    assert small.nbytes <= full.nbytes / 64


def test_what_is_missing_is_named():
    model, clips = build()
    with torch.no_grad():
        _, trace = run_with_trace(model, clips, ["layers.0.hook_block_input", "*.hook_u"])
    with pytest.raises(KeyError, match=r"needs 'layers.0.*hook_h_boundaries'.*names_filter="):
        state_window(trace, 0, "forward", 0, 5)
    with pytest.raises(ValueError, match=r"start 5 and stop 5 are no window of 289 tokens"):
        state_window(trace, 0, "forward", 5, 5)
    with pytest.raises(ValueError, match="There is no layer 2; the model has 0 to 1"):
        state_window(trace, 2, "forward", 0, 5)
    with pytest.raises(ValueError, match="no direction 'down'; expected 'forward' or 'backward'"):
        state_window(trace, 0, "down", 0, 5)
