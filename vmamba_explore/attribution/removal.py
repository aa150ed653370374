"""Methods that take parts of a clip away and look at what is left of the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from captum.attr import FeatureAblation, Occlusion
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.attribution.baselines import Baselines, parts_with_baselines
from vmamba_explore.attribution.game import Game
from vmamba_explore.attribution.problem import Problem
from vmamba_explore.attribution.result import Found, with_cls
from vmamba_explore.attribution.units import Unit, Units, units_of

Window = tuple[int, int, int]
Number = Callable[[Tensor, Tensor], Tensor]
"""(rows, ...) and, for which clip each row stands, (rows,) -> (rows,)."""
_OCCLUSION_COPIES = 12  # of a clip that Captum's Occlusion holds for each window at a time


@dataclass(frozen=True, eq=False)
class UnitValues:
    """What falls on each unit.

    Args:
        values: (batch, n_units); 0 for a unit that a clip does not have.
        units: Which tokens each one has.
    """

    values: Float[Tensor, "batch n_units"]
    units: Units


def occlusion(
    problem: Problem,
    *,
    sliding_window_shapes: Window | None = None,
    strides: Window | None = None,
    baselines: Baselines = "blur",
) -> Found:
    """By how much the number falls when a window slides over the clip and covers it.

    As Captum defines it, every pixel has the mean fall of the windows over it, not a share: a sum
    over pixels counts a window once for each pixel and color.

    Args:
        sliding_window_shapes: (frames, height, width) in pixels; None: one tubelet.
        strides: How far the window moves at a time, the same axes; None: by its own size.
        baselines: What is seen under the window, see `make_baselines`.
    Raises:
        ValueError: a window that is larger than the clip, or steps that leave gaps.
    Source:
        Zeiler and Fergus 2013, arXiv:1311.2901; Captum's Occlusion.
    """
    grid, sides = problem.labels.grid, tuple(problem.inputs.shape[2:])
    tubelet = cast(Window, tuple(n // m for n, m in zip(sides, grid.shape, strict=True)))
    window = _triple("sliding_window_shapes", sliding_window_shapes or tubelet, sides)
    step = _triple("strides", strides or window, window)
    windows = math.prod(
        math.ceil((side - size) / by) + 1
        for side, size, by in zip(sides, window, step, strict=True)
    )
    limits, channels = problem.limits, problem.inputs.shape[1]
    clip = problem.inputs[0].nbytes
    rows = limits.forward_rows * limits.forward_bytes // (_OCCLUSION_COPIES * clip)
    rows = max(1, min(limits.forward_rows, rows))
    found = []
    with shown_as(problem, "occlusion", windows + 1) as shown:
        for part, (base,) in parts_with_baselines(problem, baselines, rows=rows):
            values = Occlusion(shown(part)).attribute(
                part.inputs,
                (channels, *window),
                (channels, *step),
                base,
                additional_forward_args=(part.which,),
                perturbations_per_eval=max(1, rows // part.batch),
            )
            found.append(cast(Tensor, values))
    return Found(torch.cat(found))


def feature_ablation(
    problem: Problem,
    *,
    unit: Unit = "tubelets",
    baselines: Baselines = "blur",
) -> Found:
    """By how much the number falls when one unit alone is taken away.

    Args:
        unit: What is removed at a time, see `units_of`; its tokens share its value evenly.
        baselines: What replaces it, see `make_baselines`; "dropped": nothing, see `Game`.
    Source:
        Captum's FeatureAblation on a vector that says which units are there.
    """
    game = Game(problem, units_of(problem, unit), baselines)
    values = unit_values(game, FeatureAblation, "feature_ablation", game.units.count + 1)
    return found_on_tokens(game, values)


def drop_tokens(problem: Problem, *, unit: Unit = "tubelets") -> Found:
    """By how much the number falls without a unit's tokens: `feature_ablation`, "dropped".

    The tokens leave the sequence after they got their positions: no unfamiliar picture replaces
    them, but their neighbors meet, and the sequence is shorter.

    Args:
        problem: What to explain; a class, not a `State`.
        unit: What is dropped at a time, see `units_of`.
    """
    return feature_ablation(problem, unit=unit, baselines="dropped")


def everything(game: Game) -> Tensor:
    """One for every unit of every clip: the vectors that Captum takes for inputs."""
    return torch.ones(game.units.sizes.shape, device=game.units.numbers.device)


def unit_values(game: Game, method: Any, name: str, each: int, **options: Any) -> Tensor:
    """Run a method of Captum's on such vectors, each clip `each` times through the model."""
    problem = game.problem
    together = min(game.units.count, problem.limits.forward_rows // problem.batch)
    with shown_as(problem, name, each) as shown:
        number = shown(game)
        values: Tensor = method(lambda vectors, which: number(vectors > 0.5, which)).attribute(
            everything(game),
            additional_forward_args=(problem.which,),
            perturbations_per_eval=max(1, together),
            **options,
        )
    return values


@contextmanager
def shown_as(
    problem: Problem, desc: str, each: int
) -> Iterator[Callable[[Callable[..., Tensor]], Number]]:
    """A bar that moves by the clips that wrapped functions take; each clip runs `each` times."""
    with problem.watched(desc, "clip", total=each * problem.batch) as bar:

        def shown(number: Callable[..., Tensor]) -> Number:
            def moving(rows: Tensor, which: Tensor) -> Tensor:
                result = number(rows, which)
                bar.update(len(which))
                return result

            return moving

        yield shown


def found_on_tokens(game: Game, values: Tensor) -> Found:
    """The units' values on the tokens, nothing on the class token."""
    values, units = values.detach(), game.units
    return Found(with_cls(units.spread(values), units.grid), details=UnitValues(values, units))


def _triple(name: str, value: Window, most: tuple[int, ...]) -> Window:
    value = (value,) if isinstance(value, int) else value
    good = len(value) == 3 and all(1 <= v <= m for v, m in zip(value, most, strict=True))
    if not good:
        raise ValueError(
            f"attribute: occlusion's {name} is {tuple(value)}; expected (frames, height, width), "
            f"each from 1 to {tuple(most)}."
        )
    return cast(Window, tuple(int(v) for v in value))
