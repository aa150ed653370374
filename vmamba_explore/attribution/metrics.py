"""Scores of single maps: do they add up, do they foretell removals, do they hold still?"""

from __future__ import annotations

import torch
from captum import metrics
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.attribution.baselines import Baselines
from vmamba_explore.attribution.game import Game
from vmamba_explore.attribution.methods import attribute
from vmamba_explore.attribution.problem import Problem, at_least_one
from vmamba_explore.attribution.removal_scores import Ranking, token_map
from vmamba_explore.attribution.result import Attribution
from vmamba_explore.attribution.units import Unit, units_of


def completeness_gap(attribution: Attribution) -> Float[Tensor, " batch"]:
    """By what part of what was to be split up the values miss it::

        |sum of values - (f(x) - f(b))| / |f(x) - f(b)|

    f(b) is zero for methods without a baseline.

    Raises:
        ValueError: the method does not promise that its values add up.
    """
    if attribution.convergence_delta is None:
        raise ValueError(
            f"completeness_gap: {attribution.method} does not promise that its values add up to "
            "the output; integrated_gradients, Shapley values and mamba_lrp do."
        )
    whole = attribution.output
    if attribution.baseline_output is not None:
        whole = whole - attribution.baseline_output
    return (attribution.values.flatten(1).sum(1) - whole).abs() / whole.abs()


def infidelity(
    problem: Problem,
    ranking: Ranking,
    *,
    unit: Unit = "tubelets",
    baselines: Baselines = "blur",
    removed: float | int = 0.2,
    n_perturb_samples: int = 10,
    normalize: bool = True,
) -> Float[Tensor, " batch"]:
    """By how much a map misses what happens when random parts of the clip are taken away.

    With the units that are taken away drawn at random, V their values and f the explained number::

        mean of (beta * sum of V - (f(clip) - f(clip without them)))^2

    in squared units of f. Lower is better.

    Args:
        problem: What was explained.
        ranking: An attribution or a token map, (batch, frame, row, col).
        unit, baselines: What is taken away, and what comes in its place; as for `occlusion`.
        removed: Chance of each unit to be taken away.
        n_perturb_samples: Draws for each clip.
        normalize: Whether beta is what fits best, so that the map's scale does not count; False: 1.
    Raises:
        ValueError: `removed` is not between 0 and 1, or an argument is not what it should be.
    Source:
        Yeh et al. 2019, arXiv:1901.09392, definition 2.1, by `captum.metrics.infidelity`; taken
        away are random units rather than a square of pixels.
    """
    if not 0 < removed < 1:
        raise ValueError(f"infidelity: removed is {removed}, expected between 0 and 1.")
    at_least_one("infidelity", n_perturb_samples=n_perturb_samples)
    units = units_of(problem, unit)
    game = Game(problem, units, baselines)
    generator = torch.Generator().manual_seed(problem.seed)
    values = units.sums(token_map(problem, ranking))

    def take_away(present: Tensor) -> tuple[Tensor, Tensor]:
        gone = (torch.rand(present.shape, generator=generator) < removed).to(present)
        return gone, present - gone

    found: Tensor = metrics.infidelity(
        lambda present, which: game(present > 0.5, which),
        take_away,
        torch.ones_like(values),
        values,
        additional_forward_args=problem.which,
        n_perturb_samples=n_perturb_samples,
        normalize=normalize,
    )
    return found


def sensitivity_max(
    problem: Problem,
    attribution: Attribution,
    *,
    perturb_radius: float | int = 0.02,
    n_perturb_samples: int = 10,
) -> Float[Tensor, " batch"]:
    """How far a map moves, at most, when the pixels change by next to nothing.

    The largest distance of the token maps over the draws, relative to the map's own norm. Methods
    with random parts draw the same numbers every time: only the clip changes.

    Args:
        problem: What was explained.
        attribution: Its map, of any method; recomputed with the same options and target.
        perturb_radius: Largest change of a pixel, in units of the model's input (0.02 is about
            one of 255 levels).
        n_perturb_samples: Draws for each clip.
    Source:
        Yeh et al. 2019, arXiv:1901.09392, definition 3.1, by `captum.metrics.sensitivity_max`.
    """
    at_least_one("sensitivity_max", n_perturb_samples=n_perturb_samples)
    generator = torch.Generator().manual_seed(problem.seed)

    def explain(inputs: tuple[Tensor] | Tensor) -> tuple[Tensor]:
        clips = inputs[0] if isinstance(inputs, tuple) else inputs
        given = clips is problem.inputs
        found = attribution.tokens() if given else _again(problem, attribution, clips)
        return (found.contiguous(),)  # Captum looks for a tuple, and views it

    def perturb(clips: Tensor, radius: float) -> Tensor:
        noise = torch.rand(clips.shape, generator=generator, dtype=clips.dtype) * 2 - 1
        return clips + radius * noise.to(clips.device)

    found: Tensor = metrics.sensitivity_max(
        explain,
        problem.inputs,
        perturb,
        perturb_radius=perturb_radius,
        n_perturb_samples=n_perturb_samples,
        max_examples_per_batch=problem.batch,  # every draw has the clips as they were given
    )
    return found


def shift_sensitivity(problem: Problem, attribution: Attribution) -> Float[Tensor, " batch"]:
    """How far a map is from moving along when the clip begins one token frame later.

    The clip is delayed by one token frame (the first frame repeats), the target stays. 0 for a
    map that moves along; relative to the map's own norm, over the frames that both show.

    Args:
        problem: What was explained.
        attribution: Its map, of any method; recomputed with the same options and target.
    Raises:
        ValueError: the clip has a single token frame.
    """
    before = attribution.tokens()
    if before.shape[1] < 2:
        raise ValueError("shift_sensitivity: the clip has one token frame; expected two or more.")
    number = torch.arange(problem.inputs.shape[2], device=problem.inputs.device)
    shifted = problem.inputs[:, :, (number - problem.labels.tubelet_size).clamp_min(0)]
    after = _again(problem, attribution, shifted)[:, 1:]
    before = before[:, :-1]
    return (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)


def _again(problem: Problem, attribution: Attribution, clips: Tensor) -> Tensor:
    """The token map of other clips, everything else as it was; gradients may be switched off."""
    with torch.enable_grad():
        call = {**attribution.call, "progress": problem.progress}
        return attribute(problem.model, clips, **call).tokens()
