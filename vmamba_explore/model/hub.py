"""Models on the Hugging Face Hub: upload, model card, download."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from tqdm.auto import tqdm

from vmamba_explore.errors import first_line, one_line, shown
from vmamba_explore.files import atomic_write
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.own_format import FILES, load_folder, save_model
from vmamba_explore.model.tensor_files import CheckpointError

_REFERENCE = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?::(\S+))?")
_DOWNLOAD = ("revision", "cache_dir", "force_download", "local_files_only", "token")
_ENDINGS = (".pth", ".pt", ".bin", ".safetensors")
ANNOUNCED = 1_000_000  # bytes of a file whose download is worth a line
_CARD_HEADER = """---
library_name: vmamba-explore
pipeline_tag: video-classification
tags:
- video-classification
- videomamba
- state-space-model
- pytorch_model_hub_mixin
---
"""
_CARD_BODY = """
# VideoMamba, {parameters} parameters, {kind}

A video state-space model that reads {frames} frames of {size} x {size} pixels
(Park et al. 2024, arXiv:2407.08476, or a sister model: see `pos_embed` and `cls_position`).

```python
from vmamba_explore import load_clip, load_model

model = load_model("{repo}")
clip = load_clip("clip.mp4", num_frames={frames}, img_size={size})
{call}
```

| | |
|---|---|
| parameters | {parameters} |
| multiply-accumulates a clip | {total} (as the paper counts: {paper}) |
| states computed a clip | {states} |
| input | (batch, {channels}, {frames}, {size}, {size}), normalized as ImageNet's |
| output | {output} |

## Classes

{class_names}

## Configuration

| field | value |
|---|---|
{fields}

## Training

{training}

## License

The publisher of this model names it: add `license:` to the header of this file.
"""


class OnTheHub(PyTorchModelHubMixin):
    """Base class of `VideoMamba`: save to and load from folders and the Hub.

    `save_pretrained(folder)` and `push_to_hub("owner/name")` write config.json, model.safetensors
    and a model card; `load_model` and `VideoMamba.from_pretrained` read either place. The option
    `model_card_kwargs={"training": "..."}` states in the card how the model was trained.
    """

    config: VideoMambaConfig  # set by the model

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model with its card; the options are those of huggingface_hub."""
        options["model_card_kwargs"] = {"repo_id": repo_id} | (
            options.get("model_card_kwargs") or {}
        )
        return super().push_to_hub(repo_id, **options)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Fill in the model card: sizes, costs, classes, how to load it."""
        model: Any = self  # a VideoMamba, which is defined above this module
        return ModelCard(_card_text(model.config, model.class_names, *args, **kwargs))

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> str | None:
        """Write config.json, model.safetensors and, where there is none, a model card to a folder.

        The folder holds the old model or the new one, also if this is interrupted.

        Args:
            save_directory: The folder, created if it does not exist; its other files stay.
            repo_id: Place on the Hub, "owner/name"; None takes the folder's name.
            push_to_hub: Upload the model, too.
            model_card_kwargs: "training" states in the card how the model was trained.
            options: Of `push_to_hub`.
        Returns:
            The address of the upload, where there is one.
        """
        folder, about = Path(save_directory), model_card_kwargs or {}
        save_model(self, folder)  # huggingface_hub would remove config.json first
        card = folder / "README.md"
        if not card.exists():
            atomic_write(card, self.generate_model_card(**about).content)
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or folder.name, model_card_kwargs=about, **options)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        max_bytes: int | None = None,
        **options: Any,
    ) -> Any:
        """Load a model from a folder or from the Hub, "owner/name".

        Args:
            pretrained_model_name_or_path: The folder or the place.
            max_bytes: As for `load_model`.
            options: Of huggingface_hub's download: revision, cache_dir, force_download,
                local_files_only, token.
        Raises:
            CheckpointError: as `load_model`.
        """
        unknown = sorted(options.keys() - set(_DOWNLOAD))
        if unknown:
            raise TypeError(
                f"from_pretrained: got {', '.join(unknown)}, expected options among max_bytes, "
                f"{', '.join(_DOWNLOAD)}."
            )
        given = {name: value for name, value in options.items() if value is not None}
        folder = Path(pretrained_model_name_or_path)
        if not os.path.isdir(folder):
            folder = from_hub(str(pretrained_model_name_or_path), None, **given)
        return load_folder(cls, folder, max_bytes)


def _card_text(
    config: VideoMambaConfig,
    class_names: Sequence[str] | None,
    *,
    repo_id: str | None = None,
    training: str | None = None,
) -> str:
    """A model's card, Markdown with the Hub's header; `training` says how it was trained."""
    macs = config.macs()
    shown = "Unknown." if class_names is None else ", ".join(class_names[:20])
    if class_names is not None and len(class_names) > 20:
        shown += f", and {len(class_names) - 20} more: `class_names` in config.json."
    return _CARD_HEADER + _CARD_BODY.format(
        parameters=f"{config.num_parameters() / 1e6:.2f} M",
        total=f"{macs.total / 1e9:.2f} G",
        paper=f"{macs.paper / 1e9:.2f} G",
        states=f"{macs.state_updates / 1e6:.1f} M",
        kind=f"{config.num_classes} classes" if config.num_classes else "encoder",
        call="model.predict(clip)" if config.num_classes else "model.embed(clip.tensor()[None])",
        output=(
            f"logits of {config.num_classes} classes"
            if config.num_classes
            else f"{config.d_model} features"
        ),
        channels=config.in_channels,
        frames=config.num_frames,
        size=config.img_size,
        repo=repo_id or "path of this folder",
        class_names=shown,
        fields="\n".join(f"| {name} | {value} |" for name, value in config.to_dict().items()),
        training=training or "Not stated.",
    )


def hub_reference(what: str) -> tuple[str, str | None] | None:
    """Split "owner/repo" or "owner/repo:file"; None for anything else, such as a missing file."""
    match = _REFERENCE.fullmatch(what)
    if not match or (match[2] is None and what.endswith(_ENDINGS)):
        return None
    return match[1], match[2]


def from_hub(repo: str, file: str | None, **options: Any) -> Path:
    """Download the files of a reference, unless they are in the cache.

    Args:
        repo: "owner/repo".
        file: One of its files; None for what `push_to_hub` wrote.
        options: As for huggingface_hub's `hf_hub_download`.
    Returns:
        The file, or the folder with config.json and model.safetensors.
    Raises:
        CheckpointError: missing, not permitted or unreachable, or not a place in a repository; the
            message says what to do.
    """
    for what, place in {"file": file, "revision": options.get("revision")}.items():
        if place is not None and not _is_inside(place):
            raise CheckpointError(
                f"load_model: {shown(place)} cannot be a {what} of {one_line(repo, 100)} on the "
                "Hub; expected a path inside the repository, at most 300 printable letters without "
                "'..'."
            )
    if file is not None:
        return _download(repo, file, options)
    return [_download(repo, name, options) for name in FILES][-1].parent


def _is_inside(path: str) -> bool:
    parts = path.split("/")
    return (
        len(path) <= 300
        and path.isprintable()
        and "\\" not in path
        and not {"", ".", ".."} & set(parts)
    )


def _download(repo: str, file: str, options: dict[str, Any]) -> Path:
    name = one_line(repo, 100)
    page = f"https://huggingface.co/{name}"
    folder = file in FILES  # of a model that save_pretrained wrote
    elsewhere = f"{' and '.join(FILES)} from {page}" if folder else f"{page}/resolve/main/{file}"
    elsewhere += f" and give load_model the path of the {'folder' if folder else 'file'}"
    try:
        plan = hf_hub_download(repo, file, dry_run=True, **options)
        if plan.will_download and (size := plan.file_size or 0) >= ANNOUNCED:
            tqdm.write(
                f"load_model: downloads {file} of {name} once, {size / 1e6:,.0f} MB, and keeps it "
                f"as {one_line(plan.local_path, 500)}; HF_HOME names another place.",
                file=sys.stderr,
            )
        return Path(hf_hub_download(repo, file, **options))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "the Hub cannot be reached from here"
        reason = f"is not in the cache and {why}. Download, where there is a network, {elsewhere}"
    except GatedRepoError:
        reason = f"needs a permission. Ask for it at {page} and run `hf auth login`"
    except RepositoryNotFoundError:
        reason = (
            "does not exist: the Hub shows no such repository, and there is no such file or folder "
            "here. Check the spelling; a private one needs `hf auth login`"
        )
    except EntryNotFoundError:
        reason = f"does not exist. {page}/tree/main lists the repository's files"
        if folder:
            reason += f"; name one of them: load_model('{name}:FILE')"
    except HFValidationError as error:
        reason = f"is not a valid reference ({first_line(error)})"
    except (HTTPError, OSError) as error:
        reason = (
            f"did not arrive ({first_line(error)}). Try again to resume the download; or "
            f"download {elsewhere}"
        )
    raise CheckpointError(f"load_model: {file} of {name} {reason}.")
