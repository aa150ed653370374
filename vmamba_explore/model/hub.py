"""Models in folders and on the Hugging Face Hub: what is written, and what is fetched."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from safetensors.torch import save

from vmamba_explore.model.card import card_text
from vmamba_explore.model.tensor_files import CheckpointError, first_line

if TYPE_CHECKING:
    from vmamba_explore.model.videomamba import VideoMamba

FILES = ("config.json", "model.safetensors")
_REFERENCE = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?::(\S+))?")
_ENDINGS = (".pth", ".pt", ".bin", ".safetensors")


def save_model(model: VideoMamba, folder: str | Path) -> None:
    """Write config.json and model.safetensors, which `load_model(folder)` reads."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    fields = model.config.to_dict()
    if model.class_names is not None:
        fields["class_names"] = list(model.class_names)
    tensors = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    contents = ((json.dumps(fields, indent=1) + "\n").encode(), save(tensors))
    for name, content in zip(FILES, contents, strict=True):
        unfinished = folder / f"{name}.part"
        unfinished.write_bytes(content)
        os.replace(unfinished, folder / name)


class OnTheHub(PyTorchModelHubMixin):
    """What a VideoMamba does with folders and the Hub.

    `save_pretrained(folder)` and `push_to_hub("owner/name")` write config.json,
    model.safetensors and a model card, which `load_model` reads from either place. What trained
    the model is said by `model_card_kwargs={"training": "..."}`.
    """

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model with its card; options as in huggingface_hub."""
        options["model_card_kwargs"] = {"repo_id": repo_id} | (
            options.get("model_card_kwargs") or {}
        )
        return super().push_to_hub(repo_id, **options)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Fill in the model card: sizes, costs, classes, how to load it."""
        return ModelCard(card_text(self, *args, **kwargs))  # type: ignore[arg-type]

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(self, save_directory)  # type: ignore[arg-type]

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Any:
        from vmamba_explore.model.checkpoints import load_model  # it imports this module

        wanted = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        given = {name: options[name] for name in wanted if options.get(name) is not None}
        if Path(model_id).is_dir():
            return load_model(Path(model_id))
        return load_model(from_hub(model_id, None, **given))


def hub_reference(what: str) -> tuple[str, str | None] | None:
    """Split "owner/repo" or "owner/repo:file"; None for what cannot be one, e.g. a lost file."""
    match = _REFERENCE.fullmatch(what)
    if not match or (match[2] is None and what.endswith(_ENDINGS)):
        return None
    return match[1], match[2]


def from_hub(repo: str, file: str | None, **options: Any) -> Path:
    """Download what a reference names, or find it in the cache.

    Args:
        repo: "owner/repo".
        file: One of its files; None for the folder that `push_to_hub` wrote.
        options: Of huggingface_hub's `hf_hub_download`.
    Returns:
        The file, or the folder with config.json and model.safetensors.
    Raises:
        CheckpointError: not there, not allowed, or no way to it; the message says what to do.
    """
    if file is not None:
        return _download(repo, file, options)
    return [_download(repo, name, options) for name in FILES][-1].parent


def _download(repo: str, file: str, options: dict[str, Any]) -> Path:
    page = f"https://huggingface.co/{repo}"
    folder = file in FILES  # of a model that save_pretrained wrote
    elsewhere = f"{' and '.join(FILES)} from {page}" if folder else f"{page}/resolve/main/{file}"
    elsewhere += f" and give load_model the path of the {'folder' if folder else 'file'}"
    try:
        return Path(hf_hub_download(repo, file, **options))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "the Hub cannot be reached from here"
        reason = f"is not in the cache and {why}. Download, where there is a network, {elsewhere}"
    except GatedRepoError:
        reason = f"needs a permission. Ask for it at {page} and run `hf auth login`"
    except RepositoryNotFoundError:
        reason = (
            "cannot be had: the Hub shows no such repository, and there is no such file or folder "
            "here. Check the spelling; a private one needs `hf auth login`"
        )
    except EntryNotFoundError:
        reason = f"does not exist. {page}/tree/main lists the repository's files"
        if folder:
            reason += f"; name one of them: load_model('{repo}:FILE')"
    except HFValidationError as error:
        reason = f"is not a valid reference ({error})"
    except (HTTPError, OSError) as error:
        reason = (
            f"did not arrive ({first_line(error)}). Try again, what came is kept; or download "
            f"{elsewhere}"
        )
    raise CheckpointError(f"load_model: {file} of {repo} {reason}.")
