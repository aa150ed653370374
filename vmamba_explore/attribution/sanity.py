"""Does a map depend on what was learned, and on what was asked? And do methods agree?

Maps are compared on the token grid, signed, clip by clip: by Spearman's rank correlation, and by
structural similarity frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import NDArray
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import Tensor

from vmamba_explore.attribution.methods import attribute
from vmamba_explore.attribution.problem import Problem, State
from vmamba_explore.attribution.result import Attribution, Part
from vmamba_explore.errors import shown
from vmamba_explore.intervals import RESAMPLES, Interval, mean_intervals
from vmamba_explore.model.videomamba import VideoMamba

WINDOW = 7
"""Side of the window of structural similarity, tokens, or the largest odd number that fits."""


@dataclass(frozen=True, eq=False)
class WeightRandomization:
    """How similar a map stays as the model's weights are randomized, from head to tokenizer.

    A map that explains the model must change; a map that stays shows the clip. Methods that
    multiply by the input keep some of it and may fail honestly.

    Args:
        method: Its name.
        stages: What was randomized last, such as "head" or "layers.3"; everything after it too.
        spearman: Rank correlation with the trained model's map, (batch, stage); NaN for a
            constant map.
        ssim: Structural similarity with it; NaN on token grids with a side below 3.
    """

    method: str
    stages: tuple[str, ...]
    spearman: Float64[Tensor, "batch stage"]
    ssim: Float64[Tensor, "batch stage"]

    @property
    def twin(self) -> Float64[Tensor, " batch"]:
        """Rank correlation with the map of the model in which nothing learned is left."""
        return self.spearman[:, -1]


@dataclass(frozen=True, eq=False)
class RandomLogit:
    """How much the map of another class looks like the target's.

    Args:
        method: Its name.
        other: The class asked for instead, (batch,), or the direction, (batch, outputs).
        spearman: Rank correlation of the two maps, (batch,).
        ssim: Their structural similarity, (batch,).
    """

    method: str
    other: Int64[Tensor, " batch"] | Float[Tensor, "batch outputs"]
    spearman: Float64[Tensor, " batch"]
    ssim: Float64[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Rank correlations of the maps of several methods.

    Args:
        methods: Their names.
        spearman: (batch, method, method); NaN where a map is the same everywhere.
    """

    methods: tuple[str, ...]
    spearman: Float64[Tensor, "batch method other"]

    def mean(self) -> Float64[Tensor, "method other"]:
        """The mean over clips."""
        return self.spearman.nanmean(0)

    def intervals(self, resamples: int = RESAMPLES, seed: int = 0) -> list[list[Interval]]:
        """The mean over clips of each pair, with its bootstrap interval."""
        count = len(self.methods)
        found = mean_intervals(self.spearman.flatten(1), resamples, seed)
        return [found[row * count : (row + 1) * count] for row in range(count)]


def weight_randomization(
    problem: Problem, attribution: Attribution, *, seed: int = 0, cascade: bool = True
) -> WeightRandomization:
    """Randomize a copy of the model, part by part from the head on, and recompute the map.

    Args:
        problem: What was explained.
        attribution: Its map, of any method; recomputed with the same options and target.
        seed: Of the new weights: those that a model has before training.
        cascade: False: the last stage only, everything at once.
    Source:
        Adebayo et al. 2018, arXiv:1810.03292, section 3.1 (signed maps, tokens for pixels).
    """
    names = stages(problem.model)
    wanted = range(len(names)) if cascade else [len(names) - 1]
    before = attribution.tokens()
    found = []
    for last in problem.watched(f"{attribution.method}, weights", "stage", wanted):
        twin = randomized(problem.model, names[: last + 1], seed)
        again = attribute(twin, problem.inputs, **attribution.call, progress=False)
        found.append((rank_correlation(before, again.tokens()), ssim(before, again.tokens())))
    spearman, similarity = (torch.stack(each, 1) for each in zip(*found, strict=True))
    return WeightRandomization(
        attribution.method, tuple(names[last] for last in wanted), spearman, similarity
    )


OF_THE_HEAD = ("head", "norm_f", "pool_norm", "vision_proj")
"""What comes after the blocks."""


def stages(model: VideoMamba) -> list[str]:
    """The parts of a model from the output to the input: head, layers, patch_embed.

    "head" holds the last norm too, "patch_embed" the class token and the positions.
    """
    layers = [f"layers.{number}" for number in reversed(range(len(model.layers)))]
    return ["head", *layers, "patch_embed"]


def randomized(model: VideoMamba, parts: Iterable[str] | None = None, seed: int = 0) -> VideoMamba:
    """Copy a model with some of its parts (of `stages`; None: all) as before training.

    Raises:
        ValueError: there is no such part.
    """
    known = stages(model)
    chosen = known if parts is None else list(parts)
    for part in chosen:
        if part not in known:
            raise ValueError(f"randomized: no part {shown(part)}; there are {', '.join(known)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = VideoMamba(model.config)
    twin.to(model.norm_f.weight.device, model.norm_f.weight.dtype)
    learned = model.state_dict().items()
    twin.load_state_dict({n: x for n, x in learned if _stage(n) not in chosen}, strict=False)
    twin.class_names = model.class_names
    return twin.train(model.training)


def _stage(name: str) -> str:
    """The part of the model that a parameter belongs to."""
    first, *rest = name.split(".")
    if first == "layers":
        return f"layers.{rest[0]}"
    return "head" if first in OF_THE_HEAD else "patch_embed"


def random_logit(
    problem: Problem, attribution: Attribution, *, other: Tensor | None = None, seed: int = 0
) -> RandomLogit:
    """Ask for another class: a map that explains the target's logit must change.

    Args:
        problem: What was explained, a class.
        attribution: Its map, of any method; recomputed with the same options.
        other: The class to ask for, (batch,). None: any but the target and `minus`, by chance; of
            a direction another of the same length.
        seed: Of that choice.
    Raises:
        ValueError: the target is a `State`, or there is no other class.
    Source:
        Sixt, Granz and Landgraf 2020, arXiv:1912.09818 (random logit).
    """
    if isinstance(problem.target, State):
        raise ValueError("random_logit: the target is a State; expected a class.")
    drawn = torch.Generator().manual_seed(seed)
    if other is None and not problem.is_of_classes:
        other = torch.randn(problem.target.shape, generator=drawn).to(problem.target)
        length = problem.target.norm(dim=-1, keepdim=True)
        other = other * length / other.norm(dim=-1, keepdim=True)
    if other is None:
        free = torch.ones(problem.batch, problem.model.config.num_classes)
        for taken in (problem.target, problem.minus):
            if taken is not None:
                free.scatter_(1, taken.cpu()[:, None], 0)
        if not bool(free.any(1).all()):
            raise ValueError("random_logit: the model has no other class to ask for.")
        other = torch.multinomial(free, 1, generator=drawn)[:, 0].to(problem.inputs.device)
    call = {**attribution.call, "target": other}
    there = attribute(problem.model, problem.inputs, **call, progress=problem.progress).tokens()
    here = attribution.tokens()
    return RandomLogit(attribution.method, other, rank_correlation(here, there), ssim(here, there))


def agreement(
    attributions: Mapping[str, Attribution] | Sequence[Attribution], part: Part = "signed"
) -> Agreement:
    """Compare the maps of several methods for the same clips.

    Args:
        attributions: By name, or as many as you like of different methods.
        part: Of the maps; see `Attribution.tokens`.
    Raises:
        ValueError: fewer than two maps, two of the same name, or maps of different shapes.
    """
    if isinstance(attributions, Mapping):
        names, given = list(attributions), list(attributions.values())
    else:
        names, given = [each.method for each in attributions], list(attributions)
    if len(given) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"agreement: got maps of {', '.join(names) or 'no method'}; expected two or more, each "
            "with a name of its own: give a dict."
        )
    maps = [each.tokens(part) for each in given]
    for name, each in zip(names, maps, strict=True):
        if each.shape != maps[0].shape:
            raise ValueError(
                f"agreement: the map of {name} is {tuple(each.shape)} and that of {names[0]} "
                f"{tuple(maps[0].shape)} (batch, frame, row, col); expected the same clips."
            )
    ranks = np.stack([_standard_ranks(each) for each in maps])
    values = torch.from_numpy(np.einsum("mbn,kbn->bmk", ranks, ranks))
    return Agreement(tuple(names), values)


def rank_correlation(
    first: Float[Tensor, "batch ..."], second: Float[Tensor, "batch ..."]
) -> Float64[Tensor, " batch"]:
    """Spearman's rank correlation of two maps of each clip; NaN where one is constant."""
    return torch.from_numpy((_standard_ranks(first) * _standard_ranks(second)).sum(1))


def _standard_ranks(maps: Tensor) -> NDArray[np.float64]:
    """The ranks of each clip's entries, centered and of length 1, (batch, entries)."""
    ranks = rankdata(maps.detach().flatten(1).double().cpu().numpy(), axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.where(length > 0, ranks / np.maximum(length, 1e-300), np.nan)


def ssim(
    first: Float[Tensor, "batch frame row col"], second: Float[Tensor, "batch frame row col"]
) -> Float64[Tensor, " batch"]:
    """Structural similarity of two maps of each clip, the mean over their frames.

    Each map is divided by its largest absolute value and moved to 0..1, with zero at 0.5: means
    of opposite signs would count as alike otherwise. Parts where both are flat count as alike:
    unrelated maps of motion clips reach about 0.5.

    Source:
        Wang et al. 2004, IEEE Transactions on Image Processing 13 (uniform window).
    """
    side = min(WINDOW, *first.shape[2:])
    side -= 1 - side % 2
    if side < 3:
        return torch.full((len(first),), torch.nan, dtype=torch.float64)
    found = [
        structural_similarity(a, b, win_size=side, channel_axis=0, data_range=1.0)
        for a, b in zip(_scaled(first), _scaled(second), strict=True)
    ]
    return torch.tensor(found, dtype=torch.float64)


def _scaled(maps: Tensor) -> NDArray[np.float64]:
    values = maps.detach().double().cpu().numpy()
    largest = np.abs(values).max((1, 2, 3), keepdims=True)
    signed = np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)
    return (signed + 1) / 2
