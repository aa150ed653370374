"""Contrast: the number that an analysis reads from a model's output, such as a class's logit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vmamba_explore.errors import shown
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.model.videomamba import VideoMamba


@dataclass(frozen=True, eq=False)
class Contrast:
    """One number for each clip: the logit of a class, less that of another where there is one.

    In place of a class stands a direction over the output, the features of an encoder: the number
    is the output's dot product with it.

    Args:
        target: The class of each clip, (batch,), or its direction, (batch, outputs).
        minus: The class or direction whose number is subtracted, likewise, or None.
    """

    target: Int64[Tensor, " batch"] | Float[Tensor, "batch outputs"]
    minus: Int64[Tensor, " batch"] | Float[Tensor, "batch outputs"] | None = None

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
            target: A class, by number or name, one for all clips or one for each; or a direction,
                (outputs,) or (batch, outputs); a `Contrast` stands for both classes. None: the
                class that `logits` name.
            minus: The class whose logit is subtracted, likewise; None: none.
            call: The public function, for error messages.
            names: What that function calls the two arguments.
            logits: What the model answers, needed where `target` is None.
            distinct: Whether to refuse the same class twice.
        Raises:
            ValueError: no such class, not one for each clip, the same class twice, or a class of
                an encoder, which has none.
        """
        if isinstance(target, Contrast):
            minus = target.minus if minus is None else minus
            target = target.target
        if target is None and logits is not None and not model.is_encoder:
            target = logits.argmax(-1)
        if target is None:
            wanted = "a class"
            if model.is_encoder:
                wanted = f"a direction over the features of this encoder: {_numbers_of(model)}"
            raise ValueError(f"{call}: {names[0]} is None, expected {wanted}.")
        first = _of_model(model, batch, target, f"{call}: {names[0]}")
        second = None if minus is None else _of_model(model, batch, minus, f"{call}: {names[1]}")
        same = torch.zeros(batch, dtype=torch.bool)
        if second is not None and first.shape == second.shape:
            same = (first == second).reshape(batch, -1).all(1)
        if distinct and bool(same.any()):
            one = first[same][0]
            word = "direction" if one.is_floating_point() else f"class ({name_of(model, one)})"
            raise ValueError(
                f"{call}: {' and '.join(names)} are the same {word} for at least one clip, so "
                f"there is nothing to explain. Leave {names[1]} out, or give another one."
            )
        return cls(first, second)

    @property
    def is_of_classes(self) -> bool:
        """Whether the target is a class, not a direction."""
        return not self.target.is_floating_point()

    def of_logits(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, " batch"]:
        """Return the target's logit of each clip, less that of `minus`, at least float32.

        Args:
            logits: The output of the model, the features of an encoder.
        """
        logits = at_least_float32(logits)
        minus = 0 if self.minus is None else _along(logits, self.minus)
        return _along(logits, self.target) - minus

    def of_features(
        self, model: VideoMamba
    ) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, " batch"]]:
        """Return how the features make the number: the weight of each, and what the head adds."""
        if model.head is None:
            weight = at_least_float32(_rows(None, self.target))
            weight = weight if self.minus is None else weight - _rows(None, self.minus)
            return weight, torch.zeros_like(weight[:, 0])
        head = at_least_float32(model.head.weight)
        bias = torch.zeros_like(head[:, 0]) if model.head.bias is None else model.head.bias
        weight = _rows(head, self.target)
        weight = weight if self.minus is None else weight - _rows(head, self.minus)
        return weight, self.of_logits(bias.expand(len(self.target), -1))

    def take(self, which: Tensor | slice | Sequence[int]) -> Contrast:
        """Return the contrast of some of the clips, or of rows that repeat them."""
        return Contrast(self.target[which], None if self.minus is None else self.minus[which])


def _along(logits: Tensor, asked: Tensor) -> Tensor:
    if asked.is_floating_point():
        return (logits * asked).sum(-1)
    return logits[torch.arange(len(logits), device=logits.device), asked]


def _rows(head: Tensor | None, asked: Tensor) -> Tensor:
    """The direction over features of classes, or of directions over what the head gives."""
    if not asked.is_floating_point():
        assert head is not None  # an encoder's target is a direction, see `_of_model`
        return head[asked]
    return asked if head is None else asked.to(head) @ head


Classes = int | str | Sequence[int] | Sequence[str] | Tensor | np.ndarray | Contrast
"""A class by number or name, one for all clips or one for each; both classes of a contrast; or a
direction over the output, (outputs,) or (batch, outputs), floating."""


def _of_model(model: VideoMamba, batch: int, asked: Classes, what: str) -> Tensor:
    device = model.norm_f.weight.device
    if is_direction(asked):
        return as_direction(asked, batch, model.num_outputs, what, device=device)
    if model.is_encoder:
        raise ValueError(
            f"{what} is a class, and this model is an encoder, which has none; expected a "
            f"direction over its features: {_numbers_of(model)}."
        )
    count = model.config.num_classes
    return class_numbers(asked, batch, count, what, names=model.class_names, device=device)


def _numbers_of(model: VideoMamba) -> str:
    return f"a tensor or array of {model.num_outputs} floating-point numbers"


def is_direction(asked: object) -> bool:
    """Whether a target is meant as a direction: an array or a tensor of floating numbers."""
    if isinstance(asked, np.ndarray):
        return asked.ndim > 0 and np.issubdtype(asked.dtype, np.floating)
    return isinstance(asked, Tensor) and asked.ndim > 0 and asked.is_floating_point()


def as_direction(
    asked: Any, batch: int, outputs: int, what: str, *, device: torch.device | str | None = None
) -> Float[Tensor, "batch outputs"]:
    """Check a direction over a model's output, and give each clip its own.

    Args:
        asked: (outputs,) for all clips, or (batch, outputs).
        batch: Clips.
        outputs: Length of the output.
        what: The call and the argument, for error messages.
        device: Of the result.
    Raises:
        ValueError: another shape, or numbers that are not finite.
    """
    found = at_least_float32(torch.as_tensor(asked, device=device).detach())
    if found.shape not in ((outputs,), (batch, outputs)):
        raise ValueError(
            f"{what} has shape {tuple(found.shape)} and is {found.dtype}, expected class numbers, "
            f"whole numbers, or a direction over the output: ({outputs},), or ({batch}, {outputs})."
        )
    if not bool(found.isfinite().all()):
        raise ValueError(f"{what} has numbers that are not finite.")
    return found.expand(batch, outputs)


def name_of(model: VideoMamba, asked: Tensor) -> str:
    """Return what to call one clip's class, or "the direction"."""
    return "the direction" if asked.is_floating_point() else class_name(model, int(asked))


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
