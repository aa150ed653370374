"""Published checkpoints: their parameter names, and what their tensors say about the model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from vmamba_explore.errors import few, shown
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.families import Layout, refuse_others
from vmamba_explore.model.tensor_files import CheckpointError
from vmamba_explore.tokens import ClsPosition

WRAPPERS = ("model", "module", "state_dict", "model_state")  # where training scripts put tensors
PREFIXES = ("module.", "model.", "_orig_mod.")  # what wrappers of modules put before every name
AXES = {  # of what a configuration is read from
    "patch_embed.proj.weight": (4, 5),
    "pos_embed": (3,),
    "layers.0.mixer.A_log": (2,),
    "layers.0.mixer.conv1d.weight": (3,),
    "layers.0.mixer.dt_proj.weight": (2,),
    "layers.0.mixer.in_proj.weight": (2,),
}
OPTIONAL_AXES = {"temporal_pos_embedding": (3,), "head.weight": (2,), "vision_proj.weight": (2,)}
CLS_POSITION: dict[str, ClsPosition] = {"vim": "middle", "vivim": "every_frame"}


def unwrapped(found: Mapping[Any, Any], where: str, limit: int | None = None) -> dict[str, Tensor]:
    """Take the tensors out from under a training script's key and a wrapper's prefix.

    Args:
        found: What a file holds.
        where: Named in an error.
        limit: Most bytes of all tensors, which may share or repeat their memory; None: any.
    Raises:
        CheckpointError: no tensor by name in it, one without plain values, or all are over the
            limit.
    """
    for _ in range(8):
        inner = [found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)]
        if not inner:
            break
        found = inner[0]
    tensors = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{where}: no tensors by name at the top or under {', '.join(WRAPPERS)}; found "
            f"{few(map(repr, found)) or 'nothing'}."
        )
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    if odd := tuple(f"{name} is {kind}" for name, v in tensors.items() if (kind := _odd_kind(v))):
        raise CheckpointError(f"{where}: {few(odd)}; expected plain tensors.", odd)
    total = sum(value.numel() * value.element_size() for value in tensors.values())
    if limit is not None and total > limit:
        largest = max(tensors, key=lambda name: tensors[name].numel())
        raise CheckpointError(
            f"{where}: the tensors would take {total:,} bytes, {few([largest])} with shape "
            f"{tuple(tensors[largest].shape)} the most of them; the limit is {limit:,}, since they "
            "repeat or share what the file holds. If that is right, pass "
            f"max_bytes={total} to load_model."
        )
    return tensors


def _odd_kind(value: Tensor) -> str | None:
    """What makes a tensor hold no plain values, None where it does."""
    if value.is_meta:
        return "on the meta device, without values"
    if value.is_nested:
        return "a nested tensor"
    if value.layout is not torch.strided:
        return f"sparse ({value.layout})"
    return f"quantized ({value.dtype})" if value.is_quantized else None


def published_name(name: str) -> str:
    """Turn one of our parameter names into the published one; `ours_name` turns it back."""
    head, mark, tail = name.partition(".mixer.ssm_")
    if not mark:
        return name
    direction, _, parameter = tail.partition(".")
    if direction == "backward":
        part, dot, rest = parameter.partition(".")
        parameter = "A_b_log" if part == "A_log" else f"{part}_b{dot}{rest}"
    return f"{head}.mixer.{parameter}"


def ours_name(name: str) -> str:
    """Turn a published parameter name into ours; `published_name` turns it back."""
    match = re.fullmatch(r"(layers\.\d+\.mixer)\.(\w+)(\.\w+)?", name)
    if not match or match[2] in ("in_proj", "out_proj"):
        return name
    head, part, rest = match[1], match[2], match[3] or ""
    if part == "A_b_log":
        return f"{head}.ssm_backward.A_log"
    if part.endswith("_b"):
        return f"{head}.ssm_backward.{part[:-2]}{rest}"
    return f"{head}.ssm_forward.{part}{rest}"


def published_config(
    tensors: Mapping[str, Tensor], layout: Layout | None, where: str
) -> VideoMambaConfig:
    """Read family, sizes, frames, classes and resolution from published tensors.

    Args:
        tensors: By the names of `as_classifier`.
        layout: What tensors cannot tell: of an image model the place of its class token, of any
            whether it is a VideoMambaPro.
        where: Named in errors.
    Raises:
        CheckpointError: not one of these families, ambiguous, or sizes that cannot be.
    """
    _check_family(tensors, layout, where)
    head, proj = tensors.get("head.weight"), tensors.get("vision_proj.weight")
    if head is not None and not len(head):
        raise CheckpointError(
            f"{where}: sizes read from the tensors: VideoMambaConfig: num_classes must be an "
            "integer of at least 1 where there is a head.weight, got 0."
        )
    kernel, temporal = tensors["patch_embed.proj.weight"], tensors.get("temporal_pos_embedding")
    tubelet_size = kernel.shape[2] if kernel.ndim == 5 else 1
    patch_size, rows = kernel.shape[-1], tensors["pos_embed"].shape[1]
    side = math.isqrt(max(rows - 1, 1))
    if side * side + 1 != rows:
        raise CheckpointError(
            f"{where}: pos_embed has {rows} rows, expected one for the class token and a square "
            f"number of them for the patches (e.g. {side * side + 1}); frames that are not square "
            "are not supported."
        )
    mixer = "layers.0.mixer"
    d_inner, d_state = tensors[f"{mixer}.A_log"].shape
    d_model = tensors[f"{mixer}.in_proj.weight"].shape[1]
    try:
        return VideoMambaConfig(
            num_frames=tubelet_size * (1 if temporal is None else temporal.shape[1]),
            img_size=side * patch_size,
            patch_size=patch_size,
            tubelet_size=tubelet_size,
            in_channels=kernel.shape[1],
            num_classes=0 if head is None else len(head),
            d_model=d_model,
            depth=len(_layers(tensors)),
            d_state=d_state,
            d_conv=tensors[f"{mixer}.conv1d.weight"].shape[-1],
            expand=d_inner // max(d_model, 1),
            dt_rank=tensors[f"{mixer}.dt_proj.weight"].shape[1],
            backward_order="spatiotemporal" if f"{mixer}.A_b_log" in tensors else None,
            direction_merge="mean" if layout in ("vim", "vivim") else "sum",
            cls_position=CLS_POSITION.get(layout or "", "front"),
            pos_embed="spatial" if temporal is None else "spatial_temporal",
            scan_variant="videomambapro" if layout == "videomambapro" else "mamba",
            pool_norm="pool_norm.weight" in tensors,
            text_dim=None if proj is None else len(proj),
        )
    except ValueError as error:
        raise CheckpointError(f"{where}: sizes read from the tensors: {error}") from None


def _check_family(tensors: Mapping[str, Tensor], layout: Layout | None, where: str) -> None:
    if layout not in (None, *get_args(Layout)):
        raise CheckpointError(
            f"{where}: layout must be one of {', '.join(map(repr, get_args(Layout)))}, got "
            f"{shown(layout)}."
        )
    if any(".ssm_forward." in name for name in tensors):
        raise CheckpointError(
            f"{where}: these tensors bear this package's own names, which do not tell the whole "
            "configuration; give the folder that holds them and their config.json."
        )
    refuse_others(tensors, where)
    if missing := [name for name in AXES if name not in tensors]:
        raise CheckpointError(
            f"{where}: not a published VideoMamba or Vim: it lacks {', '.join(missing)}. Found "
            f"{few(tensors)}.",
            tuple(f"missing {name}" for name in missing),
        )
    for name, axes in (AXES | OPTIONAL_AXES).items():
        if name in tensors and tensors[name].ndim not in axes:
            raise CheckpointError(
                f"{where}: {name} has {tensors[name].ndim} axes, shape "
                f"{tuple(tensors[name].shape)}, expected {' or '.join(map(str, axes))}."
            )
    layers = _layers(tensors)
    if gaps := set(range(max(layers))) - layers:
        raise CheckpointError(
            f"{where}: layers 0 to {max(layers)}, but nothing of {few(map(str, sorted(gaps)))}."
        )
    video = "temporal_pos_embedding" in tensors
    if not video and layout is None:
        raise CheckpointError(
            f"{where}: an image model (no temporal_pos_embedding); its tensors do not tell "
            "whether the class token stands in front (layout='opengvlab', or 'videomambapro') or "
            "in the middle with half the sum of directions (layout='vim'). Pass layout=."
        )
    if video and layout == "vim":
        raise CheckpointError(
            f"{where}: layout='vim' is an image model, but the tensors hold "
            "temporal_pos_embedding, as OpenGVLab's video models do. Drop layout=."
        )


def _layers(tensors: Mapping[str, Tensor]) -> set[int]:
    return {int(m[1]) for name in tensors if (m := re.match(r"layers\.(\d{1,4})\.", name))}
