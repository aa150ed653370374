"""The encoder that VideoMamba's cost is compared with."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.studies.scaling.joint_attention import JointAttention, attention_macs

CONFIG = VideoMambaConfig.preset("toy", d_model=48, depth=4)


def clips(config, batch=2):
    generator = torch.Generator().manual_seed(1)
    size = config.img_size
    return torch.randn(batch, 3, config.num_frames, size, size, generator=generator)


@pytest.mark.parametrize("cls_position", ["front", "middle", None])
@pytest.mark.parametrize("pos_embed", ["temporal_expanding", "sinusoidal", "none"])
def test_it_gives_logits_and_every_weight_a_gradient(cls_position, pos_embed):
    config = dataclasses.replace(CONFIG, cls_position=cls_position, pos_embed=pos_embed)
    model = JointAttention(config)
    logits = model(clips(config))
    assert logits.shape == (2, config.num_classes)
    logits[:, 1].sum().backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert without == []


def test_every_token_reaches_the_logits_through_one_block():
    """Joint attention, not divided: the class token sees each patch of each frame at once."""
    config = dataclasses.replace(CONFIG, depth=2)
    model, video = JointAttention(config), clips(config, batch=1).requires_grad_()
    assert len(model.layers) == 1
    model(video)[0, 0].backward()
    tubelets = video.grad.unfold(2, 2, 2).unfold(3, 16, 16).unfold(4, 16, 16)
    assert (tubelets.abs().amax(dim=(1, 5, 6, 7)) > 0).all()


def test_it_equals_attention_written_out():
    torch.manual_seed(0)
    block = JointAttention(dataclasses.replace(CONFIG, d_model=128)).layers[0].double()
    assert block.num_heads == 2
    tokens = torch.randn(1, 7, 128, dtype=torch.float64)
    projected = block.qkv(block.norm_attention(tokens))[0]
    heads = []
    for head in range(2):
        at = slice(64 * head, 64 * (head + 1))
        query, key, value = (part[:, at] for part in projected.split(128, dim=1))
        heads.append((query @ key.T / 8).softmax(-1) @ value)
    expected = tokens + block.out_proj(torch.cat(heads, dim=1))
    expected = expected + block.mlp(block.norm_mlp(expected))
    assert torch.allclose(block(tokens), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cls_position", ["front", None])
@pytest.mark.parametrize("depth", [3, 4])
def test_the_count_is_what_torch_counts(cls_position, depth):
    config = dataclasses.replace(CONFIG, cls_position=cls_position, depth=depth)
    # as matrix products: the counter does not know the CPU's fused attention
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        JointAttention(config)(clips(config, batch=1))
    assert 2 * attention_macs(config).total == counter.get_total_flops()


def test_its_linear_layers_do_about_the_work_of_videomamba_s_projections():
    config = VideoMambaConfig.preset("kaist_small")
    ratio = attention_macs(config).linear / config.macs().paper
    assert ratio == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("d_model", "heads"), [(32, 1), (96, 1), (192, 3), (160, 2), (384, 6)])
def test_heads_are_about_64_channels_wide(d_model, heads):
    model = JointAttention(dataclasses.replace(CONFIG, d_model=d_model))
    assert model.layers[0].num_heads == heads


def test_clips_of_another_shape_are_refused(unchecked):
    with pytest.raises(ValueError, match=r"JointAttention: clips is \(2, 3, 4, 16, 32\), expected"):
        JointAttention(CONFIG)(torch.zeros(2, 3, 4, 16, 32))


def test_a_position_embedding_of_the_sister_models_is_refused():
    config = dataclasses.replace(CONFIG, pos_embed="spatial_temporal")
    with pytest.raises(ValueError, match="JointAttention: pos_embed='spatial_temporal'"):
        JointAttention(config)
