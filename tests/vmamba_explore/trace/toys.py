"""A toy model whose states move its logits, and clips for it."""

import pytest
import torch

from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_explore.model.videomamba import VideoMamba

each_kind = pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backward_order": "spatial"},
        {"backward_order": "temporal", "cls_position": None},
        {"backward_order": None},
        {"cls_position": "middle", "direction_merge": "mean"},
    ],
)


def toy(**changes):
    torch.manual_seed(0)
    sizes = {"num_frames": 8, "tubelet_size": 2, "img_size": 32}
    model = VideoMamba(VideoMambaConfig.preset("toy", **sizes | changes)).eval()
    for module in model.modules():  # a new model's states hardly move its logits
        if isinstance(module, SelectiveSSM):
            torch.nn.init.normal_(module.x_proj.weight, std=0.5)
    return model.requires_grad_(False)


def clips(batch=2, seed=7):
    return torch.randn(batch, 3, 8, 32, 32, generator=torch.Generator().manual_seed(seed))
