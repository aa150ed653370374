"""What a model says of a clip, with names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """One class that a model considers.

    Args:
        name: Its name, "class 17" where names are unknown.
        index: Its place in the logits.
        probability: Softmax of the logits, 0..1.
    """

    name: str
    index: int
    probability: float


def top_predictions(
    logits: Float[Tensor, " num_classes"], class_names: Sequence[str] | None, k: int
) -> list[Prediction]:
    """Give the k most probable classes, the most probable first; all, where there are fewer.

    Args:
        logits: Of one clip.
        class_names: A name for each, or None.
        k: How many, at least 1.
    Raises:
        ValueError: k is less than 1, or the logits are not finite.
    """
    if k < 1:
        raise ValueError(f"predict: k must be at least 1, got {k}.")
    if bad := int((~logits.isfinite()).sum()):
        raise ValueError(
            f"predict: {bad} of {len(logits)} logits are not finite; run_with_trace(model, clip) "
            "shows which layer is the first to make such numbers."
        )
    found = logits.detach().float().softmax(-1).topk(min(k, len(logits)))
    return [
        Prediction(class_names[i] if class_names else f"class {i}", i, value)
        for i, value in zip(found.indices.tolist(), found.values.tolist(), strict=True)
    ]
