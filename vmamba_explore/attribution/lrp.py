"""MambaLRP: a logit handed back layer by layer, through scans that hold their selection still."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.attribution.lrp_rules import (
    ALL_RULES,
    RULES,
    ModifiedBlock,
    checked_rules,
    layer_norm,
    rms_norm,
)
from vmamba_explore.attribution.problem import Problem
from vmamba_explore.attribution.result import Found, joined
from vmamba_explore.errors import shown
from vmamba_explore.hooks import hook_points
from vmamba_explore.model.contrast import Contrast
from vmamba_explore.model.mixer import Block
from vmamba_explore.model.ssm import SelectiveSSM, at_least_float32
from vmamba_explore.model.videomamba import VideoMamba

Space = Literal["tokens", "pixels"]
Visit = Callable[[int, ModifiedBlock, Tensor, dict[str, Tensor]], None]
"""Gets a layer, its run, the gradient past its gate, and by direction that of y."""


def mamba_lrp(
    problem: Problem, *, rules: Collection[str] = ALL_RULES, space: Space = "tokens"
) -> Found:
    """Split a logit over the tokens of a clip with the relevance rules made for Mamba.

    Relevance is R_i = x_i df/dx_i, where f is the model with some factors held constant: it is
    linear in the rest, so each layer's input has as much relevance as its output. The logits do
    not change. With sg for "held constant"::

        RMSNorm                  x * sg(1 / rms(x)) * w
        SiLU                     x * sg(sigmoid(x)), after the convolution and in the gate
        selective scan           sg(exp(delta A)), sg(delta B), sg(C); u and D u are live
        gate o = y * g           o / 2 + sg(o) / 2, each direction before the two are added

    and nothing at linear layers, convolutions, residuals and means. `Found.details` is the
    `Conservation`: tokens, positions, class token and every bias add up to the logit. The map
    lacks what positions and biases hold: `convergence_delta` says how much.

    delta, B and C depend on the clip too but are held and get no relevance: `selection_path`
    shows theirs. Blocks are recomputed one at a time, so only one block's graph is ever stored.

    For the reader to judge: some hold that layer-wise relevance propagation is patented where it
    is used commercially.

    Args:
        problem: What to explain; a class, not a `State`.
        rules: Which of `RULES` to apply: "norm", "conv_silu", "gate_silu", "scan", "gate". Without
            any of them this is gradient times input.
        space: "tokens", (batch, seqlen), the class token's own relevance included; or "pixels",
            (batch, channels, num_frames, height, width), which sum to the tokens' over a tubelet.
    Raises:
        ValueError: an unknown rule or space, a `State` as target, or functions, handovers or cuts
            attached to the model.
    Source:
        Jafari et al. 2024 (MambaLRP), arXiv:2406.07592, section 4, there for models that read in
        one direction; here each direction has its own half of the gate rule.
    """
    chosen = checked_rules(rules)
    if space not in get_args(Space):
        raise ValueError(f"mamba_lrp: space must be tokens or pixels, got {shown(space)}.")

    def explained(part: Problem, passed: Passed) -> Found:
        tokens, ledger = token_ledger(part, passed, chosen)
        return Found(tokens if space == "tokens" else _on_pixels(part, passed), details=ledger)

    found: Found = joined(explained(*each) for each in relevance_passes(problem, chosen))
    missed = found.values.flatten(1).sum(1) - found.details.logit
    return replace(found, convergence_delta=missed)


@dataclass(frozen=True, eq=False)
class Passed:
    """What is left when a logit has been handed back through all blocks.

    Attributes:
        output: The explained number, (batch,).
        gradient: Of the embedded clip, (batch, seqlen, d_model).
        by_layer: As in `Conservation`.
        biases: Relevance of the biases in the blocks and the head, (batch,) each.
    """

    output: Tensor
    gradient: Tensor
    by_layer: Tensor
    biases: dict[str, Tensor]


def relevance_passes(
    problem: Problem, rules: frozenset[str], visit: Visit | None = None
) -> Iterator[tuple[Problem, Passed]]:
    """Hand the explained number back through the blocks, a group of clips at a time.

    Args:
        rules: Which to apply.
        visit: Called for every block of every group, the last block first.
    """
    _refuse_hooks(problem.model)
    parts = list(problem.parts())
    steps = len(parts) * len(problem.model.layers)
    with problem.watched("relevance", "block", total=steps) as bar:
        for part in parts:
            yield part, _pass_back(part, rules, visit, bar)
            problem.cost.forward += 2 * part.batch  # the model, and the blocks with factors held
            problem.cost.backward += part.batch


def _pass_back(problem: Problem, rules: frozenset[str], visit: Visit | None, bar: tqdm) -> Passed:
    model, depth = problem.model, len(problem.model.layers)
    weight = at_least_float32(model.norm_f.weight)
    # filled in place: small tensors made on the way would split the gaps that large ones leave
    by_layer = weight.new_zeros(depth + 1, problem.batch)
    biases = {name: weight.new_zeros(problem.batch) for name in _biases(model)}
    with torch.no_grad():
        residual = model.tokens(problem.inputs)
        inputs = [residual]
        for layer in model.layers:
            residual = layer(residual)
            inputs.append(residual)
    output, gradient = _read_out(problem, residual, rules, biases)
    del residual
    by_layer[depth] = (inputs.pop() * gradient).sum((1, 2))
    for number in reversed(range(depth)):
        start = inputs.pop()
        gradient = _through_block(model, number, start, gradient, rules, biases, visit)
        by_layer[number] = (start * gradient).sum((1, 2))
        bar.update()
    return Passed(output, gradient, by_layer.T, biases)


def _through_block(
    model: VideoMamba,
    number: int,
    start: Tensor,
    gradient: Tensor,
    rules: frozenset[str],
    biases: dict[str, Tensor],
    visit: Visit | None,
) -> Tensor:
    """The gradient at a block's input, from that at its output; its biases are written down."""
    block, start = cast(Block, model.layers[number]), start.detach().requires_grad_()
    with torch.enable_grad():
        run = ModifiedBlock.run(block, start, rules, keep=visit is not None)
    weight = block.mixer.out_proj.weight.detach()
    v = gradient.to(weight.dtype) @ weight
    through, *of_y = torch.autograd.grad(run.mixed, [start, *run.y.values()], v)
    for name, relevance in run.biases.items():
        biases[_conv_bias(number, name)].copy_(relevance)
    if visit is not None:
        visit(number, run, block.mixer.scale * v.mT, dict(zip(run.y, of_y, strict=True)))
    return gradient + through


def _conv_bias(layer: int, direction: str) -> str:
    return f"layers.{layer}.mixer.ssm_{direction}.conv1d.bias"


def _biases(model: VideoMamba) -> list[str]:
    """The biases past the embedding that add something, by parameter name, input to output."""
    names = [
        _conv_bias(number, name)
        for number, block in enumerate(model.layers)
        for name, ssm in cast(Block, block).mixer.directions.items()
        if ssm.conv1d.bias is not None
    ]
    if model.pool_norm is not None:
        names.append("pool_norm.bias")
    if model.head is not None and model.head.bias is not None:
        names.append("head.bias")
    return names


def _read_out(
    problem: Problem, residual: Tensor, rules: frozenset[str], biases: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """The explained number and its gradient at the last residual stream."""
    model = problem.model
    with torch.enable_grad():
        start = residual.detach().requires_grad_()
        read = rms_norm(model.norm_f, model.read_tokens(start), "norm" in rules)
        found = model.pooled(read)
        if model.pool_norm is not None:
            found = layer_norm(model.pool_norm, found, "norm" in rules)
            weight, _ = cast(Contrast, problem.asked).of_features(model)
            biases["pool_norm.bias"].copy_((weight * model.pool_norm.bias).sum(-1))
        if model.head is not None:
            found = F.linear(found, model.head.weight)
            if model.head.bias is not None:
                bias = model.head.bias.detach().expand_as(found)
                biases["head.bias"].copy_(problem.pick(bias))
                found = found + bias
        output = problem.pick(found)
        (gradient,) = torch.autograd.grad(output.sum(), start)
    return output.detach(), gradient


@torch.no_grad()
def token_ledger(
    problem: Problem, passed: Passed, rules: frozenset[str]
) -> tuple[Tensor, Conservation]:
    """The relevance of each token, class token included, and where the rest of the logit is."""
    model, grid = problem.model, problem.labels.grid
    video, cls = grid.split(passed.gradient, dim=1)
    video = video.flatten(1, 3)
    bias, (position, cls_position) = model.patch_embed.proj.bias, model.positions()
    content = at_least_float32(model.patch_embed(problem.inputs.to(model.norm_f.weight.dtype)))
    if bias is not None:
        content = content - bias
    tokens, zero = (content * video).sum(-1), video.new_zeros(len(video))
    entries, absolute = {"tokens": tokens.sum(1)}, tokens.abs().sum(1)
    if position is not None:
        of_positions = (position * video).sum(-1)
        of_cls = zero
        if cls is not None and cls_position is not None:
            of_cls = (cls_position * cls.view(len(cls), -1, cls.shape[-1])).sum((1, 2))
        entries["positions"] = of_positions.sum(1) + of_cls
        absolute = absolute + of_positions.abs().sum(1) + of_cls.abs()
    if cls is not None and model.cls_token is not None:
        each = (model.cls_token * cls.view(len(cls), -1, cls.shape[-1])).sum(-1, keepdim=True)
        entries["class token"] = each.sum((1, 2))
        absolute = absolute + each.abs().sum((1, 2))
        tokens = grid.insert_cls(tokens.unsqueeze(-1), each).squeeze(-1)
    biases = passed.biases
    if bias is not None:
        biases = {"patch_embed.proj.bias": (bias * video).sum((1, 2)), **biases}
    absolute = absolute + sum(x.abs() for x in biases.values())
    off = tuple(rule for rule in RULES if rule not in rules)
    return tokens, Conservation(entries | biases, passed.output, absolute, passed.by_layer, off)


def _on_pixels(problem: Problem, passed: Passed) -> Tensor:
    """The relevance of each pixel, through the patch embedding alone."""
    model = problem.model
    video, _ = problem.labels.grid.split(passed.gradient, dim=1)
    with torch.enable_grad():
        clips = problem.inputs.to(model.norm_f.weight.dtype).detach().requires_grad_()
        embedded = model.patch_embed(clips)
        upstream = video.flatten(1, 3).to(embedded.dtype)
        (gradient,) = torch.autograd.grad(embedded, clips, upstream)
    return (clips * gradient).detach()


def _refuse_hooks(model: VideoMamba) -> None:
    """Raise ValueError where something is attached that a held block would not go through."""
    busy = [name for name, point in hook_points(model).items() if point.is_active]
    for name, module in model.named_modules():
        if isinstance(module, SelectiveSSM) and (
            module.handovers or module.cuts or module.convolved
        ):
            busy.append(name)
    if busy:
        raise ValueError(
            f"mamba_lrp: something is attached to {busy[0]}, and relevance is handed back through "
            "the model as it is. Leave the `with` block of the hook or intervention first."
        )
