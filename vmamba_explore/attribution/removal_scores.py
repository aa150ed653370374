"""Does the answer go when what a map points at goes? Deletion and insertion curves, and chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.attribution.baselines import Baselines
from vmamba_explore.attribution.game import Game
from vmamba_explore.attribution.methods import make_problem
from vmamba_explore.attribution.problem import Problem, State, at_least_one, chunks
from vmamba_explore.attribution.result import Attribution
from vmamba_explore.attribution.units import Unit, units_of
from vmamba_explore.errors import shown
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import Clips

Kind = Literal["deletion", "insertion"]
Order = Literal["morf", "lerf"]
Of = Literal["logits", "probabilities"]
Ranking = Attribution | Tensor
"""What ranks the units: an attribution, or a token map (batch, frame, row, col)."""


@dataclass(frozen=True, eq=False)
class RemovalCurve:
    """The model's answer as more and more units of a clip are taken away, or put in.

    Args:
        kind: "deletion", from the whole clip to the baseline, or "insertion", the other way.
        order: "morf", the units with the highest values first, or "lerf", the lowest first.
        unit: What is taken away or put in at a time, such as "tubelets".
        baselines: What stands where a unit is not, such as "blur".
        fractions: The part of the clip's tokens that is taken away or put in so far, 0 to 1,
            (batch, points).
        logits: The explained number, (batch, points): the target's logit, less that of `minus`.
        probabilities: The target's probability among all classes, (batch, points); None where the
            target is a `State`.
    """

    kind: Kind
    order: Order
    unit: str
    baselines: str
    fractions: Float[Tensor, "batch points"]
    logits: Float[Tensor, "batch points"]
    probabilities: Float[Tensor, "batch points"] | None

    def values(self, of: Of = "logits", normalized: bool = False) -> Float[Tensor, "batch points"]:
        """The curve.

        Args:
            of: "logits" or "probabilities".
            normalized: In units of what the clip has above the baseline: 1 at the clip, 0 at the
                baseline. NaN for clips that have nothing above it; those that have little weigh
                a lot in a mean.
        Raises:
            ValueError: neither of the two, or a `State` has no probabilities.
        """
        if of not in get_args(Of):
            raise ValueError(
                f"RemovalCurve.values: of must be logits or probabilities, got {shown(of)}."
            )
        found = self.logits if of == "logits" else self.probabilities
        if found is None:
            raise ValueError(
                "RemovalCurve.values: the target is a State, which has no probability; use logits."
            )
        if not normalized:
            return found
        clip, baseline = (0, -1) if self.kind == "deletion" else (-1, 0)
        bottom = found[:, baseline, None]
        above = found[:, clip, None] - bottom
        return torch.where(above > 0, (found - bottom) / above, torch.nan)

    def area(self, of: Of = "logits", normalized: bool = False) -> Float[Tensor, " batch"]:
        """The area under the curve over the fractions, (batch,): its mean height."""
        return torch.trapezoid(self.values(of, normalized), self.fractions, dim=1)


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """What a map foretells about removals.

    Args:
        deletion: The units with the highest values taken away first: a low area is good.
        insertion: They are put in first: a high area is good.
    """

    deletion: RemovalCurve
    insertion: RemovalCurve

    def lerf_minus_morf(
        self, of: Of = "logits", normalized: bool = False
    ) -> Float[Tensor, " batch"]:
        """The area of deletion in the opposite order less that of deletion, (batch,).

        High is good, chance is 0 on average. Taking the lowest away first leaves what insertion
        has put in so far, so the first is the area of insertion.
        """
        return self.insertion.area(of, normalized) - self.deletion.area(of, normalized)


@dataclass(frozen=True, eq=False)
class RandomControl:
    """The same curves for units in random order.

    Args:
        runs: One for each seed.
    """

    runs: tuple[Faithfulness, ...]

    def area(
        self, kind: Kind, of: Of = "logits", normalized: bool = False
    ) -> Float[Tensor, "batch seed"]:
        """The area of each run's deletion or insertion."""
        return torch.stack([getattr(run, kind).area(of, normalized) for run in self.runs], 1)

    def lerf_minus_morf(
        self, of: Of = "logits", normalized: bool = False
    ) -> Float[Tensor, "batch seed"]:
        """That of each run."""
        return torch.stack([run.lerf_minus_morf(of, normalized) for run in self.runs], 1)


def problem_of(
    model: VideoMamba,
    clips: Clips,
    attribution: Attribution,
    *,
    budget_gib: float | int = 1.0,
    progress: bool = True,
) -> Problem:
    """Put together again what an attribution explained, to judge it.

    Args:
        model, clips: Those of `attribute`.
        attribution: What came out.
        budget_gib, progress: As for `attribute`.
    """
    call = {name: attribution.call[name] for name in ("target", "minus", "seed")}
    return make_problem(model, clips, **call, budget_gib=budget_gib, progress=progress)


def deletion(
    problem: Problem,
    ranking: Ranking,
    *,
    order: Order = "morf",
    unit: Unit = "tubelets",
    baselines: Baselines = "blur",
    n_steps: int = 16,
) -> RemovalCurve:
    """Take the units of a clip away one after the other and watch the answer.

    `unit="frames"` is temporal deletion. Units are ranked by the sum of the map over their tokens;
    what is equal comes in random order.

    Args:
        problem: What was explained: `problem_of(model, clips, attribution)`, or `make_problem`.
        ranking: An attribution, or a token map (batch, frame, row, col).
        order: "morf": highest values first; "lerf": lowest first.
        unit: As for `occlusion`: "tubelets", "frames", "tubes", or unit numbers.
        baselines: What stands in for a unit that is not there, as for `occlusion`; "dropped":
            nothing does.
        n_steps: Steps from the whole clip to the baseline, at most as many as there are units.
    Raises:
        ValueError: a map of other clips, another target, or that is not finite; or an argument is
            not what it should be.
    Source:
        Petsiuk et al. 2018, arXiv:1806.07421 (deletion, insertion); Samek et al. 2017,
        arXiv:1509.06321, and Tomsett et al. 2020 (MoRF, LeRF).
    """
    trial = _Trial(problem, unit, baselines, n_steps)
    return trial.curve("deletion", order, token_map(problem, ranking))


def insertion(
    problem: Problem,
    ranking: Ranking,
    *,
    order: Order = "morf",
    unit: Unit = "tubelets",
    baselines: Baselines = "blur",
    n_steps: int = 16,
) -> RemovalCurve:
    """Put the units of a clip into the baseline one after the other and watch the answer.

    Args, Raises and Source as for `deletion`.
    """
    trial = _Trial(problem, unit, baselines, n_steps)
    return trial.curve("insertion", order, token_map(problem, ranking))


def faithfulness(
    problem: Problem,
    ranking: Ranking,
    *,
    unit: Unit = "tubelets",
    baselines: Baselines = "blur",
    n_steps: int = 16,
) -> Faithfulness:
    """Deletion and insertion, the highest values first.

    Args, Raises and Source as for `deletion`.
    """
    trial = _Trial(problem, unit, baselines, n_steps)
    return trial.both(token_map(problem, ranking))


def random_control(
    problem: Problem,
    *,
    unit: Unit = "tubelets",
    baselines: Baselines = "blur",
    n_steps: int = 16,
    seeds: int = 10,
) -> RandomControl:
    """Deletion and insertion in random order: what a map that knows nothing would reach.

    Args:
        problem: What was explained; another seed of it gives other orders.
        unit, baselines, n_steps: As for `deletion`.
        seeds: How many orders.
    Raises:
        As `deletion`.
    """
    at_least_one("random_control", seeds=seeds)
    trial = _Trial(problem, unit, baselines, n_steps)
    runs = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(1000 * problem.seed + seed)
        by_chance = torch.rand(problem.batch, *problem.labels.grid.shape, generator=generator)
        runs.append(trial.both(by_chance.to(problem.inputs.device)))
    return RandomControl(tuple(runs))


def token_map(problem: Problem, ranking: Ranking) -> Float[Tensor, "batch frame row col"]:
    """The values that rank the tokens of a problem's clips.

    Raises:
        ValueError: a map of other clips, another target, or that is not finite.
    """
    shape = (problem.batch, *problem.labels.grid.shape)
    values = ranking.tokens() if isinstance(ranking, Attribution) else ranking
    if tuple(values.shape) != shape or not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"faithfulness: the map is {tuple(values.shape)}, expected finite numbers "
            f"(batch, frame, row, col) = {shape}; attribution.tokens() gives them."
        )
    if isinstance(ranking, Attribution):
        explained = {"target": ranking.target, "minus": ranking.call["minus"]}
        for name, asked in {"target": problem.target, "minus": problem.minus}.items():
            if not _same(explained[name], asked):
                raise ValueError(
                    f"faithfulness: the map's {name} is {explained[name]}, the problem's {asked}. "
                    "Build the problem with problem_of(model, clips, attribution), or pass "
                    "attribution.tokens()."
                )
    return values.detach().to(problem.inputs.device)


def _same(first: Tensor | State | None, second: Tensor | State | None) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first.cpu(), second.cpu())
    return not isinstance(first, Tensor) and not isinstance(second, Tensor) and first == second


class _Trial:
    """The model's answers with some units of its clips; those with all and none are cached."""

    def __init__(self, problem: Problem, unit: Unit, baselines: Baselines, n_steps: int) -> None:
        at_least_one("faithfulness", n_steps=n_steps)
        self.problem, self.n_steps = problem, n_steps
        self.units = units_of(problem, unit)
        self.game = Game(problem, self.units, baselines)
        self.unit = unit if isinstance(unit, str) else "custom"
        self.baselines = baselines if isinstance(baselines, str) else "custom"
        self.sizes = self.units.sizes
        everything = torch.ones_like(self.sizes, dtype=torch.bool)
        self.ends, self.end_shares = self.answers(
            torch.stack([everything, ~everything], 1), "both ends"
        )

    def both(self, values: Tensor) -> Faithfulness:
        """Deletion and insertion, highest values first."""
        return Faithfulness(
            self.curve("deletion", "morf", values), self.curve("insertion", "morf", values)
        )

    def curve(self, kind: Kind, order: Order, values: Tensor) -> RemovalCurve:
        """One curve, ranked by a token map (batch, frame, row, col)."""
        if kind not in get_args(Kind) or order not in get_args(Order):
            raise ValueError(f"{kind}: order must be morf or lerf, got {shown(order)}.")
        place = self.places(self.units.sums(values), order)
        taken = self.taken(place)  # (batch, points, units)
        fractions = (taken * self.sizes.unsqueeze(1)).sum(2) / self.sizes.sum(1, keepdim=True)
        present = taken if kind == "insertion" else ~taken
        numbers, shares = self.answers(present[:, 1:-1], kind)
        first = 0 if kind == "deletion" else 1
        probabilities = None
        if shares is not None and self.end_shares is not None:
            probabilities = _between(self.end_shares, shares, first)
        logits = _between(self.ends, numbers, first)
        return RemovalCurve(
            kind, order, self.unit, self.baselines, fractions, logits, probabilities
        )

    def places(self, scores: Tensor, order: Order) -> Tensor:
        """The rank of each unit, (batch, units): ties are random, units a clip lacks are last."""
        there = self.sizes > 0
        generator = torch.Generator().manual_seed(self.problem.seed)
        lot = torch.rand(scores.shape, generator=generator).argsort(1).to(scores.device)
        drawn = scores.where(there, -torch.inf).gather(1, lot)
        place = lot.gather(1, drawn.argsort(dim=1, descending=True, stable=True)).argsort(1)
        if order == "morf":
            return place
        return torch.where(there, there.sum(1, keepdim=True) - 1 - place, place)

    def taken(self, place: Tensor) -> Tensor:
        """Which units are taken at each point of the curve, bool (batch, points, units)."""
        counts = (self.sizes > 0).sum(1)
        steps = min(self.n_steps, int(counts.max()))
        share = torch.arange(steps + 1, device=place.device, dtype=torch.float64) / steps
        many = (share * counts[:, None]).round()
        return place.unsqueeze(1) < many.unsqueeze(2)

    def answers(self, present: Tensor, desc: str) -> tuple[Tensor, Tensor | None]:
        """The explained number and the target's probability with some units, (batch, points)."""
        problem, (batch, points, _) = self.problem, present.shape
        # point by point: clips that keep as many tokens share a batch where tokens are dropped
        given, which = present.transpose(0, 1).flatten(0, 1), problem.which.repeat(points)
        # no row at all where there is one step, both of whose ends are known
        numbers, shares = ([problem.inputs.new_zeros(0)] for _ in range(2))
        with torch.no_grad():
            parts = list(chunks(len(which), problem.limits.forward_rows))
            for rows in problem.watched(desc, "batch", parts):
                if isinstance(problem.target, State):
                    numbers.append(self.game(given[rows], which[rows]))
                    continue
                logits = at_least_float32(self.game.logits(given[rows], which[rows]))
                numbers.append(problem.pick(logits, which[rows]))
                if problem.is_of_classes:
                    chosen = problem.target[which[rows], None]
                    shares.append(logits.softmax(1).gather(1, chosen)[:, 0])
        found = torch.cat(numbers).view(points, batch).T
        if not problem.is_of_classes:
            return found, None
        return found, torch.cat(shares).view(points, batch).T


def _between(ends: Tensor, inside: Tensor, first: int) -> Tensor:
    """Values (batch, points) between both `ends`, (batch, points + 2); `first` is 0 or 1."""
    return torch.cat([ends[:, first, None], inside, ends[:, 1 - first, None]], 1)
