"""Commands about models and their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

from vmamba_explore.cli.program import command
from vmamba_explore.errors import shown


@command({"model.doctor:check_checkpoint": "layout"})
def check(file: str, /, **options: Any) -> None:
    """Say what a checkpoint is, which of its tensors fit, and the call that loads it.

    Nothing in the file is run.

    Args:
        file: A file or folder, or whatever else `load_model` takes.
    """
    from vmamba_explore.model.doctor import check_checkpoint

    checkup = check_checkpoint(file, **options)
    print(checkup.details)
    if checkup.problem:
        raise ValueError(f"does not load: {checkup.problem}")
    print(checkup.verdict)


@command({"model.checkpoints:load_model": "num_frames img_size layout"})
def export(model: str, /, *, output: str, format: Literal["onnx"] = "onnx", **options: Any) -> None:
    """Write a model as a file for other programs: ONNX, for ONNX Runtime and others.

    Where onnxruntime is installed, the file then runs once beside the model, on noise.

    Args:
        model: What `load_model` takes: a name, folder, file or Hub reference.
        output: The file to write.
        format: Its format.
    """
    import torch

    from vmamba_explore.files import output_path
    from vmamba_explore.model.checkpoints import load_model
    from vmamba_explore.model.onnx_export import export_onnx, onnx_difference
    from vmamba_explore.model.own_format import FILES

    output_path(output, "export", [model, *(os.path.join(model, name) for name in FILES)])
    loaded = load_model(model, **options)
    path = export_onnx(loaded, output)
    print(f"{path}  {path.stat().st_size / 1e6:,.1f} MB")
    config = loaded.config
    clips = torch.randn(2, config.in_channels, config.num_frames, config.img_size, config.img_size)
    try:
        difference = onnx_difference(loaded, path, clips)
    except ImportError as error:
        print(f"not compared with the model: {error}")
    else:
        print(f"largest difference from torch, in onnxruntime: {difference:.1e}")


@command({})
def models(*words: str) -> None:
    """List the models that can be loaded by name: bundled, and published on the Hub.

    Nothing is downloaded. Accuracies are those that the publishers state.

    Args:
        words: Only models whose line has all of these words, such as "k400" or "Ti".
    """
    from vmamba_explore.model.bundled import BUNDLED
    from vmamba_explore.model.zoo import nearest_names, published_models

    width = max(map(len, published_models()))
    lines = {f"{one.name:{width}}  bundled; {one.question}": "" for one in BUNDLED.values()}
    for one in published_models().values():
        lines[f"{one.name:{width}}  {one.summary}; {one.license}; {one.reference}"] = one.note
    wanted = [word.lower() for word in words]
    chosen = {line: note for line, note in lines.items() if _has_all(line, wanted)}
    for line, note in chosen.items():
        print(line)
        if note:
            print(f"{'':{width}}  note: {note}.")
    if not chosen:
        near = nearest_names("-".join(words))
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"models: no model has {shown(' '.join(words))} in its line.{hint}")


def _has_all(line: str, words: Sequence[str]) -> bool:
    return all(word in line.lower() for word in words)
