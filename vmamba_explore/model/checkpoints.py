"""Load a model with its weights by name, from a file, a folder or the Hub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmamba_explore import resources
from vmamba_explore.errors import one_line, shown
from vmamba_explore.model.hub import from_hub, hub_reference
from vmamba_explore.model.labels import names_of_published
from vmamba_explore.model.own_format import (
    FILES,
    build,
    configured,
    fingerprint,
    load_folder,
    save_model,
)
from vmamba_explore.model.published import (
    Layout,
    ours_name,
    published_config,
    published_name,
    unwrapped,
)
from vmamba_explore.model.resize import resized
from vmamba_explore.model.tensor_files import CheckpointError, limit_of, read_tensors
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

BUNDLED = (
    "motion-nano",
    "motion-watermark",
    "recall-nano",
    "recall-nano-forward",
    "recall-nano-class-token",
)


def load_model(
    what: str | Path,
    *,
    img_size: int | None = None,
    num_frames: int | None = None,
    layout: Layout | None = None,
    max_bytes: int | None = None,
) -> VideoMamba:
    """Load a model with its weights.

    Args:
        what: "motion-nano" or "motion-watermark" (bundled); a folder with config.json and
            model.safetensors, as `model.save_pretrained(folder)` writes it; a checkpoint file of
            OpenGVLab's VideoMamba or of Vim, safetensors or what torch.save wrote; or a place on
            the Hugging Face Hub, "owner/repo" for such a folder and "owner/repo:file.pth" for
            such a file, which is downloaded once. A local folder takes precedence over a Hub
            reference. Of a training run: its model/ or, before its end, its checkpoint.pt.
        img_size: Height and width of a frame, pixels; the position table is interpolated where
            the checkpoint has another size.
        num_frames: Frames of a clip; likewise.
        layout: What the tensors of an image model cannot tell: "opengvlab" (class token in front,
            directions added) or "vim" (class token in the middle, half the sum).
        max_bytes: Most memory that the weights, or the tokens of one clip, may take where that is
            more than the file has, bytes; None: 128 MiB. It keeps a small file from describing
            tensors or clips that no memory holds.
    Returns:
        The model in evaluation mode. `class_names` are the folder's, or those of Kinetics-400 or
        Something-Something V2 for a published video model with so many classes; to change them:
        `model.class_names = (...)`.
    Raises:
        CheckpointError: there is no such model, it is unreadable or of another family, or tensors
            are missing, left over or of another shape; `error.problems` lists all of these.
        OSError: a file cannot be read now.
    """
    path = _find(what)
    if path.is_file() and path.name == FILES[1] and (path.parent / FILES[0]).is_file():
        path = path.parent  # the weights of a folder
    found = read_tensors(path) if path.is_file() else None
    ours = found is None or (  # as `fit` writes them
        {"config", "recipe", "step"} <= found.keys() and isinstance(found["config"], dict)
    )
    where, limit = (
        f"load_model: {one_line(path)}",
        0 if found is None else limit_of(path, max_bytes),
    )
    if found is not None and not ours:
        model = _published_model(found, layout, where, limit)
    elif layout is not None:
        raise CheckpointError(
            f"{where}: layout={shown(layout)} is for a published file; this one has its own "
            "configuration."
        )
    elif found is not None:
        fields = found["config"] | {"class_names": found.get("class_names")}
        config, class_names = configured(fields, path)
        tensors = unwrapped(found, where, limit)
        model = build(VideoMamba, config, tensors, where, limit=limit)
        model.class_names = class_names
    else:
        model = load_folder(VideoMamba, path, max_bytes)
    return resized(model, num_frames=num_frames, img_size=img_size).eval()


def model_from_state_dict(
    state_dict: Mapping[str, Any], layout: Layout | None = None
) -> VideoMamba:
    """Build the model that published tensors belong to and load all of them into it.

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


def _find(what: str | Path) -> Path:
    """Path of the folder or file, downloaded if need be."""
    if not str(what).strip():
        raise CheckpointError("load_model: got an empty name.")
    if str(what) in BUNDLED:
        return resources.data_dir() / what
    name = os.path.expanduser(what)
    if os.path.exists(name):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise CheckpointError(
                f"load_model: the name {name!a} is not UTF-8, which the readers of tensors need. "
                "Rename it."
            ) from None
        return Path(name)
    if reference := hub_reference(str(what)) if isinstance(what, str) else None:
        return from_hub(*reference)
    raise CheckpointError(
        f"load_model: {one_line(str(what))} is not a file or folder, a bundled model "
        f"({', '.join(BUNDLED)}) or a Hub reference such as owner/repo or owner/repo:file.pth."
    )


def _published_model(
    found: Mapping[str, Any], layout: Layout | None, where: str, limit: int | None = None
) -> VideoMamba:
    tensors = unwrapped(found, where, limit)
    config = published_config(tensors, layout, where)
    renamed = {ours_name(name): value for name, value in tensors.items()}
    kernel = renamed["patch_embed.proj.weight"]
    if kernel.ndim == 4:  # an image tokenizer is a tubelet of one frame
        renamed["patch_embed.proj.weight"] = kernel.unsqueeze(2)
    model: VideoMamba = build(VideoMamba, config, renamed, where, published_name, limit)
    if config.pos_embed == "spatial_temporal":
        model.class_names = names_of_published(config.num_classes)
    return model
