"""Captum's layer methods on the residual stream: a map on the tokens that enter a block."""

from __future__ import annotations

from typing import cast

import torch
from captum.attr import LayerGradCam, LayerIntegratedGradients
from torch import Tensor, nn

from vmamba_explore.attribution.baselines import Baselines
from vmamba_explore.attribution.gradients import complete, one_by_one, which
from vmamba_explore.attribution.problem import Problem, at_least_one
from vmamba_explore.attribution.result import Found


def layer_grad_cam(problem: Problem, *, layer: int = -1, relu_attributions: bool = True) -> Found:
    """The tokens that enter a block, weighted by the mean gradient of each channel.

    Args:
        problem: What to explain; a class, not a `State`.
        layer: Block number; negative ones count from the last. A block's *outputs* at video tokens
            get no gradient in the last layer where the class token is read, its inputs do.
        relu_attributions: Keep the positive part only, as the method was published.
    Source:
        Selvaraju et al. 2017, arXiv:1610.02391; Captum's LayerGradCam.
    """
    layer = _layer(problem, layer, "layer_grad_cam")

    def explain(part: Problem) -> Tensor:
        tapped = _Tapped(part, layer)
        values = LayerGradCam(tapped, tapped.tap).attribute(
            part.inputs, relu_attributions=relu_attributions, **which(part)
        )
        return cast(Tensor, values)[:, 0]  # one channel is left

    return one_by_one(problem, explain)


def layer_integrated_gradients(
    problem: Problem, *, layer: int = 0, baselines: Baselines = "mean", n_steps: int = 50
) -> Found:
    """Integrated gradients along the path between the tokens of a baseline and of the clip.

    The values sum to f(clip) - f(baseline), class token included.

    Args:
        problem: What to explain; a class, not a `State`.
        layer: The block that the tokens enter; 0: the embedded clip. Negative ones count from the
            last.
        baselines: What to compare with, see `make_baselines`.
        n_steps: Points on the path.
    Source:
        Sundararajan, Taly and Yan 2017, arXiv:1703.01365; Captum's LayerIntegratedGradients.
    """
    layer = _layer(problem, layer, "layer_integrated_gradients")
    at_least_one("attribute", n_steps=n_steps)

    def explain(part: Problem, base: Tensor) -> Tensor:
        tapped = _Tapped(part, layer)
        values = LayerIntegratedGradients(tapped, tapped.tap).attribute(
            part.inputs,
            base,
            n_steps=n_steps,
            internal_batch_size=part.limits.gradient_rows,
            **which(part),
        )
        return cast(Tensor, values).sum(1)

    return complete(problem, baselines, explain)


class _Tapped(nn.Module):
    """The model with a module of its own where a block's input passes, channels first.

    Captum hangs its hooks on that module. Nothing before it needs a gradient.
    """

    def __init__(self, problem: Problem, layer: int) -> None:
        super().__init__()
        self.problem = problem
        self.layer = layer
        self.tap = _Tap()

    def forward(self, inputs: Tensor, which: Tensor) -> Tensor:
        problem, model = self.problem, self.problem.model
        if torch.is_grad_enabled():
            problem.passed(len(inputs))
        else:
            problem.cost.forward += len(inputs)
        with torch.no_grad():
            residual = model.tokens(inputs)
            for block in model.layers[: self.layer]:
                residual = block(residual)
        residual = self.tap(residual.mT).mT
        with model.recomputing(problem.limits.recompute):
            for block in model.layers[self.layer :]:
                residual = model.run_block(block, residual)
        return problem.pick(model.read_out(residual), which)


class _Tap(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return value.requires_grad_() if torch.is_grad_enabled() else value


def _layer(problem: Problem, layer: int, call: str) -> int:
    depth = len(problem.model.layers)
    if not -depth <= layer < depth:
        raise ValueError(f"{call}: there is no layer {layer}; the model has 0 to {depth - 1}.")
    return layer % depth
