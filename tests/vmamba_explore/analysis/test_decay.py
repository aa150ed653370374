"""What a state keeps between two tokens, against the product of all steps; groups of channels."""

from functools import partial

import pytest
import torch

from tests.vmamba_explore.toys import ORDERS, recorded, retained, vary_steps
from vmamba_explore.analysis.decay import channel_groups, decay, frames_opened
from vmamba_explore.analysis.memory import retention
from vmamba_explore.tokens import TokenGrid

# a trace of two random clips of 3 frames of 2 x 2 tokens
SIZES = {"dtype": torch.float64, "change": vary_steps, "depth": 1, "num_frames": 6}
record = partial(recorded, ["*.hook_delta"], **SIZES)


@pytest.mark.parametrize("kind", ORDERS, ids=str)
def test_what_is_retained_is_the_product_of_every_step_between(kind):
    trace = record(**kind)
    for direction in ("forward", "backward"):
        ssm, fading = trace.ssm(0, direction), decay(trace, 0, direction)
        steps = ssm.steps(trace.grid.seqlen).tolist()
        for i, j in ((0, 0), (0, len(steps) - 1), (2, 7), (5, 6)):
            between = trace[f"layers.0.mixer.ssm_{direction}.hook_delta"][..., steps[i + 1 : j + 1]]
            expected = torch.exp(between[:, :, None] * ssm.A[..., None]).prod(-1)
            found = retained(fading, steps[i], steps[j])
            assert torch.allclose(found, expected, rtol=1e-12, atol=0)


def test_a_frame_is_opened_by_the_first_of_its_tokens_and_never_by_the_class_token():
    grid = TokenGrid(2, 1, 2, "front")
    forward = frames_opened(grid, torch.arange(5))
    assert forward.tolist() == [0, 1, 1, 2, 2]
    backward = frames_opened(grid, torch.arange(5).flip(0))
    assert backward.tolist() == [2, 2, 2, 1, 1]


def test_channel_groups_hold_every_channel_once_slow_ones_first():
    trace = record()
    groups = channel_groups(trace, 0, "forward", 3)
    assert sorted(torch.cat(groups).tolist()) == list(range(16))
    assert [len(group) for group in groups] == [6, 5, 5]
    kept = [float(retention(trace, 0, "forward", weights="equal", channels=g)[0, 0, 0, 2])
            for g in groups]  # fmt: skip
    assert kept == sorted(kept, reverse=True) and kept[0] > 2 * kept[2]
    with pytest.raises(ValueError, match="count is 17, expected 1 to 16"):
        channel_groups(trace, 0, "forward", 17)
