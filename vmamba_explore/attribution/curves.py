"""What comes out of taking a clip apart: curves of the model's answer, and their areas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

Kind = Literal["deletion", "insertion"]
Order = Literal["morf", "lerf"]
Of = Literal["logits", "probabilities"]


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
                f"RemovalCurve.values: of must be logits or probabilities, got {of!r}."
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
