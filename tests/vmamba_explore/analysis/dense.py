"""Hidden attention as its definition says, one matrix per channel: what the scans are held to."""

import torch
from torch.nn import functional as F

from tests.vmamba_explore.toys import clips_for, shake, toy
from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.trace.record import run_with_trace

SIZES = {"num_frames": 4, "img_size": 12, "patch_size": 4, "d_model": 6, "num_classes": 3}
VARIANTS = {
    "front": {},
    "middle": {"cls_position": "middle", "direction_merge": "mean"},
    "no class token": {"cls_position": None},
    "spatial": {"backward_order": "spatial"},
    "temporal": {"backward_order": "temporal", "cls_position": None},
    "forward only": {"backward_order": None},
    "every frame": {"cls_position": "every_frame"},
    "videomambapro": {"scan_variant": "videomambapro"},
    "videomambapro, temporal": {
        "scan_variant": "videomambapro",
        "backward_order": "temporal",
        "cls_position": None,
    },
}
NAMES = [*ScanOperator.names(None, "beta"), "*.hook_block_input", "*.hook_out"]


def make_trace(batch=2, dtype=torch.float64, names=NAMES, **changes):
    """Return the logits and the trace of an untrained model whose every weight is random."""
    model = toy(dtype=dtype, change=shake, **SIZES | changes)
    with torch.no_grad():
        return run_with_trace(model, clips_for(model, batch), names)


def dense(trace, layer, direction, kind="alpha", sizes=False, without=(), restart=None):
    """alpha + diag D, or beta, from their definitions; with `sizes` every factor's absolute value.

    Args:
        without: Tokens at which nothing is written and nothing forgotten.
        restart: The token after which all that was read before is forgotten.
    Returns:
        float64 (batch, d_inner, reader, source), natural order.
    """
    size = torch.abs if sizes else (lambda x: x)
    ssm, mixer, at = trace.ssm(layer, direction), trace.mixer(layer), f"layers.{layer}.mixer."

    def recorded(name):
        return trace[at + name].detach().double()

    steps = ssm.steps(trace.grid.seqlen)
    delta = recorded(f"ssm_{direction}.hook_delta").clone()
    delta[..., list(without)] = 0
    delta = delta[..., steps]
    B, C = (size(recorded(f"ssm_{direction}.hook_{name}"))[..., steps] for name in "BC")
    S = delta.cumsum(-1)
    span = (S[..., :, None] - S[..., None, :]).clamp_min(0)[:, :, None]
    decay = torch.exp(ssm.A.detach().double()[None, :, :, None, None] * span)
    written = delta[:, :, None] * B[:, None]
    alpha = torch.einsum("bnt,bdnts,bdns->bdts", C, decay, written).tril()
    pro = trace.config.scan_variant == "videomambapro"
    first = next(step for step, token in enumerate(steps.tolist()) if token not in without)
    own = alpha.diagonal(dim1=-2, dim2=-1).clone()
    if pro:  # h starts from the first u
        start = torch.exp(ssm.A.detach().double()[..., None] * S[:, :, None])
        alpha[..., first] += torch.einsum("bnt,bdnt->bdt", C, start)
    if restart is not None:
        step = steps.tolist().index(restart)
        alpha[..., step:, : step + 1] = 0
    if pro and direction == "backward":  # the backward scan leaves out what a token writes itself
        alpha = alpha - torch.diag_embed(own)
        alpha[..., first, :] = 0
    alpha = alpha + torch.diag_embed(size(ssm.D.detach().double())[:, None].expand(-1, len(steps)))
    place = steps.argsort()
    alpha = alpha[..., place, :][..., place]  # P^T alpha P
    if kind == "alpha":
        return alpha

    weight = ssm.conv1d.weight.detach().double().squeeze(1)
    K = torch.zeros(len(weight), len(steps), len(steps), dtype=torch.float64)
    for t in range(len(steps)):
        for back in range(min(weight.shape[-1], t + 1)):
            K[:, steps[t], steps[t - back]] = weight[:, weight.shape[-1] - 1 - back]
    c = torch.einsum("dts,bds->bdt", K, recorded("hook_x"))
    opened = torch.sigmoid(c + ssm.conv1d.bias.detach().double()[:, None])
    gate = F.silu(recorded("hook_z")) * mixer.scale
    return size(gate)[..., None] * alpha @ (opened[..., None] * size(K))


def dense_rollout(trace, weights, kind):
    """The roll-out of a row `weights` (seqlen,) with every matrix written out: (batch, seqlen)."""
    seqlen, row = trace.grid.seqlen, weights.double()
    for layer in reversed(range(trace.config.depth)):
        both = sum(dense(trace, layer, d, kind, sizes=True) for d in trace.mixer(layer).directions)
        rows = both / both.sum(-1, keepdim=True)
        mixing = (torch.eye(seqlen, dtype=torch.float64) + rows.mean(1)) / 2
        row = row @ mixing if row.ndim == 1 else torch.einsum("bt,bts->bs", row, mixing)
    return row
