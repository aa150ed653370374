"""What stands in a clip in place of what is taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vmamba_explore.attribution.problem import Problem
from vmamba_explore.clips.clip import IMAGENET_MEAN, IMAGENET_STD
from vmamba_explore.errors import shown

Baselines = str | Tensor
"""One of `BASELINES`, or clips of one's own, such as a twin's `tensor()`."""


def make_baselines(problem: Problem, baselines: Baselines = "blur") -> Tensor:
    """Make the clips that replace what is removed from a problem's clips.

    Args:
        problem: Whose clips.
        baselines: A name, or clips: one for all, (channels, num_frames, height, width), or one
            for each, (batch, channels, num_frames, height, width).

            * "blur": every frame blurred by a Gaussian, its standard deviation a quarter of the
              side (under a narrow one, what moves still moves);
            * "mean": the mean color of the training pictures, zero in the model's input;
            * "clip_mean": the mean of the clip's frames, in every frame: nothing moves;
            * "held": each token frame repeats the clip frame before it, the first its own first;
            * "black".
    Returns:
        Clips like `problem.inputs`; frames may share memory, so do not write to them.
    Raises:
        ValueError: an unknown name, or clips of another shape.
    """
    inputs = problem.inputs
    if isinstance(baselines, Tensor):
        given = baselines.detach().to(inputs)
        one = given.unsqueeze(0) if given.ndim == 4 else given
        if one.ndim != 5 or one.shape[1:] != inputs.shape[1:] or len(one) not in (1, len(inputs)):
            raise ValueError(
                f"attribute: baselines is {tuple(given.shape)}; expected clips like the explained "
                f"ones, {tuple(inputs.shape)}, or one for all of them, {tuple(inputs.shape[1:])}."
            )
        return one.expand_as(inputs)
    if baselines == "dropped":
        raise ValueError(
            "attribute: baselines='dropped' puts nothing in place of what is taken away, and this "
            f"method needs pixels there. Choose one of {', '.join(BASELINES)}; or a method of "
            "units, such as feature_ablation."
        )
    if not isinstance(baselines, str) or baselines not in BASELINES:
        raise ValueError(
            f"attribute: baselines is {shown(baselines)}; expected one of {', '.join(BASELINES)}, "
            "or clips as a tensor."
        )
    return BASELINES[baselines](problem)


def parts_with_baselines(
    problem: Problem, *baselines: Baselines, rows: int | None = None
) -> Iterator[tuple[Problem, tuple[Tensor, ...]]]:
    """The problem in groups of clips, as `problem.parts`, and each group's baselines.

    Raises:
        ValueError: as `make_baselines`.
    """
    made, begin = [make_baselines(problem, each) for each in baselines], 0
    for part in problem.parts(rows):
        yield part, tuple(each[begin : begin + part.batch] for each in made)
        begin += part.batch


def _blur(problem: Problem) -> Tensor:
    inputs = problem.inputs
    down, across = (
        gaussian(torch.arange(size, dtype=inputs.dtype, device=inputs.device), size / 4)
        for size in inputs.shape[-2:]
    )
    return down @ inputs @ across.T


def gaussian(places: Tensor, width: float) -> Tensor:
    """A Gaussian around each of the places, in rows that sum to one."""
    return (-((places[:, None] - places) / width).square() / 2).softmax(1)


def _mean(problem: Problem) -> Tensor:
    return torch.zeros_like(problem.inputs)


def _clip_mean(problem: Problem) -> Tensor:
    return problem.inputs.mean(2, keepdim=True).expand_as(problem.inputs)


def _held(problem: Problem) -> Tensor:
    size = problem.labels.tubelet_size
    frames = torch.arange(problem.inputs.shape[2], device=problem.inputs.device)
    return problem.inputs[:, :, (frames // size * size - 1).clamp_min(0)]


def _black(problem: Problem) -> Tensor:
    inputs = problem.inputs
    if inputs.shape[1] != len(IMAGENET_MEAN):
        raise ValueError(
            f"attribute: baselines='black' is known for 3 colors, the clips have {inputs.shape[1]} "
            "channels. Pass the clips that you call black."
        )
    black = -inputs.new_tensor(IMAGENET_MEAN) / inputs.new_tensor(IMAGENET_STD)
    return black.view(-1, 1, 1, 1).expand_as(inputs)


BASELINES: dict[str, Callable[[Problem], Tensor]] = {
    "blur": _blur,
    "mean": _mean,
    "clip_mean": _clip_mean,
    "held": _held,
    "black": _black,
}
"""Baselines by name; methods that remove units know "dropped" besides (see `Game`)."""
