"""Contrast: the number that an analysis reads from logits, a class's logit less another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vmamba_explore.errors import shown
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.model.videomamba import VideoMamba


@dataclass(frozen=True, eq=False)
class Contrast:
    """One number for each clip: the logit of a class, less that of another where there is one.

    Args:
        target: The class of each clip, (batch,).
        minus: The class whose logit is subtracted, (batch,), or None.
    """

    target: Int64[Tensor, " batch"]
    minus: Int64[Tensor, " batch"] | None = None

    @classmethod
    def of(
        cls,
        model: VideoMamba,
        batch: int,
        target: Classes | None,
        minus: Classes | None = None,
        call: str = "Contrast",
        *,
        names: tuple[str, str] = ("target", "minus"),
        logits: Float[Tensor, "batch num_classes"] | None = None,
        distinct: bool = False,
    ) -> Contrast:
        """Check the classes that a caller chose and give each clip its own.

        Args:
            model: Names and counts the classes.
            batch: Clips.
            target: A class, by number or name, one for all clips or one for each; a `Contrast`
                stands for both classes. None: the class that `logits` name.
            minus: The class whose logit is subtracted, likewise; None: none.
            call: The public function, for error messages.
            names: What that function calls the two arguments.
            logits: What the model answers, needed where `target` is None.
            distinct: Whether to refuse the same class twice.
        Raises:
            ValueError: no such class, not one for each clip, or the same class twice.
        """
        if isinstance(target, Contrast):
            minus = target.minus if minus is None else minus
            target = target.target
        if target is None and logits is not None:
            target = logits.argmax(-1)
        if target is None:
            raise ValueError(f"{call}: {names[0]} is None, expected a class.")
        how: dict[str, Any] = {"names": model.class_names, "device": model.head.weight.device}
        count, second = model.config.num_classes, None
        first = class_numbers(target, batch, count, f"{call}: {names[0]}", **how)
        if minus is not None:
            second = class_numbers(minus, batch, count, f"{call}: {names[1]}", **how)
        if distinct and second is not None and bool((first == second).any()):
            word = class_name(model, int(first[first == second][0]))
            raise ValueError(
                f"{call}: {' and '.join(names)} are the same class ({word}) for at least one clip, "
                f"so there is nothing to explain. Leave {names[1]} out, or give another class."
            )
        return cls(first, second)

    def of_logits(self, logits: Float[Tensor, "batch num_classes"]) -> Float[Tensor, " batch"]:
        """Return the target's logit of each clip, less that of `minus`, at least float32."""
        logits = at_least_float32(logits)
        rows = torch.arange(len(logits), device=logits.device)
        return logits[rows, self.target] - (0 if self.minus is None else logits[rows, self.minus])

    def take(self, which: Tensor | slice | Sequence[int]) -> Contrast:
        """Return the contrast of some of the clips, or of rows that repeat them."""
        return Contrast(self.target[which], None if self.minus is None else self.minus[which])


Classes = int | str | Sequence[int] | Sequence[str] | Tensor | Contrast
"""A class by number or name, one for all clips or one for each; or both classes of a contrast."""


def class_name(model: VideoMamba, number: int) -> str:
    """Return the name of a class, "class 17" where the model has no names."""
    return f"class {number}" if model.class_names is None else model.class_names[number]


def class_numbers(
    classes: Classes,
    batch: int | None,
    count: int | None,
    what: str,
    *,
    names: Sequence[str] | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Turn classes into one number for each clip.

    Args:
        classes: By number or name, one for all clips or one for each.
        batch: Clips; None leaves the number of classes unchecked.
        count: Classes that there are; None leaves their range unchecked.
        what: The call and the argument, for error messages.
        names: Of the classes, where known.
        device: Of the result.
    Returns:
        (batch,), or as many as were given where `batch` is None.
    Raises:
        ValueError: no such class, or not one for each clip.
    """
    words = [classes] if isinstance(classes, str) else classes
    if isinstance(words, Sequence) and any(isinstance(word, str) for word in words):
        for word in words:
            if isinstance(word, str) and word not in (names or ()):
                known = f"this model knows {', '.join(names)}" if names else "it has no class names"
                raise ValueError(f"{what} is {shown(word)}; {known}. A class number works too.")
        numbers = [list(names or ()).index(w) if isinstance(w, str) else w for w in words]
        classes = numbers[0] if isinstance(classes, str) else numbers
    chosen = torch.as_tensor(classes, device=device)
    if chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise ValueError(f"{what} is {chosen.dtype}, expected class numbers, whole numbers.")
    if chosen.ndim > 1 or (batch is not None and chosen.ndim == 1 and len(chosen) != batch):
        clips = "clips" if batch is None else f"{batch} clips"
        raise ValueError(
            f"{what} has shape {tuple(chosen.shape)}, expected one class, or one for each of the "
            f"{clips}."
        )
    if count is not None and chosen.numel():
        low, high = int(chosen.min()), int(chosen.max())
        if not 0 <= low <= high < count:
            wrong = low if low < 0 else high
            raise ValueError(f"{what} is {wrong}; this model's classes are 0 to {count - 1}.")
    return chosen.long() if batch is None else chosen.long().expand(batch)
