"""The package's own format: a folder with config.json and model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from vmamba_explore.errors import few
from vmamba_explore.files import atomic_write, write_json
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.tensor_files import CheckpointError, read_tensors

FILES = ("config.json", "model.safetensors")
Make = Callable[[VideoMambaConfig], Any]  # `VideoMamba`, which is defined above this module


def save_model(model: Any, folder: str | Path) -> None:
    """Write config.json and model.safetensors of a model; `load_model(folder)` reads them."""
    fields = model.config.to_dict()
    if model.class_names is not None:
        fields["class_names"] = list(model.class_names)
    tensors = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    write_json(Path(folder) / FILES[0], fields)
    atomic_write(Path(folder) / FILES[1], save(tensors))


def load_folder(make: Make, folder: Path) -> Any:
    """Load the model that `save_model` wrote.

    Args:
        make: Builds a model from its configuration.
        folder: Holds both files.
    Raises:
        CheckpointError: a file is missing, or the two do not make a model.
    """
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
    model = configured(make, fields, text)
    load_strictly(model, read_tensors(folder / FILES[1]), f"load_model: {folder}")
    return model.eval()


def configured(make: Make, fields: Any, path: Path) -> Any:
    """Build the model that a configuration describes, without its weights.

    Args:
        make: Builds a model from its configuration.
        fields: What the file holds, maybe with "class_names".
        path: The file, named in errors.
    Raises:
        CheckpointError: these are not the fields of a configuration.
    """
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
    model = make(config)
    model.class_names = None if class_names is None else tuple(class_names)
    return model


def load_strictly(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    where: str,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Load every tensor into its place, or raise an error that lists all that do not fit.

    Args:
        model: The model, changed in place.
        tensors: By the names of its parameters.
        where: Begins the message of an error.
        name_in_file: Turns the name of a parameter into the one that the file has for it.
    Raises:
        CheckpointError: a tensor is missing, left over, of another shape or kind, or not finite.
    """
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


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)
