"""From tensors to models: published layouts, bundled models, folders."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from vmamba_explore import resources
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba

Layout = Literal["opengvlab", "vim"]
BUNDLED = ("motion-nano", "motion-watermark")


class CheckpointError(ValueError):
    """A checkpoint cannot become a model; the message says which tensor and why."""


def fingerprint(model: VideoMamba) -> str:
    """Sixteen hexadecimal digits that tell models with other weights or settings apart."""
    digest = hashlib.sha256(repr(model.config).encode())
    for name, value in model.state_dict().items():
        check = zlib.crc32(value.detach().cpu().contiguous().view(torch.uint8).numpy())
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {check}".encode())
    return digest.hexdigest()[:16]


def load_model(what: str | Path) -> VideoMamba:
    """Load a bundled model, or one from a folder written by `save_model`, ready to look at.

    Args:
        what: "motion-nano" (the bundled model), or a folder with config.json and
            model.safetensors.
    Returns:
        The model in evaluation mode, with `class_names` where they are known.
    Raises:
        CheckpointError: no such model or folder, or files that do not fit together.
    """
    folder = resources.data_dir() / what if str(what) in BUNDLED else Path(what)
    missing = [n for n in ("config.json", "model.safetensors") if not (folder / n).is_file()]
    if missing:
        raise CheckpointError(
            f"load_model: {what!s} is not a bundled model ({', '.join(BUNDLED)}) and {folder} "
            f"lacks {' and '.join(missing)}. Give a folder that holds both"
            + (", or run `make demo-model`." if str(what) in BUNDLED else ".")
        )
    try:
        fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        class_names = fields.pop("class_names", None)
        config = VideoMambaConfig(**fields)
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"load_model: {folder / 'config.json'}: {error}") from None
    if class_names is not None and len(class_names) != config.num_classes:
        raise CheckpointError(
            f"load_model: {folder / 'config.json'} has {len(class_names)} class names for "
            f"{config.num_classes} classes."
        )
    try:
        tensors = load_file(folder / "model.safetensors")
    except SafetensorError as error:
        raise CheckpointError(
            f"load_model: {folder / 'model.safetensors'} is damaged or not a safetensors file "
            f"({error}). Fetch or train it again."
        ) from None
    model = VideoMamba(config)
    _load_strictly(model, tensors, str(folder))
    model.class_names = None if class_names is None else tuple(class_names)
    return model.eval()


def save_model(model: VideoMamba, folder: str | Path) -> None:
    """Write config.json and model.safetensors, which `load_model(folder)` reads."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    fields = model.config.to_dict()
    if model.class_names is not None:
        fields["class_names"] = list(model.class_names)
    (folder / "config.json").write_text(json.dumps(fields, indent=1) + "\n")
    tensors = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(tensors))


def model_from_state_dict(
    state_dict: Mapping[str, Any], img_size: int | None = None, layout: Layout | None = None
) -> VideoMamba:
    """Build the model that published tensors belong to, and load them, all of them.

    Sizes, frames and classes are read from the tensors.

    Args:
        state_dict: Tensors under their published names (OpenGVLab's VideoMamba, Vim), at the top
            or under "model" or "module".
        img_size: Height and width of a frame, pixels; None reads it from `pos_embed`.
        layout: What tensors cannot tell: "opengvlab" (class token in front, directions added)
            or "vim" (class token in the middle, half the sum). Needed for image models only.
    Returns:
        The model in evaluation mode.
    Raises:
        CheckpointError: not one of these families, ambiguous, or tensors missing, left over or
            of another shape.
    Source:
        Li et al. 2024, arXiv:2403.06977; Zhu et al. 2024, arXiv:2401.09417.
    """
    if layout not in (None, *get_args(Layout)):
        raise CheckpointError(
            f"model_from_state_dict: layout must be 'opengvlab' or 'vim', got {layout!r}."
        )
    for wrapper in ("model", "module"):  # as training scripts save it
        if isinstance(state_dict.get(wrapper), Mapping):
            state_dict = state_dict[wrapper]
    config = _read_config(state_dict, img_size, layout)
    model = VideoMamba(config)
    renamed = {ours_name(name): value for name, value in state_dict.items()}
    kernel = renamed["patch_embed.proj.weight"]
    if kernel.ndim == 4:  # an image tokenizer is a tubelet of one frame
        renamed["patch_embed.proj.weight"] = kernel.unsqueeze(2)
    _load_strictly(model, renamed, "model_from_state_dict")
    return model.eval()


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


def _read_config(
    tensors: Mapping[str, Tensor], img_size: int | None, layout: Layout | None
) -> VideoMambaConfig:
    if any(".ssm_forward." in name for name in tensors):
        raise CheckpointError(
            "model_from_state_dict: these tensors bear this package's own names; they need their "
            "config.json: load_model(folder), or VideoMamba(config).load_state_dict(tensors)."
        )
    mixer = "layers.0.mixer"
    needed = [
        "patch_embed.proj.weight",
        "pos_embed",
        "head.weight",
        *(f"{mixer}.{n}" for n in ("A_log", "conv1d.weight", "dt_proj.weight", "in_proj.weight")),
    ]
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise CheckpointError(
            "model_from_state_dict: not a published VideoMamba or Vim state dict: it lacks "
            f"{', '.join(missing)}. Found {_few(tensors)}."
        )
    kernel = tensors["patch_embed.proj.weight"]
    temporal = tensors.get("temporal_pos_embedding")
    if temporal is None and layout is None:
        raise CheckpointError(
            "model_from_state_dict: an image model (no temporal_pos_embedding); its tensors do "
            "not tell whether the class token stands in front (layout='opengvlab') or in the "
            "middle with half the sum of directions (layout='vim'). Pass layout=."
        )
    if temporal is not None and layout == "vim":
        raise CheckpointError(
            "model_from_state_dict: layout='vim' is an image model, but the tensors hold "
            "temporal_pos_embedding, as OpenGVLab's video models do. Drop layout=."
        )
    tubelet_size = kernel.shape[2] if kernel.ndim == 5 else 1
    patch_size = kernel.shape[-1]
    side = math.isqrt(max(tensors["pos_embed"].shape[1] - 1, 1))
    found = side * patch_size
    if side * side + 1 != tensors["pos_embed"].shape[1] or img_size not in (None, found):
        raise CheckpointError(
            f"model_from_state_dict: pos_embed has {tensors['pos_embed'].shape[1]} rows, which "
            f"is a class token and {side} x {side} patches of {patch_size} pixels at best, not "
            f"img_size={img_size}. Give the size the checkpoint was trained at."
        )
    d_inner, d_state = tensors[f"{mixer}.A_log"].shape
    d_model = tensors[f"{mixer}.in_proj.weight"].shape[1]
    layers = {int(m[1]) for name in tensors if (m := re.match(r"layers\.(\d+)\.", name))}
    return VideoMambaConfig(
        num_frames=tubelet_size * (1 if temporal is None else temporal.shape[1]),
        img_size=found,
        patch_size=patch_size,
        tubelet_size=tubelet_size,
        in_channels=kernel.shape[1],
        num_classes=tensors["head.weight"].shape[0],
        d_model=d_model,
        depth=max(layers) + 1,
        d_state=d_state,
        d_conv=tensors[f"{mixer}.conv1d.weight"].shape[-1],
        expand=d_inner // d_model,
        dt_rank=tensors[f"{mixer}.dt_proj.weight"].shape[1],
        backward_order="spatiotemporal" if f"{mixer}.A_b_log" in tensors else None,
        direction_merge="mean" if layout == "vim" else "sum",
        cls_position="middle" if layout == "vim" else "front",
        pos_embed="spatial" if temporal is None else "spatial_temporal",
    )


def _load_strictly(model: VideoMamba, tensors: Mapping[str, Tensor], where: str) -> None:
    wanted: dict[str, Any] = model.state_dict()
    problems = []
    if missing := [name for name in wanted if name not in tensors]:
        problems.append(f"missing {_few(missing)}")
    if extra := [name for name in tensors if name not in wanted]:
        problems.append(f"left over {_few(extra)}")
    if misfits := [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]:
        problems.append(_few(misfits))
    if problems:
        raise CheckpointError(f"{where}: the tensors do not fit: {'; '.join(problems)}.")
    model.load_state_dict(tensors, strict=True)


def _few(names: Iterable[str], most: int = 4) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
