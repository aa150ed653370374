"""State norms, against hand computation and the invariance that they are for."""

import numpy as np
import pytest
import torch

from tests.vmamba_explore.toys import recorded
from vmamba_explore.analysis.states import state_norms, token_norms


def record(*names):
    """Return a trace of two layers of three, 2 frames of 2 x 2 tokens behind a class token."""
    return recorded([f"layers.[02].*hook_{name}" for name in names], num_frames=4, depth=3)


def test_token_norms_equal_a_hand_computation():
    h = torch.tensor([[[1.0, 2.0], [0.0, 3.0]], [[2.0, 0.0], [4.0, 0.0]]])  # (d_inner, d_state, t)
    c = torch.tensor([[3.0, 4.0], [0.0, 2.0]])  # mean squares 12.5 and 2
    expected = [((1 + 4) * 12.5 + 16 * 2) ** 0.5, (4 * 12.5 + 9 * 2) ** 0.5]
    assert torch.allclose(token_norms(h, c), torch.tensor(expected))


def test_states_and_what_reads_them_must_belong_together(unchecked):
    for h, c in (((2, 3, 4), (3, 5)), ((2, 3, 4), (0, 4)), ((3, 4), (3, 4)), ((2, 3, 4), (4,))):
        with pytest.raises(ValueError, match=r"token_norms: h is .* and C .*, expected"):
            token_norms(torch.ones(h), torch.ones(c))


def test_scaling_b_up_and_c_down_leaves_the_norms():
    """B -> c B gives c h; with C -> C / c the model is the same, and so must be its norms."""
    h, c = torch.randn(3, 5, 7), torch.randn(5, 7)
    gauge = torch.tensor([0.01, 0.5, 1.0, 20.0, 1000.0])[:, None]
    assert torch.allclose(token_norms(h * gauge, c / gauge), token_norms(h, c), rtol=1e-5)
    assert not torch.allclose(token_norms(h * gauge, c), token_norms(h, c), rtol=0.1)


def test_state_norms_stand_where_their_tokens_do():
    trace = record("h", "C")
    norms = state_norms(trace, clip=1)
    assert norms.dims == ("layer", "direction", "frame", "row", "col")
    assert norms["layer"].values.tolist() == [0, 2]
    assert norms["direction"].values.tolist() == ["forward", "backward"]
    assert norms["clip_frame"].values.tolist() == [0, 2]
    token = trace.grid.index(1, 0, 1)
    name = "layers.2.mixer.ssm_backward.hook_"
    expected = token_norms(trace[name + "h"][1], trace[name + "C"][1])[token]
    found = norms.sel(layer=2, direction="backward", frame=1, row=0, col=1)
    assert np.isclose(found, expected)


def test_recorded_norms_over_channels_serve_as_well_as_all_states():
    wanted = state_norms(record("h", "C"), clip=1)
    assert np.allclose(state_norms(record("h_over_channels", "C"), clip=1), wanted)


@pytest.mark.parametrize("name", ["h", "C"])
def test_a_trace_without_states_or_without_c_says_what_to_record(name):
    with pytest.raises(KeyError, match=r"names_filter=.*hook_h_over_channels.*hook_C"):
        state_norms(record(name))
