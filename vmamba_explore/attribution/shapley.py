"""Shapley values of units: each one's share of the change from the baseline to the clip."""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import KernelShap, ShapleyValueSampling
from torch import Tensor

from vmamba_explore.attribution.baselines import Baselines
from vmamba_explore.attribution.game import Game
from vmamba_explore.attribution.problem import Problem, at_least_one
from vmamba_explore.attribution.removal import everything, found_on_tokens, shown_as, unit_values
from vmamba_explore.attribution.result import Found
from vmamba_explore.attribution.units import Unit, units_of


def shapley_value_sampling(
    problem: Problem,
    *,
    unit: Unit = "frames",
    baselines: Baselines = "blur",
    n_samples: int = 25,
) -> Found:
    """What a unit adds when it comes to others that came before it in random order, on average.

    The values sum to f(clip) - f(baseline) for every order drawn, up to rounding.

    Args:
        unit: The players, see `units_of`; a unit's tokens share its value evenly.
        baselines: What replaces an absent unit, see `make_baselines`; "dropped": nothing.
        n_samples: Random orders, the same for all clips; each runs as many clips as there are
            units.
    Raises:
        ValueError: fewer than one order.
    Source:
        Castro, Gomez and Tejada 2009; Strumbelj and Kononenko 2010; Captum's ShapleyValueSampling,
        which adds up in float32.
    """
    at_least_one("shapley_value_sampling", n_samples=n_samples)
    game = Game(problem, units_of(problem, unit), baselines)
    name, each = "shapley_value_sampling", n_samples * game.units.count + 1
    with problem.seeded():
        values = unit_values(game, ShapleyValueSampling, name, each, n_samples=n_samples)
    return _complete(game, values)


def kernel_shap(
    problem: Problem,
    *,
    unit: Unit = "frames",
    baselines: Baselines = "blur",
    n_samples: int = 200,
) -> Found:
    """Shapley values by a linear fit to random coalitions of units.

    Args:
        unit: The players, see `units_of`; a unit's tokens share its value evenly.
        baselines: What replaces an absent unit, see `make_baselines`; "dropped": nothing.
        n_samples: Coalitions for each clip, all units and no unit included.
    Raises:
        ValueError: a single unit, or fewer coalitions than a fit needs.
    Source:
        Lundberg and Lee 2017, arXiv:1705.07874; Captum's KernelShap, clip by clip, with a fit by
        `torch.linalg.lstsq`. All units and no unit have a weight of a million, so completeness
        is missed by about a millionth.
    """
    game = Game(problem, units_of(problem, unit), baselines)
    sizes = game.units.sizes
    most, least = int((sizes > 0).sum(1).max()), int((sizes > 0).sum(1).min())
    if least < 2 or n_samples < most + 1:
        raise ValueError(
            f"attribute: kernel_shap has {n_samples} samples for {least} to {most} units; expected "
            "at least two units, and one sample more than units."
        )
    values = torch.zeros_like(everything(game))
    with shown_as(problem, "kernel_shap", n_samples) as shown, problem.seeded():
        played = shown(game)
        for clip, there in enumerate(sizes > 0):
            which = torch.tensor([clip], device=sizes.device)

            def number(vectors: Tensor, which: Tensor, there: Tensor = there) -> Tensor:
                present = torch.zeros(len(vectors), len(there), dtype=torch.bool)
                present[:, there.cpu()] = vectors.cpu() > 0.5
                return played(present.to(there.device), which)

            shap = KernelShap(number)
            shap.interpretable_model = _LeastSquares()
            values[clip, there] = shap.attribute(
                torch.ones(1, int(there.sum()), device=sizes.device),
                additional_forward_args=(which,),
                n_samples=n_samples,
                perturbations_per_eval=problem.limits.forward_rows,
            )[0]
    return _complete(game, values)


class _LeastSquares:
    """A weighted linear fit with an intercept, as Captum's KernelShap wants one."""

    coefficients: Tensor

    def fit(self, train_data: Any, **_: Any) -> None:
        rows, target, weight = (
            torch.cat(column).double() for column in zip(*train_data, strict=True)
        )
        scale = weight.sqrt().unsqueeze(1)
        design = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
        solution = torch.linalg.lstsq(
            (design * scale).cpu(), (target.unsqueeze(1) * scale).cpu(), driver="gelsd"
        ).solution
        self.coefficients = solution[:-1].T

    def representation(self) -> Tensor:
        return self.coefficients


def _complete(game: Game, values: Tensor) -> Found:
    """The same for values that are to sum to f(clip) - f(baseline)."""
    found, problem = found_on_tokens(game, values), game.problem
    present = everything(game) > 0.5
    output, base = game(present, problem.which), game(~present, problem.which)
    return Found(found.values, base, values.sum(1) - (output - base), found.details)
