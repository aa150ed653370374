"""Both directions of the scan on the CPU as one torch custom operator.

The forward scan leaves its y in the memory of the result, the backward scan adds its own to it and
gates the sum: two passes over the inputs, none over anything else.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.jit.tasks import readable, token_order
from vmamba_kernels.scan.cpu_launch import (
    SCHEMA,
    Sizes,
    grad_z_shape,
    gradient_shapes,
    prepared,
    run_forward,
    run_gradient,
    wants_gradient,
)
from vmamba_kernels.scan.types import ScanInputs

_CALL = "bidirectional_selective_scan"
_FIELDS = len(ScanInputs._fields)
_INPUTS = f"{SCHEMA}, {SCHEMA.replace(',', '_backward,')}_backward, Tensor? z, Tensor? order"


def bidirectional(
    forward: ScanInputs,
    backward: ScanInputs,
    z: Tensor | None,
    delta_softplus: bool,
    order: Tensor | None,
) -> Tensor:
    """Run both directions and gate their sum; results as in `naive.bidirectional`."""
    z = None if z is None else readable(z)
    given = *prepared(forward), *prepared(backward), z
    y, _, _ = _forward(*given, order, delta_softplus, wants_gradient(*given))
    return y.to(forward.u.dtype)


@torch.library.custom_op(
    "vmamba_kernels::bidirectional_scan_cpu",
    mutates_args=(),
    schema=f"({_INPUTS}, bool delta_softplus, bool keep_starts) -> (Tensor, Tensor, Tensor)",
)
def _forward(*inputs: Any) -> tuple[Tensor, ...]:
    """y, and for the gradient the states of both directions at the starts of chunks."""
    directions, (z, order, softplus, keep_starts) = _split(inputs)
    y, *starts = _memory(directions, keep_starts)
    y_first = y if y.dtype == torch.float32 else torch.empty_like(y, dtype=torch.float32)
    for given, part, states in zip(directions, ("first", "second"), starts, strict=True):
        sizes = Sizes(given)
        steps, into = _steps(sizes, part, order), y_first if part == "first" else y
        run_forward(sizes, given, z, softplus, steps, part, into, y_first=y_first, starts=states)
    return _results(y, starts)


@_forward.register_fake
def _forward_shapes(*inputs: Any) -> tuple[Tensor, ...]:
    directions, (*_, keep_starts) = _split(inputs)
    y, *starts = _memory(directions, keep_starts)
    return _results(y, starts)


@torch.library.custom_op(
    "vmamba_kernels::bidirectional_scan_cpu_gradient",
    mutates_args=(),
    schema=f"({_INPUTS}, bool delta_softplus, Tensor starts, Tensor starts_backward, "
    f"Tensor grad_y) -> ({', '.join(['Tensor'] * (2 * _FIELDS + 1))})",
)
def _gradient(*inputs: Any) -> tuple[Tensor, ...]:
    """One gradient for each tensor of the two directions, then z's."""
    directions, (z, order, softplus, *starts, grad_y) = _split(inputs)
    sizes = [Sizes(given) for given in directions]
    grad_z = None if z is None else sizes[0].empty_tokens(z)
    y_first = grad_z
    if grad_z is not None and grad_z.dtype != torch.float32:
        y_first = torch.empty_like(grad_z, dtype=torch.float32)
    grads: list[Tensor] = []
    for i, part in enumerate(("first", "second")):
        steps = _steps(sizes[i], part, order)
        grads += run_gradient(
            sizes[i], directions[i], z, softplus, steps, part, starts[i], grad_y, grad_z,
            y_first=y_first,
        )  # fmt: skip
    return *grads, starts[0].new_empty(0) if grad_z is None else grad_z.transpose(1, 2)


@_gradient.register_fake
def _gradient_shapes(*inputs: Any) -> tuple[Tensor, ...]:
    directions, (z, *_) = _split(inputs)
    grads = [grad for given in directions for grad in gradient_shapes(given)]
    return *grads, grad_z_shape(directions[0], z)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.delta_softplus, ctx.keep_starts = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output[1:])


def _backward(ctx: Any, grad_y: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    *given, order, starts, starts_backward = ctx.saved_tensors
    nothing = [None] * (len(given) + 3)
    if grad_y is None:
        return tuple(nothing)
    if not ctx.keep_starts:
        _, starts, starts_backward = _forward(*given, order, ctx.delta_softplus, True)
    grads = _gradient(*given, order, ctx.delta_softplus, starts, starts_backward, grad_y)
    wanted = [None if x is None else grad for x, grad in zip(given, grads, strict=True)]
    return *wanted, None, None, None


def _no_second_gradient(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError(
        f'{_CALL}: backend="cpu" has no gradient of its gradient. '
        'Use backend="naive" to differentiate twice.'
    )


_forward.register_autograd(_backward, setup_context=_setup_context)
_gradient.register_autograd(_no_second_gradient)


def _split(inputs: tuple[Any, ...]) -> tuple[tuple[ScanInputs, ScanInputs], tuple[Any, ...]]:
    """An operator's arguments: both directions, and the others."""
    forward, backward = inputs[:_FIELDS], inputs[_FIELDS : 2 * _FIELDS]
    return (ScanInputs(*forward), ScanInputs(*backward)), inputs[2 * _FIELDS :]


def _steps(sizes: Sizes, part: str, order: Tensor | None) -> Tensor:
    """The tokens in the order in which one direction reads them."""
    backward = part == "second"
    return token_order(_CALL, sizes.seqlen, backward, order if backward else None)


def _results(y: Tensor, starts: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """What the forward operator returns."""
    nothing = [y.new_empty(0, dtype=torch.float32) for _ in starts]
    return y, *(no if x is None else x for no, x in zip(nothing, starts, strict=True))


def _memory(
    directions: tuple[ScanInputs, ScanInputs], keep_starts: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Memory for y, and for each direction's states at the starts of chunks."""
    forward, backward = (Sizes(given) for given in directions)
    y = forward.empty_output(directions[0].u)
    if not keep_starts:
        return y, None, None
    return y, forward.empty_starts(), backward.empty_starts()
