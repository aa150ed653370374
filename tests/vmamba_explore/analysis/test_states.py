"""State norms, against hand computation and the invariance that they are for."""

import numpy as np
import pytest
import torch

from vmamba_explore.analysis.states import state_norms, token_norms
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.trace.trace import Trace

AXES = {"h": ("batch", "d_inner", "d_state", "seqlen"), "C": ("batch", "d_state", "seqlen")}


def make_trace(layers=(0, 2), seed=0, skip=()):
    """Return a trace of random states over 2 frames of 2 x 3 tokens behind a class token."""
    config = VideoMambaConfig(num_frames=4, img_size=8, patch_size=4, d_model=4, depth=3)
    generator = torch.Generator().manual_seed(seed)
    shapes = {"h": (2, 3, 5, config.grid.seqlen), "C": (2, 5, config.grid.seqlen)}
    values, axes = {}, {}
    for layer in layers:
        for direction in ("forward", "backward"):
            for name in {"h", "C"} - set(skip):
                key = f"layers.{layer}.mixer.ssm_{direction}.hook_{name}"
                values[key] = torch.randn(shapes[name], generator=generator)
                axes[key] = AXES[name]
    return Trace(values, axes, config, [[0.0, 0.1, 0.2, 0.3]] * 2)


def test_token_norms_equal_a_hand_computation():
    h = torch.tensor([[[1.0, 2.0], [0.0, 3.0]], [[2.0, 0.0], [4.0, 0.0]]])  # (d_inner, d_state, t)
    c = torch.tensor([[3.0, 4.0], [0.0, 2.0]])  # mean squares 12.5 and 2
    expected = [((1 + 4) * 12.5 + 16 * 2) ** 0.5, (4 * 12.5 + 9 * 2) ** 0.5]
    assert torch.allclose(token_norms(h, c), torch.tensor(expected))


def test_scaling_b_up_and_c_down_leaves_the_norms():
    """B -> c B gives c h; with C -> C / c the model is the same, and so must be its norms."""
    h, c = torch.randn(3, 5, 7), torch.randn(5, 7)
    gauge = torch.tensor([0.01, 0.5, 1.0, 20.0, 1000.0])[:, None]
    assert torch.allclose(token_norms(h * gauge, c / gauge), token_norms(h, c), rtol=1e-5)
    assert not torch.allclose(token_norms(h * gauge, c), token_norms(h, c), rtol=0.1)


def test_state_norms_stand_where_their_tokens_do():
    trace = make_trace()
    norms = state_norms(trace, clip=1)
    assert norms.dims == ("layer", "direction", "frame", "row", "col")
    assert norms["layer"].values.tolist() == [0, 2]
    assert norms["direction"].values.tolist() == ["forward", "backward"]
    assert norms["seconds"].values.tolist() == [0.0, 0.2]
    token = trace.grid.index(1, 0, 1)
    name = "layers.2.mixer.ssm_backward.hook_"
    expected = token_norms(trace[name + "h"][1], trace[name + "C"][1])[token]
    found = norms.sel(layer=2, direction="backward", frame=1, row=0, col=1)
    assert np.isclose(found, expected)


def test_recorded_norms_over_channels_serve_as_well_as_all_states():
    from_states = make_trace()
    values, axes = dict(from_states), {}
    for name in list(values):
        if name.endswith("hook_h"):
            values[name + "_over_channels"] = values.pop(name).norm(dim=1)
    axes = dict.fromkeys(values, ("batch", "d_state", "seqlen"))
    reduced = Trace(values, axes, from_states.config, from_states.seconds)
    assert np.allclose(state_norms(reduced, clip=1), state_norms(from_states, clip=1))


@pytest.mark.parametrize("missing", ["h", "C"])
def test_a_trace_without_states_or_without_c_says_what_to_record(missing):
    with pytest.raises(KeyError, match=r"names_filter=.*hook_h_over_channels.*hook_C"):
        state_norms(make_trace(skip=missing))
