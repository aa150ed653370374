"""explore(): from a clip to the explorer in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vmamba_explore.app.changes import Changer
from vmamba_explore.app.control_clips import CONTROLS, control_clip
from vmamba_explore.app.gather import begin
from vmamba_explore.app.question import Asked, Edit, Question, Report, part
from vmamba_explore.app.windows import FileWindows, as_options
from vmamba_explore.clips import Clip, load_clip
from vmamba_explore.clips.clip import Generated
from vmamba_explore.hooks import plain
from vmamba_explore.model.bundled import SHAPE, model_for
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.view.explorer import Exploration, Explorer
from vmamba_explore.view.explorer.address import AnyState, read_state

AnyClip = str | os.PathLike[str] | Clip | Generated


def explore(
    clip: AnyClip,
    model: str | VideoMamba | None = None,
    *,
    compare: AnyClip | Edit | None = None,
    target: Asked = None,
    minus: Asked = None,
    quantities: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    stride: int | None = 2,
    start: int | None = None,
    budget_gib: float | int = 1.0,
    progress: bool = True,
    state: AnyState | None = None,
) -> Explorer:
    """Run a model on a clip and look into it: one linked view of everything.

    Args:
        clip: A video file, a `Clip`, or a generated clip such as a `MotionClip`, whose deciding
            frames are then marked.
        model: A model, or a name for `load_model`. None takes the bundled model that fits the clip:
            camera-nano, except for clips made for another one.
        compare: What to show beside it, in step, with the difference: another clip, the clip
            "reversed", "frozen" (its first frame held still) or "shuffled" (its frames in a random
            order), or a function of the model that returns a `with` block in which the model is
            edited.
        target: The class that contributions and evidence explain, number or name; None for the
            most probable one of `clip`. Of an encoder a direction over its features, (d_model,),
            such as another clip's `model.embed`.
        minus: A class whose logit is subtracted, or a direction.
        quantities: Which maps, of `app.question.QUANTITIES`; None for all.
        layers: Which layers; None for all.
        stride, start: Which frames of a file (see `load_clip`).
        budget_gib: The most that a recording may hold, GiB.
        progress: Whether to show progress bars.
        state: What to show first: what `Explorer.state()` returned, the address of an exported
            page, or what stands in it after the #.

    Returns:
        The explorer, a widget: the last line of a cell shows it.

    Raises:
        ClipError: a file cannot be read as a clip.
        TypeError: `clip` is none of these, or `compare` returns no `with` block.
        ValueError: no such class, layer or quantity, a clip of another shape than the model's,
            logits that are not finite, or a state that cannot be shown.
        TraceBudgetError: the inputs of all blocks are over budget.
    """
    wanted = {} if state is None else read_state(state, "explore")
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
    other: Clip | Generated | Edit | str | None
    if compare is None or callable(compare) or (isinstance(compare, str) and compare in CONTROLS):
        other = compare
    else:
        other = as_clip(compare, shape_of(model), **reading)
    explorer = side_by_side(model, first, other, question)
    try:
        explorer.restore(wanted)
    except ValueError:
        explorer.close()
        raise
    return explorer


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
        compare: Another clip, one of `CONTROLS`, an edit of the model, or None for nothing.
        question: What to find out; its report hears of both runs as one.
        name: What an edited model is called.
    """

    def again(
        clip: Clip, first: Sequence[str], report: Report
    ) -> tuple[tuple[Exploration, ...], Changer]:
        asked = replace(question, report=report, progress=False)
        return _sides(model, clip, compare, asked, name, first), Changer(model, clip, question)

    called = question.model_name
    called = "model" if called == type(model).__name__ else repr(called)
    windows = FileWindows.of(clip, again, as_options(question, called, compare))
    sides = _sides(model, clip, compare, question, name)
    return Explorer(*sides, changing=Changer(model, clip, question), windows=windows)


def _sides(
    model: VideoMamba,
    clip: Clip | Generated,
    compare: Clip | Generated | Edit | str | None,
    question: Question,
    name: str,
    first: Sequence[str] | None = None,
) -> tuple[Exploration, ...]:
    """The clip and what it is compared with; `first` as for `begin`."""
    count = 1 if compare is None else 2
    one = begin(model, clip, part(question, 0, count), first=first)
    if compare is None:
        return (one,)
    target, minus = one.explained
    question = part(question, 1, count)
    if target is not None:
        question = replace(question, target=target, minus=minus)
    if isinstance(compare, str):
        return one, begin(model, control_clip(clip, compare), question, first=first)
    if isinstance(compare, Clip | Generated):
        return one, begin(model, compare, question, first=first)
    return one, begin(model, clip, question, edit=compare, name=name, first=first)


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
