"""Load a model with its weights by name, from a file, a folder or the Hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from vmamba_explore import resources
from vmamba_explore.errors import one_line, shown
from vmamba_explore.model.bundled import BUNDLED, ONLY_IN_SOURCES
from vmamba_explore.model.families import (
    Layout,
    as_classifier,
    refuse_unsaid_pro,
    with_vivim,
    words_in,
)
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
    ours_name,
    published_config,
    published_name,
    unwrapped,
)
from vmamba_explore.model.resize import resized
from vmamba_explore.model.tensor_files import (
    CheckpointError,
    limit_of,
    read_tensors,
    saved_metadata,
)
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.model.zoo import PublishedModel, nearest_names, published_as

__all__ = [
    "CheckpointError",
    "Layout",
    "fingerprint",
    "load_model",
    "model_from_state_dict",
    "ours_name",
    "published_name",
    "save_model",
]

logger = logging.getLogger(__name__)


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
        what: A bundled model, one of `BUNDLED` ("motion-nano", …); a folder with config.json and
            model.safetensors, as `model.save_pretrained(folder)` writes it; a checkpoint file of
            OpenGVLab's VideoMamba, VideoMambaPro, Vim or ViViM, safetensors or what torch.save
            wrote, also one without a head (masked pre-training, text–video models), whose
            encoder is loaded; a published model by name, one of `published_models()`
            ("videomamba-ti-k400-f16", …); or a place on the Hugging Face Hub, "owner/repo" for
            such a folder and "owner/repo:file.pth" for such a file. What is on the Hub is
            downloaded once. A local folder or file takes precedence over it. Of a training run:
            its model/ or, before its end, its checkpoint.pt.
        img_size: Height and width of a frame, pixels; the position table is interpolated where
            the checkpoint has another size.
        num_frames: Frames of a clip; likewise.
        layout: What tensors cannot tell: of an image model "opengvlab" (class token in front,
            directions added) or "vim" (class token in the middle, half the sum); of any
            "videomambapro", whose tensors are those of "opengvlab" and whose recurrence is
            another. Without it they are read as OpenGVLab's, unless a name of the file, its
            folder or repository, or what lies beside the tensors, says "VideoMambaPro": then it
            must be given. "vivim" is never needed.
        max_bytes: Most memory that the weights, or the tokens of one clip, may take where that is
            more than the file has, bytes; None: 128 MiB. It keeps a small file from describing
            tensors or clips that no memory holds.
    Returns:
        The model in evaluation mode. `class_names` are the folder's, or those of Kinetics-400 or
        Something-Something V2 for a published video model with so many classes; to change them:
        `model.class_names = (...)`.
    Raises:
        CheckpointError: there is no such model, it is unreadable, of another family or may be a
            VideoMambaPro, or tensors are missing, left over or of another shape;
            `error.problems` lists all of these.
        OSError: a file cannot be read now.
    """
    path, published = located(what)
    if published is not None and layout is None:
        layout = cast(Layout | None, published.layout)
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
        beside = [str(what), *saved_metadata(path).values(), *words_in(found)]
        refuse_unsaid_pro(layout, beside, str(path.absolute()), where)
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
    if published is not None and model.config.num_frames != published.frames:
        logger.warning(
            "load_model: %s is published as a model of %d frames, and the file holds one of %d.",
            published.name,
            published.frames,
            model.config.num_frames,
        )
    return resized(model, num_frames=num_frames, img_size=img_size).eval()


def model_from_state_dict(
    state_dict: Mapping[str, Any], layout: Layout | None = None
) -> VideoMamba:
    """Build the model that published tensors belong to and load all of them into it.

    Args:
        state_dict: Tensors under their published names, at the top or under "model" or "module".
        layout: As for `load_model`; here nothing but what lies beside the tensors says that they
            are a VideoMambaPro's.
    Returns:
        The model in evaluation mode.
    Raises:
        CheckpointError: as `load_model`.
    Source:
        Li et al. 2024, arXiv:2403.06977; Zhu et al. 2024, arXiv:2401.09417; Lu et al. 2024,
        arXiv:2406.19006; Chen et al. 2024, arXiv:2403.09626.
    """
    where = "model_from_state_dict"
    refuse_unsaid_pro(layout, words_in(state_dict), "", where)
    return _published_model(state_dict, layout, where).eval()


def located(what: str | Path) -> tuple[Path, PublishedModel | None]:
    """Return the path of the folder or file, downloaded if need be, and what is known of it.

    Args:
        what: As for `load_model`.
    Returns:
        The path, and the row of a published model.
    Raises:
        CheckpointError: there is no such model.
    """
    if not str(what).strip():
        raise CheckpointError("load_model: got an empty name.")
    if str(what) in ONLY_IN_SOURCES and not os.path.exists(what):
        raise CheckpointError(
            f"load_model: {what} is left out of the wheel to keep it small. Give the path of its "
            f"folder, data/{what} in a checkout or in the source distribution."
        )
    if str(what) in BUNDLED:
        return resources.data_dir() / what, None
    name = os.path.expanduser(what)
    if os.path.exists(name):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise CheckpointError(
                f"load_model: the name {name!a} is not UTF-8, which the readers of tensors need. "
                "Rename it."
            ) from None
        return Path(name), None
    if published := published_as(str(what)):
        return from_hub(published.repo, published.file), published
    if reference := hub_reference(str(what)) if isinstance(what, str) else None:
        return from_hub(*reference), None
    if near := nearest_names(Path(what).name):
        raise CheckpointError(
            f"load_model: there is no file, folder or model {one_line(str(what))}. Did you mean "
            f"{' or '.join(near)}? `vmamba-explore models` lists all names."
        )
    raise CheckpointError(
        f"load_model: {one_line(str(what))} is not a file or folder, a bundled model "
        f"({', '.join(BUNDLED)}), a published one (`vmamba-explore models` lists them) or a Hub "
        "reference such as owner/repo or owner/repo:file.pth."
    )


def _published_model(
    found: Mapping[str, Any], layout: Layout | None, where: str, limit: int | None = None
) -> VideoMamba:
    published = unwrapped(found, where, limit)
    layout = with_vivim(layout, published, where)
    tensors = as_classifier(published, where)
    config = published_config(tensors, layout, where)
    renamed = {ours_name(name): value for name, value in tensors.items()}
    kernel = renamed["patch_embed.proj.weight"]
    if kernel.ndim == 4:  # an image tokenizer is a tubelet of one frame
        renamed["patch_embed.proj.weight"] = kernel.unsqueeze(2)
    model: VideoMamba = build(VideoMamba, config, renamed, where, published_name, limit)
    if config.pos_embed == "spatial_temporal" and config.num_classes:
        model.class_names = names_of_published(config.num_classes)
    return model
