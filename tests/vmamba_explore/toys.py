"""Small models with random weights, clips for them, and recordings of their runs."""

from contextlib import contextmanager

import torch
from torch import nn

from vmamba_explore.hooks import attached
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import run_with_trace
from vmamba_explore.trace.trace import Trace

SMALL = {"img_size": 8, "patch_size": 4, "d_model": 8, "d_state": 3, "num_classes": 3}
KINDS = [
    {"cls_position": "front"},
    {"cls_position": "middle", "direction_merge": "mean"},
    {"cls_position": None},
    {"backward_order": "spatial"},
    {"backward_order": "temporal", "cls_position": None},
    {"backward_order": None, "cls_position": "middle"},
    {"scan_variant": "videomambapro"},
    {"cls_position": "every_frame", "direction_merge": "mean"},
    {"pool_norm": True},
]
"""Every place of the class token, every order of the backward scan, and every recurrence."""
ORDERS = [
    {"backward_order": order, "cls_position": cls}
    for order in ("spatiotemporal", "spatial", "temporal")
    for cls in ("front", None)
] + [
    {"cls_position": "middle"},
    {"scan_variant": "videomambapro", "backward_order": "temporal"},
    {"scan_variant": "videomambapro", "cls_position": None},
    {"cls_position": "every_frame"},
]
"""Every order of the backward scan with and without a class token, and every recurrence."""


def toy(*, dtype=torch.float32, seed=0, change=None, **changes):
    """Return the model "toy" with these changes, after `change(model)` without gradients."""
    torch.manual_seed(seed)
    model = VideoMamba(VideoMambaConfig.preset("toy", **changes)).to(dtype).eval()
    if change is not None:
        with torch.no_grad():
            change(model)
    return model


def shake(model, size=0.3):
    """Move every weight, so that none is where it began, biases and A included."""
    for weight in model.parameters():
        weight += size * torch.randn_like(weight)


def enliven(model):
    """Let the states move the logits, which those of a new model hardly do."""
    for module in model.requires_grad_(False).modules():
        if isinstance(module, SelectiveSSM):
            nn.init.normal_(module.x_proj.weight, std=0.5)


def vary_steps(model, shift=2.5):
    """Let every channel forget at a pace of its own."""
    for module in model.modules():
        if isinstance(module, SelectiveSSM):
            module.dt_proj.bias += shift + torch.randn(module.dt_proj.bias.shape)


def clips_for(model, batch=2, seed=1):
    """Return random clips that the model reads, in its precision."""
    config = model.config
    shape = (batch, config.in_channels, config.num_frames, config.img_size, config.img_size)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(model.norm_f.weight.dtype)


def record(model, names=None, batch=2):
    """Return the trace of a run on `clips_for(model, batch)`."""
    with torch.no_grad():
        return run_with_trace(model, clips_for(model, batch), names)[1]


def recorded(names, **changes):
    """Return the trace of a toy model with small sizes and these changes; see `toy`."""
    return record(toy(**SMALL | changes), names)


def retained(fading, source, target):
    """Return the share of a state written at one token that is left at another."""
    return torch.exp(fading.A * (fading.S[..., target] - fading.S[..., source])[..., None])


def without(trace, *ends):
    """Return the trace without the values whose names end so."""
    return altered(trace, {name: value for name, value in trace.items() if not name.endswith(ends)})


def altered(trace, values):
    """Return a trace of the same run with other values."""
    return Trace(values, {}, trace.config, None, trace.model)


@contextmanager
def watched(module, names):
    """Yield what passes these hook points inside the block, by name."""
    seen = {}
    with attached(module, [(n, lambda v, p: seen.__setitem__(p.name, v)) for n in names]):
        yield seen


class Wrapped(nn.Module):
    """The model as a user would hand it to Captum."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(inputs)
