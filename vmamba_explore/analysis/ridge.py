"""Ridge regression by inner products of clips, for features that outnumber the clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

STRENGTHS = tuple(10.0 ** (step / 2) for step in range(-10, 9))
"""Strengths to choose from, 1e-5 to 1e4, in units of the mean square of a clip's features."""

Columns = Sequence[slice]


@dataclass(frozen=True, eq=False)
class DualRidge:
    """A fitted ridge regression: clips' weights in place of features' weights.

    The primal weights, had one formed them, are centered features.T @ coefficients.

    Args:
        coefficients: Of each training clip and target column.
        means: What is predicted for a clip like the mean clip.
        similarity: Mean inner product of each training clip with all of them; its mean is taken
            off again where inner products of new clips are centered.
        strengths: The chosen strength of each group of columns, absolute.
        left_out: R^2 of each group on training clips left out one at a time, at that strength.
    """

    coefficients: Float64[Tensor, "train column"]
    means: Float64[Tensor, " column"]
    similarity: Float64[Tensor, " train"]
    strengths: tuple[float, ...]
    left_out: tuple[float, ...]

    def predict(self, products: Float64[Tensor, "test train"]) -> Float64[Tensor, "test column"]:
        """Predict the targets of new clips.

        Args:
            products: Inner products of their features with the training clips', not centered.
        """
        centered = products - products.mean(dim=1, keepdim=True) - self.similarity
        return (centered + self.similarity.mean()) @ self.coefficients + self.means


def fit_ridge(
    products: Float64[Tensor, "train same"],
    targets: Float64[Tensor, "clips column"],
    groups: Columns | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> DualRidge:
    """Fit a linear read-out of features that are known by their inner products only.

    With X and Y centered and K = X X^T, the weights that minimise
    |Y - X W|^2 + strength |W|^2 are W = X^T (K + strength)^-1 Y. The strength of each group of
    columns is the one with the smallest error on clips left out one at a time, which needs no
    refit: a residual divided by one minus its clip's own leverage. Test clips have no part in it.

    Args:
        products: Inner products of the clips' features, K before centering.
        targets: What to predict.
        groups: Columns that share a strength, together all of them in order; None: one group.
        strengths: To choose from, in units of the mean diagonal of the centered K.
    Raises:
        ValueError: fewer than three clips, products and targets of different numbers of clips, or
            values that are not finite.
    Source:
        Saunders, Gammerman and Vovk 1998, ICML (dual form); Allen 1974, Technometrics 16 (PRESS).
    """
    n = len(products)
    if n < 3 or products.shape != (n, n) or len(targets) != n:
        raise ValueError(
            f"fit_ridge: got products {tuple(products.shape)} and targets {tuple(targets.shape)}, "
            "expected (train, train) and (train, columns) of at least 3 clips."
        )
    if not (products.isfinite().all() and targets.isfinite().all()):
        raise ValueError("fit_ridge: products and targets must be finite numbers.")
    groups = [slice(0, targets.shape[1])] if groups is None else groups
    similarity = products.mean(dim=1)
    centered = products - similarity - similarity[:, None] + similarity.mean()
    values, vectors = torch.linalg.eigh(centered)
    values = values.clamp(min=0)
    unit = float(values.mean()) or 1.0
    means = targets.mean(dim=0)
    wanted = targets - means
    inside = vectors.T @ wanted
    absolute = torch.tensor(strengths, dtype=wanted.dtype) * unit
    shrunk = values / (values + absolute[:, None])  # (strength, train)
    leverage = shrunk @ vectors.square().T + 1 / n
    residual = wanted - vectors @ (shrunk[..., None] * inside)
    errors = (residual / (1 - leverage)[..., None]).square().sum(dim=1)  # (strength, column)
    # leaving a clip out moves the mean as well: n / (n - 1) of its distance remains
    totals = wanted.square().sum(dim=0) * (n / (n - 1)) ** 2
    chosen, scores = [], []
    coefficients = torch.empty_like(wanted)
    for group in groups:
        error = errors[:, group].sum(dim=1)
        best, total = int(error.argmin()), float(totals[group].sum())
        chosen.append(float(absolute[best]))
        coefficients[:, group] = vectors @ (inside[:, group] / (values + chosen[-1])[:, None])
        scores.append(1 - float(error[best]) / total if total else float("nan"))
    return DualRidge(coefficients, means, similarity, tuple(chosen), tuple(scores))
