"""From a name, a file, a folder or the Hub to a model with its weights."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vmamba_explore import resources
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.hub import FILES, from_hub, hub_reference, save_model
from vmamba_explore.model.labels import names_of_published
from vmamba_explore.model.published import (
    Layout,
    few,
    ours_name,
    published_config,
    published_name,
    unwrapped,
)
from vmamba_explore.model.resize import resized
from vmamba_explore.model.tensor_files import CheckpointError, read_tensors
from vmamba_explore.model.videomamba import VideoMamba

__all__ = [
    "BUNDLED",
    "CheckpointError",
    "Layout",
    "fingerprint",
    "load_model",
    "model_from_state_dict",
    "ours_name",
    "published_name",
    "save_model",
]

BUNDLED = ("motion-nano", "motion-watermark")


def load_model(
    what: str | Path,
    *,
    img_size: int | None = None,
    num_frames: int | None = None,
    layout: Layout | None = None,
) -> VideoMamba:
    """Load a model with its weights, ready to look at.

    Args:
        what: "motion-nano" or "motion-watermark" (bundled); a folder with config.json and
            model.safetensors, as `model.save_pretrained(folder)` writes it; a checkpoint file of
            OpenGVLab's VideoMamba or of Vim, safetensors or what torch.save wrote; or a place on
            the Hugging Face Hub, "owner/repo" for such a folder and "owner/repo:file.pth" for
            such a file, which is downloaded once. A folder here goes before a Hub reference. Of a
            training, model/ or, before its end, checkpoint.pt.
        img_size: Height and width of a frame, pixels; other than the checkpoint's, its position
            table is stretched.
        num_frames: Frames of a clip; likewise.
        layout: What the tensors of an image model cannot tell: "opengvlab" (class token in front,
            directions added) or "vim" (class token in the middle, half the sum).
    Returns:
        The model in evaluation mode. `class_names` are the folder's, or those of Kinetics-400 or
        Something-Something V2 for a published video model with so many classes; to change them:
        `model.class_names = (...)`.
    Raises:
        CheckpointError: nothing there, unreadable, of another family, or tensors missing, left
            over or of another shape; `error.problems` lists every one of them.
    """
    path = _find(what)
    if path.is_file() and path.name == FILES[1] and (path.parent / FILES[0]).is_file():
        path = path.parent  # the weights of a folder
    found = read_tensors(path) if path.is_file() else None
    ours = found is None or (  # as `fit` writes them
        {"config", "recipe", "step"} <= found.keys() and isinstance(found["config"], dict)
    )
    if found is not None and not ours:
        model = _published_model(found, layout, f"load_model: {path}")
    elif layout is not None:
        raise CheckpointError(
            f"load_model: layout={layout!r} is for a published file; {path} has its configuration."
        )
    elif found is not None:
        model = _configured(found["config"] | {"class_names": found.get("class_names")}, path)
        _load_strictly(model, unwrapped(found, f"load_model: {path}"), f"load_model: {path}", str)
    else:
        model = _load_folder(path)
    return resized(model, num_frames=num_frames, img_size=img_size).eval()


def model_from_state_dict(
    state_dict: Mapping[str, Any], layout: Layout | None = None
) -> VideoMamba:
    """Build the model that published tensors belong to, and load them, all of them.

    Args:
        state_dict: Tensors under their published names, at the top or under "model" or "module".
        layout: As for `load_model`.
    Returns:
        The model in evaluation mode.
    Raises:
        CheckpointError: as `load_model`.
    Source:
        Li et al. 2024, arXiv:2403.06977; Zhu et al. 2024, arXiv:2401.09417.
    """
    return _published_model(state_dict, layout, "model_from_state_dict").eval()


def fingerprint(model: VideoMamba) -> str:
    """Sixteen hexadecimal digits that tell models with other weights or settings apart."""
    digest = hashlib.sha256(repr(model.config).encode())
    for name, value in model.state_dict().items():
        check = zlib.crc32(value.detach().cpu().contiguous().view(torch.uint8).numpy())
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {check}".encode())
    return digest.hexdigest()[:16]


def _find(what: str | Path) -> Path:
    """Where the folder or file is, after a download where it needs one."""
    if not str(what).strip():
        raise CheckpointError("load_model: got an empty name.")
    if str(what) in BUNDLED:
        return resources.data_dir() / what
    path = Path(what).expanduser()
    if path.exists():
        return path
    if reference := hub_reference(str(what)) if isinstance(what, str) else None:
        return from_hub(*reference)
    raise CheckpointError(
        f"load_model: {what!s} is no file or folder, no bundled model ({', '.join(BUNDLED)}) and "
        "no Hub reference such as owner/repo or owner/repo:file.pth."
    )


def _load_folder(folder: Path) -> VideoMamba:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        for better in (folder / "model", folder / "checkpoint.pt"):
            if better.exists():
                raise CheckpointError(
                    f"load_model: {folder} is the folder of a training; give {better}."
                )
        raise CheckpointError(
            f"load_model: {folder} lacks {' and '.join(missing)}. Give a folder that holds both, "
            "or a checkpoint file."
        )
    text = folder / FILES[0]
    try:
        fields = json.loads(text.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"load_model: {text}: {error}") from None
    model = _configured(fields, text)
    _load_strictly(model, read_tensors(folder / FILES[1]), f"load_model: {folder}", str)
    return model


def _configured(fields: Any, path: Path) -> VideoMamba:
    """Make the model, without its weights, that a configuration describes."""
    try:
        if not isinstance(fields, dict):
            raise ValueError(f"expected the fields of a configuration, got {fields!r:.200}.")
        fields = dict(fields)
        if other := fields.get("model_type"):
            raise ValueError(f"it describes a {other!r}, not a VideoMamba of this package.")
        class_names = fields.pop("class_names", None)
        if class_names is not None and not _are_names(class_names):
            raise ValueError(f"class_names is {class_names!r:.200}, expected a list of names.")
        config = VideoMambaConfig(**fields)
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"load_model: {path}: {error}") from None
    if class_names is not None and len(class_names) != config.num_classes:
        raise CheckpointError(
            f"load_model: {path} has {len(class_names)} class names for "
            f"{config.num_classes} classes."
        )
    model = VideoMamba(config)
    model.class_names = None if class_names is None else tuple(class_names)
    return model


def _are_names(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(name, str) for name in found)


def _published_model(found: Mapping[str, Any], layout: Layout | None, where: str) -> VideoMamba:
    tensors = unwrapped(found, where)
    config = published_config(tensors, layout, where)
    model = VideoMamba(config)
    renamed = {ours_name(name): value for name, value in tensors.items()}
    kernel = renamed["patch_embed.proj.weight"]
    if kernel.ndim == 4:  # an image tokenizer is a tubelet of one frame
        renamed["patch_embed.proj.weight"] = kernel.unsqueeze(2)
    _load_strictly(model, renamed, where, published_name)
    if config.pos_embed == "spatial_temporal":
        model.class_names = names_of_published(config.num_classes)
    return model


def _load_strictly(
    model: VideoMamba,
    tensors: Mapping[str, Tensor],
    where: str,
    name_in_file: Callable[[str], str],
) -> None:
    """Load every tensor into its place, or say of every one that has none what is wrong."""
    wanted: dict[str, Tensor] = model.state_dict()
    problems = [f"missing {name_in_file(name)}" for name in wanted if name not in tensors]
    problems += [f"left over {name_in_file(name)}" for name in tensors if name not in wanted]
    for name in (name for name in wanted if name in tensors):
        value, shape = tensors[name], tuple(wanted[name].shape)
        if tuple(value.shape) != shape:
            problem = f"{tuple(value.shape)}, expected {shape}"
        elif not value.is_floating_point():
            problem = f"{value.dtype}, expected floating-point numbers"
        elif bad := int((~value.isfinite()).sum()):
            problem = f"not finite in {bad} of {value.numel()} numbers"
        else:
            continue
        problems.append(f"{name_in_file(name)} is {problem}")
    if problems:
        count = "1 tensor does" if len(problems) == 1 else f"{len(problems)} tensors do"
        raise CheckpointError(f"{where}: {count} not fit: {few(problems)}.", tuple(problems))
    model.load_state_dict(dict(tensors), strict=True)
