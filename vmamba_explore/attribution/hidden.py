"""Methods that look inside the scans: hidden attention, step sizes, and the selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from vmamba_explore.analysis.rollout import attention_rollout as rollout_of_trace
from vmamba_explore.analysis.scan_operator import Kind
from vmamba_explore.attribution.problem import Problem, State
from vmamba_explore.attribution.result import Found, joined
from vmamba_explore.attribution.scan_gradients import (
    ScanGradient,
    ScanParts,
    as_found,
    chosen_scans,
    frozen_scan,
    over_scans,
)
from vmamba_explore.errors import shown
from vmamba_explore.hooks import HookPoint, attached
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.trace.places import Layers, Scan
from vmamba_explore.trace.record import run_with_trace

Selection = Literal["delta", "B", "C"]


def attention_rollout(problem: Problem, *, kind: Kind = "beta", sampled: int = 1) -> Found:
    """What the read-out draws from every token, through all layers, whatever the class.

    The layers' matrices, of absolute values and with rows that sum to 1, are followed back from
    what the logits read; half of the weight stays in place at every layer, as on the residual
    path. The values are non-negative, sum to 1 and are the same for every target. Frozen: delta,
    B and C, and with "beta" both gates; cancellation is lost (`details.cancellation`).

    Args:
        problem: What to explain; a class, not a `State`.
        kind: "beta" for the whole mixer, "alpha" for the scans alone.
        sampled: In how many rows the cancellation is measured, a scan for each.
    Returns:
        Values on the tokens, and in `details` the `analysis.rollout.Rollout`.
    Raises:
        ValueError: the target is a `State`, or an option has no such value.
    Source:
        As `analysis.rollout.attention_rollout`.
    """
    if isinstance(problem.target, State):
        raise ValueError(
            "attention_rollout: it follows what the logits read, and the target is a State. Give "
            "a class, or use attention_x_gradient."
        )
    if kind not in get_args(Kind):
        raise ValueError(f"attention_rollout: kind must be alpha or beta, got {shown(kind)}.")
    found = []
    # the majorants of a layer take as much again as the gradient of a block
    for part in problem.parts(max(1, problem.limits.gradient_rows // 2)):
        with torch.no_grad():
            # the rest of each layer is recomputed from its block's input when it is needed
            _, trace = run_with_trace(
                problem.model, part.inputs, "*.hook_block_input", budget_gib=float("inf")
            )
            found.append(
                rollout_of_trace(trace, kind=kind, sampled=sampled, progress=problem.progress)
            )
        problem.cost.forward += part.batch
    whole = replace(joined(found), labels=problem.labels)
    return Found(whole.values[:, 0], details=whole)


def attention_x_gradient(
    problem: Problem,
    *,
    layers: Layers = None,
    direction: str | None = None,
    positive: bool = False,
) -> Found:
    """Hidden attention times its gradient: what the scans write at each token for later readers.

    With f the explained number, y the scan's output and v = df/dy its whole gradient there, in
    each layer and direction::

        value_s = sum over d, t of  alpha[t, s, d] df/dalpha[t, s, d]  =  sum_d u_s (alpha^T v)_s

    y is linear in u and, step by step, in B, so this is also the sum over n of B_s df/dB_s: it
    needs no matrix and no further scan (but one where the scan starts from the first token's u, as
    VideoMambaPro's does). Summed over layers and directions. Frozen in the layer
    itself: delta, B and C (see `selection_path`), without the skip D; everything after it is
    differentiated in full. A later layer's token already holds what earlier layers brought to it.

    Args:
        problem: What to explain, a class or a `State`.
        layers: Which, None for all (up to that of a `State`).
        direction: "forward", "backward" or None for both.
        positive: Keep the positive values only, layer by layer and direction by direction.
    Returns:
        Values on the tokens, and in `details` a `ScanParts`, by layer and direction.
    Raises:
        ValueError: there is no such layer or direction.
    Source:
        Ali, Zimerman and Wolf 2024, arXiv:2403.01590, section 4; Chefer, Gur and Wolf 2021,
        arXiv:2103.15679, equation 5 for attention. Here the sum over readers is signed unless
        `positive`, which clips after that sum, and layers are added, not multiplied.
    """

    def attended(found: ScanGradient) -> Tensor:
        frozen, read = frozen_scan(found, problem.target)
        return (at_least_float32(found.values["u"]) * frozen.adjoint(read)).sum(1)

    name, place = "attention x gradient", (layers, direction)
    if problem.model.config.scan_variant == "mamba":
        found = over_scans(problem, ["B"], name, *place)
    else:
        found = over_scans(problem, ["u", "delta", "B", "C", "y"], name, *place, attended)
    if positive:
        found = replace(found, values=found.values.clamp_min(0))
    return as_found(found)


def delta(problem: Problem, *, layers: Layers = None, direction: str | None = None) -> Found:
    """The mean step size at each token: how strongly the scans take it in, whatever the class.

    Needs no gradient. Large where the scan replaces its state by the token; the same for every
    target: it shows where a model looks, not what it concludes.

    Args:
        layers: Which, None for all (up to that of a `State`).
        direction: "forward", "backward" or None for both.
    Returns:
        The mean over channels, layers and directions, on the tokens; in `details` a `ScanParts`
        with the mean over channels for each layer and direction.
    Raises:
        ValueError: there is no such layer or direction.
    Source:
        Park et al. 2024, arXiv:2407.08476, figure 4.
    """
    chosen = chosen_scans(problem, layers, direction)
    by_name = {scan.ssm.hook_delta.name: scan for scan in chosen}
    groups: list[dict[Scan, Tensor]] = []

    def keep(value: Tensor, point: HookPoint) -> None:
        groups[-1][by_name[point.name]] = at_least_float32(value).mean(1)

    for part in problem.parts(problem.limits.forward_rows):
        groups.append({})
        with torch.no_grad(), attached(problem.model, [(name, keep) for name in by_name]):
            residual = problem.model.tokens(part.inputs)
            for block in problem.model.layers[: chosen[-1].layer + 1]:
                residual = block(residual)
        problem.cost.forward += part.batch
    parts = ScanParts.of(problem, "mean delta", chosen, groups)
    return Found(parts.values.mean((1, 2)), details=parts)


def delta_x_gradient(
    problem: Problem, *, layers: Layers = None, direction: str | None = None
) -> Found:
    """Step size times its gradient: what each token's delta does to the number, to first order.

    The sum over channels, layers and directions of delta df/ddelta: how the number changes if
    every step size at that token grows by the same small share, through what is written and what
    is forgotten there; u, B and C of the layer are held.

    Args:
        problem: What to explain, a class or a `State`.
        layers: Which, None for all (up to that of a `State`).
        direction: "forward", "backward" or None for both.
    Returns:
        Values on the tokens, and in `details` a `ScanParts`, by layer and direction.
    Raises:
        ValueError: there is no such layer or direction.
    """
    return as_found(over_scans(problem, ["delta"], "delta x gradient", layers, direction))


def selection_path(
    problem: Problem,
    *,
    of: Sequence[Selection] = ("delta", "B", "C"),
    layers: Layers = None,
    direction: str | None = None,
) -> Found:
    """Gradient times input through the selection, the path that hidden attention freezes.

    In each layer and direction, and then summed::

        value_t = sum_d delta_t df/ddelta_t + sum_n B_t df/dB_t + sum_n C_t df/dC_t

    The scan's input u is held; everything after the layer is differentiated in full. The term in
    B equals `attention_x_gradient` (y is linear in the product of u and B), but for what the first
    token of a VideoMambaPro gives the state at the start: do not add the two maps. The term in C is
    what is read there.

    Args:
        problem: What to explain, a class or a `State`.
        of: Which of "delta", "B" and "C".
        layers: Which, None for all (up to that of a `State`).
        direction: "forward", "backward" or None for both.
    Returns:
        Values on the tokens, and in `details` a `ScanParts`, by layer and direction.
    Raises:
        ValueError: there is no such layer, direction or quantity.
    """
    names, known = dict.fromkeys(of), get_args(Selection)
    if isinstance(of, str) or not names or not set(names) <= set(known):
        raise ValueError(
            f"selection_path: of must be a list of one or more of {', '.join(known)}, got "
            f"{shown(of)}."
        )
    return as_found(over_scans(problem, tuple(names), "selection path", layers, direction))
