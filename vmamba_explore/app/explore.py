"""explore(): from a clip to the explorer in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vmamba_explore.app.gather import gather
from vmamba_explore.app.question import Edit, Question
from vmamba_explore.clips import Clip, load_clip
from vmamba_explore.clips.clip import Generated, shown_by
from vmamba_explore.clips.motion import MotionClip
from vmamba_explore.hooks import plain
from vmamba_explore.model.bundled import SHAPE, model_for
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.view.explorer import Explorer

AnyClip = str | os.PathLike[str] | Clip | Generated
REVERSED = "reversed"


def explore(
    clip: AnyClip,
    model: str | VideoMamba | None = None,
    *,
    compare: AnyClip | Edit | None = None,
    target: int | str | None = None,
    minus: int | str | None = None,
    quantities: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    stride: int | None = 2,
    start: int | None = None,
    budget_gib: float | int = 1.0,
    progress: bool = True,
) -> Explorer:
    """Run a model on a clip and look into it: one linked view of everything.

    Args:
        clip: A video file, a `Clip`, or a generated clip such as a `MotionClip`, whose deciding
            frames are then marked.
        model: A model, or a name for `load_model`. None takes the bundled model that fits the clip:
            camera-nano, except for clips made for another one.
        compare: What to show beside it, in step, with the difference: another clip, "reversed" for
            the clip played backwards, or a function of the model that returns a `with` block in
            which the model is edited.
        target: The class that contributions and evidence explain, number or name; None for the
            most probable one of `clip`.
        minus: A class whose logit is subtracted.
        quantities: Which maps, of `app.question.QUANTITIES`; None for all.
        layers: Which layers; None for all.
        stride, start: Which frames of a file (see `load_clip`).
        budget_gib: The most that a recording may hold, GiB.
        progress: Whether to show progress bars.

    Returns:
        The explorer, a widget: the last line of a cell shows it.

    Raises:
        ClipError: a file cannot be read as a clip.
        TypeError: `clip` is none of these, or `compare` returns no `with` block.
        ValueError: no such class, layer or quantity, a clip of another shape than the model's, or
            logits that are not finite.
        TraceBudgetError: the inputs of all blocks are over budget.
    """
    reading = {"stride": stride, "start": start}
    first, model, name = opened(clip, model, **reading)
    question = Question(
        target=target,
        minus=minus,
        quantities=quantities,
        layers=layers,
        budget_gib=budget_gib,
        progress=progress,
        model_name=name,
    )
    if compare is not None and compare != REVERSED and not callable(compare):
        compare = as_clip(compare, shape_of(model), **reading)
    return side_by_side(model, first, compare, question)


def side_by_side(
    model: VideoMamba,
    clip: Clip | Generated,
    compare: Clip | Generated | Edit | str | None,
    question: Question,
    name: str = "edited model",
) -> Explorer:
    """Run a model on a clip and on what to compare with; the second is asked about the same class.

    Args:
        model: The model.
        clip: The clip.
        compare: Another clip, "reversed", an edit of the model, or None for nothing.
        question: What to find out; its report hears of both runs as one.
        name: What an edited model is called.
    """
    count = 1 if compare is None else 2
    one = gather(model, clip, _part(question, 0, count))
    if compare is None:
        return Explorer(one)
    target, minus = one.explained
    question = replace(_part(question, 1, count), target=target, minus=minus)
    if isinstance(compare, str):
        other = gather(model, backwards(clip), question)
    elif isinstance(compare, Clip | Generated):
        other = gather(model, compare, question)
    else:
        other = gather(model, clip, question, edit=compare, name=name)
    return Explorer(one, other)


def _part(question: Question, index: int, count: int) -> Question:
    """The question as one of several of the same work."""
    report = question.report
    if report is None:
        return question
    return replace(question, report=lambda words, done: report(words, (index + done) / count))


def opened(
    clip: AnyClip, model: str | VideoMamba | None, **reading: Any
) -> tuple[Clip | Generated, VideoMamba, str]:
    """Return a clip as a model wants it, the model, and what the model is called.

    Args:
        clip: A file, a clip or a generated clip.
        model: A model, a name for `load_model`, or None for the bundled one that fits the clip.
        reading: Which frames of a file: stride, start and damaged of `load_clip`.
    """
    if model is None:
        read = as_clip(clip, SHAPE, **reading)
        name = model_for(read)
        return read, load_model(name), name
    name = model if isinstance(model, str) else type(model).__name__
    loaded = load_model(model) if isinstance(model, str) else plain(model)
    return as_clip(clip, shape_of(loaded), **reading), loaded, name


def shape_of(model: VideoMamba) -> tuple[int, int]:
    """How many frames a model reads, and their side in pixels."""
    return model.config.num_frames, model.config.img_size


def as_clip(clip: AnyClip, shape: tuple[int, int], **reading: Any) -> Clip | Generated:
    """Return a clip, read from a file in the given shape where it is the name of one.

    Args:
        clip: A file, a clip or a generated clip.
        shape: Frames, and their side in pixels.
        reading: As for `opened`.
    """
    if isinstance(clip, Clip):
        return clip
    if isinstance(clip, Generated) and isinstance(clip.clip, Clip):  # an array has a `clip`, too
        return clip
    if not isinstance(clip, str | os.PathLike):
        raise TypeError(
            f"explore: a clip is {type(clip).__name__}, expected a file, a Clip or a generated "
            "clip; Clip(frames, seconds, source, indices) holds frames from elsewhere."
        )
    num_frames, img_size = shape
    return load_clip(clip, num_frames, img_size=img_size, **reading)


def backwards(clip: Clip | Generated) -> Clip | Generated:
    """Return the clip with its frames in the opposite order, at the same times.

    A motion clip then bears the label of the opposite motion; the truth about any other is dropped.
    """
    if isinstance(clip, MotionClip):
        first, last = clip.window
        end = clip.clip.num_frames - 1
        masks = {n: getattr(clip, n)[::-1] for n in ("evidence", "ignore", "distractor")}
        return replace(
            clip,
            clip=_reversed(clip.clip),
            label=clip.label ^ 1,
            window=(end - last, end - first),
            **masks,
        )
    return _reversed(shown_by(clip))


def _reversed(clip: Clip) -> Clip:
    seconds = clip.seconds.copy()
    if clip.repeated and clip.fps:  # the frames held at the end come first, so time runs there too
        seconds[-clip.repeated :] += np.arange(1, clip.repeated + 1) / clip.fps
    return replace(
        clip,
        frames=np.ascontiguousarray(clip.frames[::-1]),
        seconds=seconds,
        indices=clip.indices[::-1].copy(),
        source=f"{clip.source}, backwards",
        repeated=0,
    )
