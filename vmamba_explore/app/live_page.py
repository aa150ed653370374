"""write_live_page(): models that run in the reader's browser, as one offline page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vmamba_explore import resources
from vmamba_explore.app.explore import shape_of
from vmamba_explore.app.portable import portable
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.errors import one_line
from vmamba_explore.files import atomic_write, output_path, read_json
from vmamba_explore.model.bundled import SHAPE, model_for
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.live.page import PageClip, live_page

MODELS = ("camera-nano", "recall-nano", "motion-nano")
"""The bundled models of a page that is not told which: one for each question."""
ANY_SHAPE = ("city",)
"""The bundled clips for a model of another shape than the bundled ones: their pixels are many."""


def write_live_page(
    output: str | os.PathLike[str] = "live.html",
    model: Sequence[str] | None = None,
    clip: Sequence[str] | None = None,
) -> Path:
    """Write one offline page that runs models in the browser, without Python.

    The reader chooses a clip, brings a video or uses the webcam; nothing leaves the page.

    Args:
        output: The HTML file to write.
        model: Names or paths for `load_model`, of at most two million parameters each; None for
            camera-nano, recall-nano and motion-nano.
        clip: Video files that the page brings along, before the bundled clips.
    Returns:
        The path of the page.
    Raises:
        ClipError: a video cannot be read.
        FileNotFoundError: the folder of `output` does not exist.
        NotPortableError: a model is too large for a page.
    """
    names = MODELS if model is None else model
    files = [os.fsdecode(one) for one in clip or ()]
    path = output_path(output, "write_live_page", files)
    loaded = [load_model(name) for name in names]
    models = [
        portable(one, one_line(os.path.basename(os.path.normpath(name))))
        for one, name in zip(loaded, names, strict=True)
    ]
    clips = []
    for shape in dict.fromkeys(shape_of(one) for one in loaded):
        clips += [_own(file, shape) for file in files]
        clips += _bundled(shape)
    atomic_write(path, live_page(models, clips, Explorer.defaults()))
    return path


def _own(file: str, shape: tuple[int, int]) -> PageClip:
    frames = load_clip(file, shape[0], img_size=shape[1])
    about = model_for(frames) if shape == SHAPE else ""
    return PageClip(frames, one_line(Path(file).stem, 24), about)


def _bundled(shape: tuple[int, int]) -> Iterator[PageClip]:
    known: dict[str, Any] = read_json(resources.path("clips/shown.json"), dict, "write_live_page")
    for name in resources.CLIPS if shape == SHAPE else ANY_SHAPE:
        frames = load_clip(resources.path(f"clips/{name}.mp4"), shape[0], img_size=shape[1])
        truth = known.get(name)
        if truth is None:
            yield PageClip(frames, name, model_for(frames) if shape == SHAPE else "")
            continue
        deciding = [(first, last) for first, last in truth["deciding"]]
        yield PageClip(frames, truth["shows"], truth["model"], deciding)
