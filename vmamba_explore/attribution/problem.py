"""What is to be explained: one number that a model gives for each clip, and how to ask for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from vmamba_explore.attribution.budget import Limits
from vmamba_explore.attribution.result import Cost
from vmamba_explore.hooks import HookPoint, attached
from vmamba_explore.model.contrast import Contrast
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.trace import TokenLabels


@dataclass(frozen=True)
class State:
    """One number of a hidden state, as the target of an attribution: what made it what it is?

    Args:
        layer: Block number, from 0.
        direction: "forward" or "backward".
        token: Natural index of the token after which the state is looked at.
        channel: Of d_inner.
        state: Of d_state.
    """

    layer: int
    direction: str
    token: int
    channel: int
    state: int

    @property
    def hook(self) -> str:
        """The hook point that holds it."""
        return f"layers.{self.layer}.mixer.ssm_{self.direction}.hook_h"

    def of(self, h: Tensor) -> Tensor:
        """The number out of all states of its scan, (batch, d_inner, d_state, seqlen)."""
        return h[:, self.channel, self.state, self.token]


@dataclass(frozen=True, eq=False)
class Problem:
    """One number of a model for each clip of a batch, ready to be explained by any method.

    `problem(inputs)` gives that number, and its gradient, for any clips in slices that fit the
    memory budget. Captum gets `problem` as forward function and `problem.which` in
    `additional_forward_args`: repeated rows still know which clip's number is asked for.

    Args:
        model: The model, without gradients for its parameters.
        inputs: The clips, (batch, channels, num_frames, height, width), no gradient.
        asked: The classes of each clip whose logits make the number, or directions, or a `State`.
        labels: Places and times of the tokens.
        generator: The only source of randomness a method may use, on the CPU.
        seed: The generator's; for libraries that only know the global one (see `seeded`).
        limits: How many clips at a time.
        progress: Whether to show bars.
        cost: Counts what goes through the model.
        bar: Moves by the clips that have got their gradient, where there is one.
    """

    model: VideoMamba
    inputs: Tensor
    asked: Contrast | State
    labels: TokenLabels
    generator: torch.Generator
    seed: int
    limits: Limits
    progress: bool = True
    cost: Cost = field(default_factory=Cost)
    bar: tqdm | None = None

    @property
    def target(self) -> Tensor | State:
        """The class of each clip, (batch,), its direction, (batch, outputs), or the `State`."""
        return self.asked.target if isinstance(self.asked, Contrast) else self.asked

    @property
    def minus(self) -> Tensor | None:
        """The class whose logit is subtracted, (batch,), or a direction, or None."""
        return self.asked.minus if isinstance(self.asked, Contrast) else None

    @property
    def is_of_classes(self) -> bool:
        """Whether the target is a class, which has a probability."""
        return isinstance(self.asked, Contrast) and self.asked.is_of_classes

    @property
    def batch(self) -> int:
        """Clips."""
        return len(self.inputs)

    @property
    def which(self) -> Tensor:
        """The number of each clip, (batch,): Captum's `additional_forward_args`."""
        return torch.arange(self.batch, device=self.inputs.device)

    def __call__(self, inputs: Tensor, which: Tensor | None = None) -> Tensor:
        """Give the explained number of each row, (rows,); differentiable in `inputs`.

        Args:
            inputs: Clips, (rows, channels, num_frames, height, width).
            which: For which of the problem's clips each row stands, (rows,). None: in order.
        """
        which = self.which if which is None else which
        if len(which) != len(inputs):
            raise ValueError(
                f"Problem: got {len(inputs)} clips and {len(which)} numbers of clips; expected "
                "as many."
            )
        if torch.is_grad_enabled() and inputs.requires_grad:
            result: Tensor = _RowGradients.apply(inputs, which, self)
            return result
        with torch.no_grad():
            slices = chunks(len(inputs), self.limits.forward_rows)
            parts = [self.number(inputs[rows], which[rows]) for rows in slices]
        self.cost.forward += len(inputs)
        return torch.cat(parts)

    def number(self, inputs: Tensor, which: Tensor) -> Tensor:
        """The explained number of each row in one go, nothing counted, the graph kept."""
        if isinstance(self.asked, State):
            return self._state(inputs, self.asked)
        return self.pick(self.model(inputs), which)

    def pick(self, logits: Tensor, which: Tensor | None = None) -> Tensor:
        """The target's logit of each row, less that of `minus`, at least float32."""
        if isinstance(self.asked, State):
            raise ValueError(
                "attribute: this method reads logits, and the target is a State. Give a class, "
                "or choose a gradient or perturbation method."
            )
        return self.asked.take(self.which if which is None else which).of_logits(logits)

    def gradient(self, inputs: Tensor, which: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The explained number of each row and its gradient, of the shape of `inputs`."""
        which = self.which if which is None else which
        outputs, gradients = [], []
        for rows in chunks(len(inputs), self.limits.gradient_rows):
            part = inputs[rows].detach().requires_grad_()
            with torch.enable_grad(), self.model.recomputing(self.limits.recompute):
                output = self.number(part, which[rows])
                (gradient,) = torch.autograd.grad(output.sum(), part)
            outputs.append(output.detach())
            gradients.append(gradient)
            self.passed(len(part))
        return torch.cat(outputs), torch.cat(gradients)

    def passed(self, clips: int) -> None:
        """Count clips that went through the model and whose gradient came back."""
        self.cost.forward += clips
        self.cost.backward += clips
        if self.bar is not None:
            self.bar.update(clips)

    def parts(self, rows: int | None = None) -> Iterator[Problem]:
        """The same problem in groups of at most `rows` clips (None: as many as a gradient takes).

        They share the generator and the cost.
        """
        for part in chunks(self.batch, self.limits.gradient_rows if rows is None else rows):
            asked = self.asked if isinstance(self.asked, State) else self.asked.take(part)
            seconds = None if self.labels.seconds is None else self.labels.seconds[part]
            labels = replace(self.labels, seconds=seconds)
            yield replace(self, inputs=self.inputs[part], asked=asked, labels=labels)

    def watched(
        self, desc: str, unit: str, steps: Iterable[Any] | None = None, total: int | None = None
    ) -> tqdm:
        """A progress bar over `steps`, or up to `total`; hidden unless `progress`."""
        hidden = not self.progress
        return tqdm(steps, desc, total, unit=unit, leave=False, disable=hidden)

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Seed torch's and numpy's global generators for the duration of the block."""
        legacy, device = np.random.get_state(), self.inputs.device
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(self.seed)
                np.random.seed(self.seed % 2**32)
                yield
        finally:
            np.random.set_state(legacy)

    def _state(self, inputs: Tensor, state: State) -> Tensor:
        found: list[Tensor] = []

        def keep(h: Tensor, point: HookPoint) -> None:
            found.append(state.of(h))

        with attached(self.model, [(state.hook, keep)]):
            residual = self.model.tokens(inputs)
            for block in self.model.layers[: state.layer]:
                residual = self.model.run_block(block, residual)
            self.model.layers[state.layer](residual)
        return found[0]


class _RowGradients(torch.autograd.Function):
    """A number for each row and, at once, its gradient: rows are independent of each other."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, which: Tensor, problem: Problem) -> Tensor:
        output, gradient = problem.gradient(inputs, which)
        ctx.save_for_backward(gradient)
        return output

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        scale = upstream[0].view(-1, *(1,) * (gradient.ndim - 1))
        return gradient * scale.to(gradient), None, None


def chunks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `total`."""
    for i in range(math.ceil(total / size)):
        yield slice(i * size, (i + 1) * size)


def at_least_one(call: str, **numbers: int) -> None:
    """Raise a ValueError that names the call and the argument unless all numbers are 1 or more."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{call}: {name} is {number}, expected at least 1.")
