"""The package's own format: a folder with config.json and model.safetensors."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from vmamba_explore.errors import few, first_line, one_line, shown
from vmamba_explore.files import atomic_write, parsed_json, read_json
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.labels import checked_names
from vmamba_explore.model.tensor_files import (
    GROWTH,
    CheckpointError,
    limit_of,
    read_tensors,
    saved_metadata,
)

FILES = ("config.json", "model.safetensors")
MARK = "saved"  # the same in both files of one save
CONFIG, REPLACES = "vmamba_explore.config", "vmamba_explore.replaces"  # in the weights' header
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
Make = Callable[[VideoMambaConfig], Any]  # `VideoMamba`, which is defined above this module
Names = tuple[str, ...] | None


def save_model(model: Any, folder: str | Path) -> None:
    """Write config.json and model.safetensors of a model; `load_model(folder)` reads them.

    The weights' header holds the configuration too, and what the config.json before it was. So
    the folder holds the new model as soon as the weights are replaced, which happens at once, and
    the old one until then, wherever the disk is full or the process is killed.
    """
    fields = model.config.to_dict()
    if model.class_names is not None:
        fields["class_names"] = list(model.class_names)
    fields[MARK] = _digest(f"{json.dumps(fields)} {fingerprint(model)}".encode())
    text = json.dumps(fields, indent=1) + "\n"
    tensors = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    config, header = Path(folder) / FILES[0], {CONFIG: text}
    if os.path.isfile(config) and (before := config.read_bytes()) != text.encode():
        header[REPLACES] = _digest(before)
    atomic_write(Path(folder) / FILES[1], save(tensors, header), fsync=True)
    atomic_write(config, text, fsync=True)


def fingerprint(model: Any) -> str:
    """Sixteen hexadecimal digits that differ between models of other weights or settings."""
    digest = hashlib.sha256(repr(model.config).encode())
    for name, value in model.state_dict().items():
        check = zlib.crc32(value.detach().cpu().contiguous().view(torch.uint8).numpy())
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {check}".encode())
    return digest.hexdigest()[:16]


def load_folder(make: Make, folder: Path, max_bytes: int | None = None) -> Any:
    """Load the model that `save_model` wrote.

    Args:
        make: Builds a model from its configuration.
        folder: Holds both files.
        max_bytes: As for `load_model`.
    Raises:
        CheckpointError: a file is missing, or the two do not make a model.
    """
    where, (text, weights) = f"load_model: {one_line(folder)}", (folder / n for n in FILES)
    header = saved_metadata(weights) if weights.is_file() else {}
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing and not (CONFIG in header and missing == [FILES[0]]):
        for better in (folder / "model", folder / "checkpoint.pt"):
            if better.exists():
                raise CheckpointError(
                    f"{where} is the folder of a training; give {one_line(better)}."
                )
        raise CheckpointError(
            f"{where} lacks {' and '.join(missing)}. Give a folder that holds both, "
            "or a checkpoint file."
        )
    config, class_names = configured(_fields(text, header), text)
    tensors = read_tensors(weights)
    model = build(make, config, tensors, where, limit=limit_of(weights, max_bytes))
    model.class_names = class_names
    return model.eval()


def _fields(text: Path, header: Mapping[str, str]) -> Any:
    """The configuration of a folder: config.json, or the weights' own if their save was cut."""
    try:
        if CONFIG not in header:
            return read_json(text, dict, "load_model")
        weights = text.with_name(FILES[1])
        own = parsed_json(header[CONFIG], dict, f"load_model: the header of {one_line(weights)}")
        if not text.is_file() or _digest(text.read_bytes()) == header.get(REPLACES):
            return own
        fields = read_json(text, dict, "load_model")
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    if fields.get(MARK) != own.get(MARK):
        raise CheckpointError(
            f"load_model: {one_line(text)} was not saved with the weights beside it ({MARK} is "
            f"{shown(fields.get(MARK))}, expected {shown(own.get(MARK))}). Delete it to use the "
            "configuration that the weights hold, or save the model again."
        )
    return fields


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def configured(fields: Mapping[str, Any], path: Path) -> tuple[VideoMambaConfig, Names]:
    """Read a configuration and the class names; nothing is built.

    Args:
        fields: What the file holds, maybe with "class_names".
        path: The file, named in errors.
    Raises:
        CheckpointError: these are not the fields of a configuration.
    """
    try:
        if other := fields.get("model_type"):
            raise ValueError(f"it describes a {shown(other)}, not a VideoMamba of this package.")
        rest = {k: v for k, v in fields.items() if k not in ("class_names", MARK)}
        config = VideoMambaConfig(**rest)
        names = fields.get("class_names")
        return config, None if names is None else checked_names(names, config.num_classes)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"load_model: {one_line(path)}: {first_line(error)}") from None


def build(
    make: Make,
    config: VideoMambaConfig,
    tensors: Mapping[str, Tensor],
    where: str,
    name_in_file: Callable[[str], str] = str,
    limit: int | None = None,
) -> Any:
    """Build a model and load every tensor into its place; all are compared before it is built.

    Args:
        make: Builds a model from its configuration.
        config: The configuration.
        tensors: By the names of its parameters.
        where: Begins the message of an error.
        name_in_file: Turns the name of a parameter into the one that the file has for it.
        limit: Most bytes of a clip's tokens, which no tensor need be as large as; None: any.
    Raises:
        CheckpointError: the tokens are over the limit, the configuration describes more than the
            tensors hold, or a tensor is missing, left over, of
            another shape or kind, or not finite; all that do not fit are listed.
    """
    try:
        _check_amounts(config, tensors, where, limit)
        check_tensors(_shapes(make, config), tensors, where, name_in_file)
    except CheckpointError as error:
        error.config = config
        raise
    model = make(config)
    model.load_state_dict(dict(tensors), strict=True)
    return model


def _check_amounts(
    config: VideoMambaConfig, tensors: Mapping[str, Tensor], where: str, limit: int | None
) -> None:
    """Raise an error where a configuration describes more than the file holds; see `build`."""
    tokens = 4 * config.grid.seqlen * config.d_model
    if limit is not None and tokens > limit:
        raise CheckpointError(
            f"{where}: the tokens of one clip would take {tokens:,} bytes ({config.num_frames} "
            f"frames, {config.img_size} x {config.img_size} pixels); the limit is {limit:,}. If "
            f"that is right, pass max_bytes={tokens} to load_model."
        )
    if config.depth > len(tensors):
        raise CheckpointError(
            f"{where}: depth is {config.depth:,}, and there are {len(tensors):,} tensors."
        )
    described, held = config.num_parameters(), sum(value.numel() for value in tensors.values())
    if 4 * described > max(4 * held, limit or GROWTH):
        raise CheckpointError(
            f"{where}: the configuration describes {described:,} numbers, and the tensors hold "
            f"{held:,}."
        )


def _shapes(make: Make, config: VideoMambaConfig) -> dict[str, torch.Size]:
    """The shape of every tensor of a model, from one with a single block."""
    with torch.random.fork_rng(devices=[]):  # what is drawn for it changes nothing
        small = make(replace(config, depth=1)).state_dict()
    shapes: dict[str, torch.Size] = {}
    for name, value in small.items():
        block = name.removeprefix("layers.0.")
        same = [name] if block == name else (f"layers.{i}.{block}" for i in range(config.depth))
        shapes |= dict.fromkeys(same, value.shape)
    return shapes


def check_tensors(
    wanted: Mapping[str, torch.Size],
    tensors: Mapping[str, Tensor],
    where: str,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Raise an error that lists all tensors that do not fit; arguments as for `build`.

    Args:
        wanted: Shapes by name.
    """
    misfits = {name_in_file(name): "missing" for name in wanted if name not in tensors}
    misfits |= {name_in_file(name): "left over" for name in tensors if name not in wanted}
    for name in (name for name in wanted if name in tensors):
        value, shape = tensors[name], tuple(wanted[name])
        if tuple(value.shape) != shape:
            problem = f"{tuple(value.shape)}, expected {shape}"
        elif value.dtype not in DTYPES:
            problem = f"{value.dtype}, expected floating-point numbers of 16, 32 or 64 bits"
        elif bad := int((~value.isfinite()).sum()):
            problem = f"not finite in {bad} of {value.numel()} numbers"
        else:
            continue
        misfits[name_in_file(name)] = f"is {problem}"
    if misfits:
        problems = tuple(
            f"{name} {problem}" if problem.startswith("is ") else f"{problem} {name}"
            for name, problem in misfits.items()
        )
        count = "1 tensor does" if len(problems) == 1 else f"{len(problems)} tensors do"
        raise CheckpointError(f"{where}: {count} not fit: {few(problems)}.", problems, misfits)
