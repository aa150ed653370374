"""Methods that follow the gradient to the pixels; Captum does the work."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, cast, get_args

import torch
from captum.attr import (
    DeepLift,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor, nn

from vmamba_explore.attribution.baselines import Baselines, parts_with_baselines
from vmamba_explore.attribution.problem import Problem, at_least_one
from vmamba_explore.attribution.result import Found, joined
from vmamba_explore.errors import shown

INTEGRATIONS = (
    "gausslegendre",
    *(f"riemann_{side}" for side in ("left", "right", "middle", "trapezoid")),
)
NoiseType = Literal["smoothgrad", "smoothgrad_sq", "vargrad"]


def saliency(problem: Problem, *, abs: bool = True) -> Found:
    """The gradient of the explained number at every pixel: where a small change matters.

    Args:
        abs: Its size only.
    Source:
        Simonyan, Vedaldi and Zisserman 2013, arXiv:1312.6034; Captum's Saliency.
    """
    return one_by_one(problem, lambda p: Saliency(p).attribute(p.inputs, abs=abs, **which(p)))


def input_x_gradient(problem: Problem) -> Found:
    """The gradient at every pixel times the pixel: what each adds, were the model linear.

    Zero is the mean color of the model's training set, so pixels of that color get nothing.

    Source:
        Shrikumar et al. 2016, arXiv:1605.01713; Captum's InputXGradient.
    """
    return one_by_one(problem, lambda p: InputXGradient(p).attribute(p.inputs, **which(p)))


def integrated_gradients(
    problem: Problem,
    *,
    baselines: Baselines = "mean",
    n_steps: int = 50,
    integration: str = "gausslegendre",
) -> Found:
    """The gradient along the straight path from a baseline to the clip, times their difference.

    The values sum to f(clip) - f(baseline) plus `convergence_delta`, the error of the integral.

    Args:
        baselines: Where the path starts, see `make_baselines`.
        n_steps: Points on the path.
        integration: The rule that places them: Captum's `method`, such as "riemann_trapezoid".
    Source:
        Sundararajan, Taly and Yan 2017, arXiv:1703.01365; Captum's IntegratedGradients.
    """
    at_least_one("attribute", n_steps=n_steps)
    if integration not in INTEGRATIONS:
        raise ValueError(
            f"integrated_gradients: integration is {shown(integration)}; expected one of "
            f"{', '.join(INTEGRATIONS)}."
        )

    def explain(part: Problem, base: Tensor) -> Tensor:
        values = IntegratedGradients(part, multiply_by_inputs=True).attribute(
            part.inputs,
            base,
            n_steps=n_steps,
            method=integration,
            internal_batch_size=part.limits.gradient_rows,
            **which(part),
        )
        return cast(Tensor, values)

    return complete(problem, baselines, explain)


def gradient_shap(
    problem: Problem,
    *,
    baselines: Baselines | tuple[Baselines, ...] = ("mean", "blur", "black"),
    n_samples: int = 20,
    stdevs: float | int = 0.0,
) -> Found:
    """The mean gradient at random points between the clip and baselines drawn at random.

    Args:
        baselines: Those to draw from, see `make_baselines`.
        n_samples: Random points.
        stdevs: Of the noise added to the clip first, in units of the model's input.
    Source:
        Lundberg and Lee 2017, arXiv:1705.07874; Captum's GradientShap. `convergence_delta` is the
        distance of the sum to f(clip) less the mean of f over the baselines.
    """
    baselines = baselines if isinstance(baselines, tuple) else (baselines,)
    at_least_one("attribute", n_samples=n_samples, baselines=len(baselines))

    def explain(part: Problem, choices: Tensor) -> Found:
        with part.seeded():
            total, left = torch.zeros_like(part.inputs), n_samples
            while left:  # Captum takes all samples at once
                count = min(left, part.limits.gradient_rows)
                values = GradientShap(part).attribute(
                    part.inputs, choices, n_samples=count, stdevs=stdevs, **which(part)
                )
                total, left = total + values * count / n_samples, left - count
        base = part(choices, part.which.repeat(len(choices))).mean(0, keepdim=True)
        return Found(total, base, _gap(part, total, base))

    parts = parts_with_baselines(problem, *baselines, rows=1)  # a clip's baselines are its own
    return cast(Found, joined(explain(part, torch.cat(choices)) for part, choices in parts))


def deep_lift(problem: Problem, *, baselines: Baselines = "mean") -> Found:
    """Captum's DeepLift, which has no rule for selective scans, SiLU gates and RMSNorm.

    Captum passes those with the plain gradient, so the result is gradient x (clip - baseline);
    `convergence_delta` says by how much it misses. `mamba_lrp` has rules for these parts.

    Args:
        baselines: What to compare with, see `make_baselines`.
    Source:
        Shrikumar, Greenside and Kundaje 2017, arXiv:1704.02685; Captum's DeepLift.
    """

    def explain(part: Problem, base: Tensor) -> Tensor:
        part.passed(2 * part.batch)
        with warnings.catch_warnings(), part.model.recomputing(part.limits.recompute):
            warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
            lift = DeepLift(_Number(part))
            return cast(Tensor, lift.attribute(part.inputs, base, **which(part)))

    found = complete(problem, baselines, explain, max(1, problem.limits.gradient_rows // 2))
    assert found.convergence_delta is not None and found.baseline_output is not None
    change = problem(problem.inputs) - found.baseline_output
    missed = float((found.convergence_delta.abs() / change.abs().clamp_min(1e-12)).max())
    if missed > 0.01:
        warnings.warn(
            f"deep_lift: the values miss f(clip) - f(baseline) by up to {missed:.0%}: Captum has "
            "no rule for selective scans, SiLU and RMSNorm. mamba_lrp has.",
            stacklevel=2,
        )
    return found


def noise_tunnel(
    problem: Problem,
    *,
    of: Literal["saliency", "input_x_gradient", "integrated_gradients"] = "saliency",
    nt_type: NoiseType = "smoothgrad",
    nt_samples: int = 16,
    stdevs: float | int = 0.3,
    **options: Any,
) -> Found:
    """Average another method's maps over noisy copies of the clip.

    Args:
        of: "saliency", "input_x_gradient" or "integrated_gradients".
        nt_type: "smoothgrad" (mean), "smoothgrad_sq" (mean square) or "vargrad" (variance).
        nt_samples: Noisy clips.
        stdevs: Of the noise, in units of the model's input (one is about a quarter of the range).
        options: `baselines` and `n_steps` of integrated_gradients.
    Source:
        Smilkov et al. 2017, arXiv:1706.03825; Captum's NoiseTunnel.
    """
    if nt_type not in get_args(NoiseType):
        raise ValueError(
            f"noise_tunnel: nt_type must be {', '.join(get_args(NoiseType))}, got {shown(nt_type)}."
        )
    at_least_one("attribute", nt_samples=nt_samples)
    kinds: dict[str, Any] = {
        "saliency": Saliency,
        "input_x_gradient": InputXGradient,
        "integrated_gradients": IntegratedGradients,
    }
    if of not in kinds:
        raise ValueError(f"noise_tunnel: of must be {', '.join(kinds)}, got {shown(of)}.")
    inner: dict[str, Any] = (
        {"baselines": "mean", "n_steps": 20} if of == "integrated_gradients" else {}
    )
    for name in options:
        if name not in inner:
            raise TypeError(f"noise_tunnel: {of} has no option {shown(name)} here.")
    inner |= options
    values = []
    base = [inner["baselines"]] if inner else []
    for part, own in parts_with_baselines(problem, *base):
        rows = part.limits.gradient_rows
        if own:
            inner |= {"baselines": own[0], "internal_batch_size": rows}
        with part.seeded():
            found = NoiseTunnel(kinds[of](part)).attribute(
                part.inputs,
                nt_type=nt_type,
                nt_samples=nt_samples,
                nt_samples_batch_size=max(1, rows // part.batch),
                stdevs=float(stdevs),
                **inner,
                **which(part),
            )
        values.append(cast(Tensor, found).detach())
    return Found(torch.cat(values))


class _Number(nn.Module):
    """The explained number as a module, for what Captum hangs its hooks on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.model = problem.model

    def forward(self, inputs: Tensor, which: Tensor) -> Tensor:
        return self.problem.number(inputs, which)


def which(problem: Problem) -> dict[str, Any]:
    """Tell Captum for which clip each row stands."""
    return {"additional_forward_args": (problem.which,)}


def one_by_one(problem: Problem, explain: Callable[[Problem], Tensor]) -> Found:
    """Explain the clips a group at a time."""
    return Found(torch.cat([explain(part).detach() for part in problem.parts()]))


def complete(
    problem: Problem,
    baselines: Baselines,
    explain: Callable[[Problem, Tensor], Tensor],
    rows: int | None = None,
) -> Found:
    """The same where values should sum to f(clip) - f(baseline), with how far they are off."""
    found = []
    for part, (base,) in parts_with_baselines(problem, baselines, rows=rows):
        values = explain(part, base).detach()
        output = part(base)
        found.append(Found(values, output, _gap(part, values, output)))
    return cast(Found, joined(found))


def _gap(problem: Problem, values: Tensor, base: Tensor) -> Tensor:
    """The values' sum less the change of the output, (batch,)."""
    return values.flatten(1).sum(1) - (problem(problem.inputs) - base)
