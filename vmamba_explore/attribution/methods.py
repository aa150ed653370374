"""One verb for every method: `attribute(model, clip, method="mamba_lrp")`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from tqdm.auto import tqdm

from vmamba_explore.attribution.budget import Limits
from vmamba_explore.attribution.problem import Problem, State, chunks
from vmamba_explore.attribution.result import Attribution, Cost, Found, finite
from vmamba_explore.errors import shown
from vmamba_explore.hooks import plain
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.model.contrast import Classes, Contrast
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import Clips, as_batch, clip_seconds
from vmamba_explore.trace.trace import TokenLabels

Target = Classes | State | None
"""Classes as for a `Contrast`; a state; None: the class that the model names."""
Method = Callable[..., Found]

METHODS: dict[str, str] = {
    "saliency": "gradients",
    "input_x_gradient": "gradients",
    "integrated_gradients": "gradients",
    "gradient_shap": "gradients",
    "deep_lift": "gradients",
    "noise_tunnel": "gradients",
    "layer_grad_cam": "layers",
    "layer_integrated_gradients": "layers",
    "occlusion": "removal",
    "feature_ablation": "removal",
    "shapley_value_sampling": "shapley",
    "kernel_shap": "shapley",
    "drop_tokens": "removal",
    "extremal_perturbation": "tubes",
    "mamba_lrp": "lrp",
    "attention_rollout": "hidden",
    "attention_x_gradient": "hidden",
    "delta": "hidden",
    "delta_x_gradient": "hidden",
    "selection_path": "hidden",
    "state_x_gradient": "states",
    "state_gradient": "states",
    "random": "controls",
    "frame_difference": "controls",
    "edge_energy": "controls",
    "center_prior": "controls",
}
"""Every method, and the module of `vmamba_explore.attribution` that it is in."""


def attribute(
    model: VideoMamba,
    clips: Clips,
    target: Target = None,
    method: str = "integrated_gradients",
    *,
    minus: Classes | None = None,
    seed: int = 0,
    budget_gib: float | int = 1.0,
    progress: bool = True,
    **options: Any,
) -> Attribution:
    """Say how much each place of a clip contributed to what a model gave for it.

    Args:
        model: The model; it does not change, so other threads may run it meanwhile.
        clips: A tensor (batch, channels, num_frames, H, W), a `Clip`, or a list of them.
        target: What to explain: the logit of a class, by number or name, one for all clips or one
            for each; what the output has along a direction, floating, (outputs,) or (batch,
            outputs): of an encoder over its features; a `State`, one number of a hidden state;
            None: the predicted class.
        method: One of `METHODS`; `help(method_function("mamba_lrp"))` describes its options.
        minus: A class, or direction, that is subtracted: why this class and not that one?
        seed: Of everything random; the same seed, clips and budget give the same values.
        budget_gib: Memory to use above what is used now, GiB: it decides how many clips run at a
            time, and whether blocks are recomputed for their gradient.
        progress: Whether long methods show a bar.
        options: Of the method.
    Raises:
        KeyError: no such method.
        TypeError: an option that the method does not have, or an argument that is not clips.
        ValueError: no such class or state, clips of another shape than the model's, or a value
            that an option does not take.
        MemoryError: not even one clip fits into the budget.
    """
    function = method_function(method, options)
    started = time.perf_counter()
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require")
        problem = make_problem(
            plain(model).with_constant_weights(), clips, target,
            minus=minus, seed=seed, budget_gib=budget_gib, progress=progress,
        )  # fmt: skip
        with _bar(method, progress) as bar:
            found = function(replace(problem, bar=bar), **options)
        output = problem(problem.inputs)
    problem.cost.seconds = time.perf_counter() - started
    call = {"target": problem.target, "method": method, "minus": problem.minus, "seed": seed}
    return Attribution(
        values=finite(found.values, method),
        method=method,
        call={**call, "budget_gib": budget_gib, **options},
        target=problem.target,
        output=output,
        baseline_output=found.baseline_output,
        convergence_delta=found.convergence_delta,
        cost=problem.cost,
        labels=problem.labels,
        details=found.details,
        model_id=fingerprint(plain(model)),
    )


def method_function(method: str, options: dict[str, Any] | None = None) -> Method:
    """The function behind a method: its documentation and its options.

    Raises:
        KeyError: no such method; the message gives the nearest one.
        TypeError: one of `options` is none of the method's.
    """
    if method not in METHODS:
        (near,) = difflib.get_close_matches(str(method), METHODS, n=1, cutoff=0)
        raise UnknownMethodError(
            f"attribute: there is no method {shown(method)}. Closest: {shown(near)}. "
            f"All of them: {', '.join(METHODS)}."
        )
    module = importlib.import_module(f"vmamba_explore.attribution.{METHODS[method]}")
    function: Method = getattr(module, method)
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in options or {}:
        if name not in known and not any_name:
            has = f"its options are {', '.join(known)}" if known else "it has no options"
            raise TypeError(f"attribute: {method} has no option {shown(name)}; {has}.")
    return function


class UnknownMethodError(KeyError):
    """A method that does not exist; the message gives the nearest one."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


def make_problem(
    model: VideoMamba,
    clips: Clips,
    target: Target = None,
    *,
    minus: Classes | None = None,
    seed: int = 0,
    budget_gib: float | int = 1.0,
    progress: bool = False,
) -> Problem:
    """Put together what is to be explained; arguments as for `attribute`.

    Raises:
        As `attribute`.
    """
    inputs = as_batch(model, clips).detach()
    if inputs.is_inference():  # cannot take part in a gradient, a copy of it can
        inputs = inputs.clone()
    if not inputs.is_floating_point() or not bool(torch.isfinite(inputs).all()):
        raise ValueError(
            "attribute: the clips have pixels that are not finite; expected what Clip.tensor() "
            "gives."
        )
    model.check_whole("attribute")
    labels = TokenLabels(model.grid, model.config.tubelet_size, clip_seconds(clips))
    cost = Cost()
    limits = Limits.within(model, budget_gib, observes_states=isinstance(target, State))
    asked: Contrast | State
    if isinstance(target, State):
        asked = _checked(target, model)
        if minus is not None:
            raise ValueError("attribute: minus goes with a class, and the target is a State.")
    else:
        logits = None
        if target is None:
            with torch.no_grad():
                parts = [model(inputs[rows]) for rows in chunks(len(inputs), limits.forward_rows)]
            logits = torch.cat(parts)
            cost.forward += len(inputs)
        asked = Contrast.of(
            model, len(inputs), target, minus, "attribute", logits=logits, distinct=True
        )
    generator = torch.Generator().manual_seed(seed)
    return Problem(model, inputs, asked, labels, generator, seed, limits, progress, cost)


def _bar(method: str, progress: bool) -> tqdm:
    """A bar for Captum's methods, which have none; it appears after a second."""
    hidden = not progress or METHODS[method] not in ("gradients", "layers")
    return tqdm(desc=method, unit="clip", leave=False, delay=1, disable=hidden)


def _checked(state: State, model: VideoMamba) -> State:
    depth = len(model.layers)
    if not 0 <= state.layer < depth or state.direction not in model.config.directions:
        raise ValueError(
            f"attribute: there is no layer {state.layer} {shown(state.direction)}; the model has "
            f"layers 0 to {depth - 1}, {' and '.join(model.config.directions)}."
        )
    config = model.config
    limits = {"token": config.grid.seqlen, "channel": config.d_inner, "state": config.d_state}
    for name, count in limits.items():
        if not 0 <= (value := getattr(state, name)) < count:
            raise ValueError(
                f"attribute: the target's {name} is {value}; this model has 0 to {count - 1}."
            )
    return state
