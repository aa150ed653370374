"""A VideoMamba with MambaLRP's factors held, written out token by token, for autograd to go over.

Nothing of the kernels, of FrozenScan or of the model's own blocks is used: plain torch, one loop
over the tokens in the order of each scan, `detach()` where the method says "held constant".
"""

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from tests.vmamba_explore.toys import toy

ALL = ("norm", "conv_silu", "gate_silu", "scan", "gate")
VARIANTS = {
    "front": {},
    "spatial": {"backward_order": "spatial"},
    "temporal": {"backward_order": "temporal"},
    "no class token": {"cls_position": None, "backward_order": "temporal"},
    "middle, halved": {"cls_position": "middle", "direction_merge": "mean"},
    "forward only": {"backward_order": None, "pos_embed": "none", "cls_position": None},
    "forward, middle": {"backward_order": None, "cls_position": "middle"},
    "two tables": {"pos_embed": "spatial_temporal", "tubelet_size": 1, "num_frames": 3},
    "one frame": {
        "pos_embed": "spatial",
        "tubelet_size": 1,
        "num_frames": 1,
        "cls_position": "middle",
    },
    "sinusoidal": {"pos_embed": "sinusoidal", "cls_position": None},
    "every frame": {
        "cls_position": "every_frame",
        "pos_embed": "spatial_temporal",
        "direction_merge": "mean",
        "tubelet_size": 1,
        "num_frames": 3,
    },
    "pool norm": {"pool_norm": True},
    "videomambapro": {"scan_variant": "videomambapro"},
    "videomambapro, spatial": {"scan_variant": "videomambapro", "backward_order": "spatial"},
}
SIZES = {"num_frames": 6, "img_size": 32, "patch_size": 16, "d_model": 16, "num_classes": 4}


def make_model(variant="front", *, biases=True, **options):
    """A small float64 model with drawn weights; without biases, those that add are zero."""

    def draw(model):
        for name, weight in model.named_parameters():
            ends = ("proj.bias", "conv1d.bias", "head.bias", "pool_norm.bias")
            if name.endswith(ends) and "dt_proj" not in name:
                weight.copy_(0.3 * torch.randn_like(weight) if biases else torch.zeros_like(weight))
            elif name.endswith(("norm.weight", "norm_f.weight", ".D", "A_log")):  # pool_norm, too
                weight += 0.3 * torch.randn_like(weight)
            elif "pos_embed" in name or name == "cls_token":
                weight += 0.5 * torch.randn_like(weight)
            elif "dt_proj.bias" in name:
                weight += 2
            elif name.endswith("proj.weight") or name == "head.weight":
                weight *= 3

    return toy(dtype=torch.float64, change=draw, **SIZES | VARIANTS[variant] | options)


@dataclass
class WrittenOut:
    """Logits and whatever relevance is asked of: leaves that gradients come back to."""

    logits: torch.Tensor
    leaves: dict = field(default_factory=dict)
    inputs: list = field(default_factory=list)  # of each block
    o: dict = field(default_factory=dict)  # by (layer, direction)
    y: dict = field(default_factory=dict)
    u: dict = field(default_factory=dict)
    h: dict = field(default_factory=dict)  # states by (layer, direction), a list by token
    variant: str = "mamba"

    def relevance(self, number, of):
        """Value times gradient of `of`, a tensor or a list, elementwise."""
        one = isinstance(of, torch.Tensor)
        of = [of] if one else list(of)
        gradients = torch.autograd.grad(number.sum(), of, retain_graph=True, allow_unused=True)
        found = [
            torch.zeros_like(x) if g is None else x.detach() * g
            for x, g in zip(of, gradients, strict=True)
        ]
        return found[0] if one else found


def held(x, wanted=True):
    return x.detach() if wanted else x


def norm(layer, x, rules):
    scale = (x.square().mean(-1, keepdim=True) + layer.eps) ** -0.5
    return x * held(scale, "norm" in rules) * layer.weight


def write_out(model, clips, rules=ALL):
    """Run a model token by token, on leaves for each clip."""
    run, grid, batch = WrittenOut(torch.empty(0)), model.grid, len(clips)
    run.variant = model.config.scan_variant

    def leaf(name, value):
        run.leaves[name] = value.detach().clone().requires_grad_()
        return run.leaves[name]

    proj = model.patch_embed.proj
    content = F.conv3d(clips, proj.weight, None, proj.stride).flatten(2).mT
    video = leaf("tokens", content)
    video = video + leaf("patch_embed.proj.bias", proj.bias.expand(batch, -1))[:, None]
    position, cls_position = positions(model)
    if position is not None:
        video = video + leaf("positions", position.expand(batch, -1, -1))
    x = video
    at, every = None, model.config.cls_position == "every_frame"
    if model.cls_token is not None:
        count = grid.frames if every else 1
        cls = leaf("class token", model.cls_token.expand(batch, count, -1))
        if cls_position is not None:
            cls = cls + leaf("class position", cls_position.expand(batch, -1, -1))
        per = grid.num_patches // grid.frames if every else grid.num_patches
        half = 0 if model.config.cls_position == "front" else per // 2
        parts = []
        for n in range(count):
            here = video[:, n * per : (n + 1) * per]
            parts += [here[:, :half], cls[:, n : n + 1], here[:, half:]]
        x = torch.cat(parts, dim=1)
        at = [n * (per + 1) + half for n in range(count)]
    for number, block in enumerate(model.layers):
        run.inputs.append(x)
        x = x + mixed(run, number, block.mixer, norm(block.norm, x, rules), rules, leaf)
    run.inputs.append(x)
    x = norm(model.norm_f, x, rules)
    read = x.mean(1) if at is None else x[:, at].mean(1)
    if model.pool_norm is not None:
        others = [place for place in range(x.shape[1]) if place not in at]
        read = read + x[:, others].mean(1)
        centered = read - read.mean(-1, keepdim=True)
        scale = (centered.square().mean(-1, keepdim=True) + model.pool_norm.eps) ** -0.5
        read = centered * held(scale, "norm" in rules) * model.pool_norm.weight
        read = read + leaf("pool_norm.bias", model.pool_norm.bias.expand(batch, -1))
    if model.head is not None:
        bias = leaf("head.bias", model.head.bias.expand(batch, -1))
        read = read @ model.head.weight.T + bias
    run.logits = read
    return run


def positions(model):
    table, config = model.pos_embed, model.config
    if table is None or config.pos_embed not in ("spatial", "spatial_temporal"):
        return table, None
    places, row, frame = model.grid.rows * model.grid.cols, None, table
    if config.cls_position is not None:
        row = 0 if config.cls_position == "front" else places // 2
        frame = table[:, [i for i in range(places + 1) if i != row]]
        row = table[:, row : row + 1]
    if config.pos_embed == "spatial_temporal":
        each = model.temporal_pos_embedding[0]
        frame = torch.cat([frame + each[t] for t in range(len(each))], dim=1)
        if config.cls_position == "every_frame":
            row = row + each
    return frame, row


def mixed(run, number, mixer, hidden, rules, leaf):
    x, z = (hidden @ mixer.in_proj.weight.T).chunk(2, dim=-1)  # (batch, token, channel)
    g = z * held(torch.sigmoid(z), "gate_silu" in rules)
    total = 0
    for name, ssm in mixer.directions.items():
        place, steps = (number, name), ssm.steps(x.shape[1]).tolist()
        bias = leaf(
            f"layers.{number}.mixer.ssm_{name}.conv1d.bias", ssm.conv1d.bias.expand(len(x), -1)
        )
        y = scanned(run, place, ssm, x, bias, steps, rules)
        o = y * g
        run.o[place] = o / 2 + o.detach() / 2 if "gate" in rules else o
        total = total + run.o[place]
    scale = 0.5 if mixer.scale != 1 else 1.0
    return (total * scale) @ mixer.out_proj.weight.T


def scanned(run, place, ssm, x, bias, steps, rules):
    width = ssm.conv1d.weight.shape[-1]
    rank, n = ssm.dt_proj.weight.shape[1], ssm.A_log.shape[1]
    A, state, us, ys, hs = -torch.exp(ssm.A_log), 0, {}, {}, {}
    for step, t in enumerate(steps):
        c = bias
        for lag in range(min(width, step + 1)):
            c = c + ssm.conv1d.weight[:, 0, width - 1 - lag] * x[:, steps[step - lag]]
        us[t] = c * held(torch.sigmoid(c), "conv_silu" in rules)
    run.u[place] = torch.stack([us[t] for t in range(len(steps))], dim=1)
    pro = run.variant == "videomambapro"
    if pro:
        state = run.u[place][:, steps[0], :, None].expand(-1, -1, n)
    for t in steps:
        u = run.u[place][:, t]
        dbc = held(u, "scan" in rules) @ ssm.x_proj.weight.T
        dt, B, C = dbc.split([rank, n, n], dim=-1)
        delta = F.softplus(dt @ ssm.dt_proj.weight.T + ssm.dt_proj.bias)
        decay, write = torch.exp(delta[..., None] * A), delta[..., None] * B[:, None]
        hs[t] = state = decay * state + write * u[..., None]
        read = state
        if pro and place[1] == "backward":
            read = torch.zeros_like(state) if t == steps[0] else state - write * u[..., None]
        ys[t] = (read * C[:, None]).sum(-1) + ssm.D * u
    run.h[place] = [hs[t] for t in range(len(steps))]
    run.y[place] = torch.stack([ys[t] for t in range(len(steps))], dim=1)
    return run.y[place]
