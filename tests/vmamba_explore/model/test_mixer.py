import pytest
import torch
from torch.nn import functional as F

from tests.vmamba_explore.toys import watched
from vmamba_explore.hooks import attached, name_hooks
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.mixer import BidirectionalMixer, Block


@pytest.mark.parametrize(("merge", "scale"), [("sum", 1.0), ("mean", 0.5)])
def test_directions_are_gated_by_the_same_z_and_merged(merge, scale):
    torch.manual_seed(0)
    mixer = BidirectionalMixer(VideoMambaConfig.preset("toy", direction_merge=merge))
    name_hooks(mixer)
    names = ["hook_z", "ssm_forward.hook_y", "ssm_backward.hook_y", "hook_out"]
    with watched(mixer, names) as seen:
        out = mixer(torch.randn(2, 9, 32))
    gate = F.silu(seen["hook_z"])
    each = [seen[f"ssm_{d}.hook_y"] * gate * scale for d in ("forward", "backward")]
    assert torch.allclose(out, mixer.out_proj((each[0] + each[1]).mT), atol=1e-6)
    assert torch.equal(out, seen["hook_out"])


def test_forward_only_has_no_backward_module():
    mixer = BidirectionalMixer(VideoMambaConfig.preset("toy", backward_order=None))
    assert mixer.ssm_backward is None
    assert not [name for name, _ in mixer.named_modules() if "backward" in name]


def test_a_forward_only_block_is_causal_and_a_bidirectional_one_is_not():
    torch.manual_seed(0)
    tokens = torch.randn(1, 9, 32)
    changed = tokens.clone()
    changed[:, 5] += 1
    for order, causal in ((None, True), ("spatiotemporal", False)):
        block = Block(VideoMambaConfig.preset("toy", backward_order=order))
        same = torch.equal(block(tokens)[:, :5], block(changed)[:, :5])
        assert same == causal


def test_the_residual_stays_float32_under_bfloat16_weights():
    block = Block(VideoMambaConfig.preset("toy")).bfloat16()
    assert block(torch.randn(1, 9, 32)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("order", [None, "spatiotemporal", "spatial", "temporal"])
def test_looking_inside_the_fused_scan_changes_no_bit(order, dtype):
    torch.manual_seed(0)
    config = VideoMambaConfig.preset("toy", backward_order=order, num_frames=8, cls_position=None)
    mixer = BidirectionalMixer(config).to(dtype)
    name_hooks(mixer)
    hidden = torch.randn(2, config.grid.seqlen, 32).to(dtype)
    plain, calls = mixer(hidden), []
    for hook in ("delta", "y", "h", "A_bar", "h_over_states", "h_boundaries"):
        with attached(mixer, [(f"ssm_forward.hook_{hook}", lambda v, p: calls.append(v.clone()))]):
            assert torch.equal(mixer(hidden), plain), hook
    assert len(calls) == 6
