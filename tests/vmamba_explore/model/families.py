"""Checkpoints of every family with random tensors, and each family's model as a plain loop.

The loops read published names and shapes and take nothing from the package: one token after the
other, in float64, as the families' own code has it.
"""

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

D_MODEL, D_STATE, D_CONV, D_INNER, RANK, DEPTH, CLASSES = 12, 3, 4, 24, 2, 2, 5
SIDE, PATCH, FRAMES = 3, 4, 4  # patches along an edge, pixels, frames of a clip


def tensors_of(family, seed=0):
    """Return random tensors under the names and in the shapes that a family publishes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, size=0.3):
        return size * torch.randn(*shape, generator=generator)

    image = family in ("vim", "opengvlab image")
    flat = image or family.startswith("vivim")  # a tokenizer of pictures
    cut = (PATCH, PATCH) if flat else (1, PATCH, PATCH)
    found = {
        "patch_embed.proj.weight": draw(D_MODEL, 3, *cut),
        "patch_embed.proj.bias": draw(D_MODEL),
        "cls_token": draw(1, 1, D_MODEL),
        "pos_embed": draw(1, SIDE**2 + 1, D_MODEL),
    }
    if family.startswith("vivim"):
        found["temporal_embedding"] = draw(FRAMES, 1, D_MODEL)
    elif not image:
        found["temporal_pos_embedding"] = draw(1, FRAMES, D_MODEL)
    for layer in range(DEPTH):
        at = f"layers.{layer}."
        found[f"{at}norm.weight"] = 1 + draw(D_MODEL)
        found[f"{at}mixer.in_proj.weight"] = draw(2 * D_INNER, D_MODEL, size=0.6)
        found[f"{at}mixer.out_proj.weight"] = draw(D_MODEL, D_INNER)
        for end in ("", "_b"):
            found[f"{at}mixer.A{end}_log"] = draw(D_INNER, D_STATE)
            found[f"{at}mixer.D{end}"] = 1 + draw(D_INNER)
            found[f"{at}mixer.conv1d{end}.weight"] = draw(D_INNER, 1, D_CONV, size=0.5)
            found[f"{at}mixer.conv1d{end}.bias"] = draw(D_INNER)
            found[f"{at}mixer.x_proj{end}.weight"] = draw(RANK + 2 * D_STATE, D_INNER)
            found[f"{at}mixer.dt_proj{end}.weight"] = draw(D_INNER, RANK)
            found[f"{at}mixer.dt_proj{end}.bias"] = draw(D_INNER) - 1
    masked = family in ("masked", "text-video")
    found["norm.weight" if masked else "norm_f.weight"] = 1 + draw(D_MODEL)
    if masked:
        found["clip_decoder.0.head.weight"] = draw(7, D_MODEL)
        found["clip_decoder.0.norm.weight"] = draw(7)
    else:
        found["head.weight"], found["head.bias"] = draw(CLASSES, D_MODEL), draw(CLASSES)
    if family == "text-video":
        found |= {"pool_norm.weight": 1 + draw(D_MODEL), "pool_norm.bias": draw(D_MODEL)}
        found = {f"vision_encoder.{name}": value for name, value in found.items()}
        found |= {"vision_proj.weight": draw(6, D_MODEL), "vision_proj.bias": draw(6)}
        found |= {"text_encoder.bert.embeddings.weight": draw(9, 8), "temp": torch.tensor(0.07)}
        found |= {"text_proj.weight": draw(6, 8), "itm_head.weight": draw(2, 8)}
    if family == "vivim with texts":
        found["image_projection"] = draw(D_MODEL, 6)
        found = {f"module.visual.{name}": value for name, value in found.items()}
        found["module.textual.text_projection"] = draw(8, 6)
        found["module.textual.token_embedding.weight"] = draw(9, 8)
        found["module.logit_scale"] = torch.tensor(2.6)
    return found


LAYOUTS = {
    "opengvlab": None,
    "opengvlab image": "opengvlab",
    "vim": "vim",
    "videomambapro": "videomambapro",
    "vivim": None,
    "vivim with texts": None,
    "masked": None,
    "text-video": None,
}
"""Every family that loads, and the layout that it needs."""


@dataclass
class Run:
    """What a loop gives: the output, and the states of each scan, natural order."""

    output: torch.Tensor
    states: dict = field(default_factory=dict)


def run(family, tensors, clips):
    """Run a family's model on clips (batch, 3, frames, height, width), float64."""
    t = {name: value.double() for name, value in tensors.items()}
    for prefix in ("module.", "vision_encoder.", "visual."):
        t = {name.removeprefix(prefix): value for name, value in t.items()}
    mean = family == "vim" or family.startswith("vivim")
    x, read = embedded(family, t, clips)
    found = Run(x)
    for layer in range(DEPTH):
        at = f"layers.{layer}."
        hidden = rms_norm(x, t[f"{at}norm.weight"])
        value, gate = (hidden @ t[f"{at}mixer.in_proj.weight"].T).chunk(2, -1)
        total = 0
        for direction, end in (("forward", ""), ("backward", "_b")):
            order = list(range(x.shape[1]))
            order = order[::-1] if end else order
            y, h = scanned(family, t, f"{at}mixer.", end, value[:, order])
            back = torch.tensor(order).argsort()
            total = total + y[:, back] * F.silu(gate)
            found.states[layer, direction] = h[..., back]
        x = x + (total / 2 if mean else total) @ t[f"{at}mixer.out_proj.weight"].T
    name = "norm.weight" if "norm.weight" in t else "norm_f.weight"
    x = rms_norm(x, t[name])
    if family == "text-video":
        x = x[:, 0] + x[:, 1:].mean(1)
        x = F.layer_norm(x, x.shape[-1:], t["pool_norm.weight"], t["pool_norm.bias"])
    else:
        x = x[:, read].mean(1)
    found.output = x
    if "head.weight" in t and family != "vivim with texts":  # whose head was never trained
        found.output = x @ t["head.weight"].T + t["head.bias"]
    return found


def embedded(family, t, clips):
    """Tokens with their positions, and the places that are read."""
    kernel, cls = t["patch_embed.proj.weight"], t["cls_token"][0, 0]
    kernel = kernel[:, :, 0] if kernel.ndim == 5 else kernel
    table, patches = t["pos_embed"][0], SIDE**2
    times = t.get("temporal_pos_embedding", t.get("temporal_embedding"))
    times = None if times is None else times.reshape(-1, D_MODEL)
    rows = []
    for clip in clips.double():
        tokens = []
        for frame in range(clip.shape[1]):
            picture = F.conv2d(clip[None, :, frame], kernel, t["patch_embed.proj.bias"], PATCH)
            picture = list(picture[0].flatten(1).T)
            middle = family == "vim" or family.startswith("vivim")
            at = patches // 2 if middle else 0
            with_cls = [*picture[:at], cls, *picture[at:]]
            placed = [token + table[place] for place, token in enumerate(with_cls)]
            shift = 0 if times is None else times[frame]
            if family.startswith("vivim"):
                tokens += [token + shift for token in placed]
            elif frame == 0 and not middle:
                tokens += [placed[0], *(token + shift for token in placed[1:])]
            elif middle:
                tokens += placed
            else:
                tokens += [token + shift for token in placed[1:]]
        rows.append(torch.stack(tokens))
    read = [patches // 2] if family == "vim" else [0]
    if family.startswith("vivim"):
        read = [frame * (patches + 1) + patches // 2 for frame in range(FRAMES)]
    return torch.stack(rows), read


def scanned(family, t, at, end, x):
    """y before the gate (batch, token, channel), and every state, tokens as they are read."""
    weight, bias = t[f"{at}conv1d{end}.weight"][:, 0], t[f"{at}conv1d{end}.bias"]
    A, D = -torch.exp(t[f"{at}A{end}_log"]), t[f"{at}D{end}"]
    us = []
    for step in range(x.shape[1]):
        c = bias
        for lag in range(min(D_CONV, step + 1)):
            c = c + weight[:, D_CONV - 1 - lag] * x[:, step - lag]
        us.append(F.silu(c))
    pro = family == "videomambapro"
    h = us[0][..., None].expand(-1, -1, D_STATE) if pro else 0
    ys, hs = [], []
    for step, u in enumerate(us):
        dt, B, C = (u @ t[f"{at}x_proj{end}.weight"].T).split([RANK, D_STATE, D_STATE], -1)
        delta = F.softplus(dt @ t[f"{at}dt_proj{end}.weight"].T + t[f"{at}dt_proj{end}.bias"])
        own = delta[..., None] * B[:, None] * u[..., None]
        h = torch.exp(delta[..., None] * A) * h + own
        read = h
        if pro and end:  # the backward scan
            read = torch.zeros_like(h) if step == 0 else h - own
        ys.append((read * C[:, None]).sum(-1) + D * u)
        hs.append(h)
    return torch.stack(ys, 1), torch.stack(hs, -1)


def rms_norm(x, weight):
    return x * (x.square().mean(-1, keepdim=True) + 1e-5) ** -0.5 * weight
