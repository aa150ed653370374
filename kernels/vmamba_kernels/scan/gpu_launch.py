"""The scan on a GPU: what `operators` asks of a backend, by Triton kernels.

In memory everything is token-major, (batch, seqlen, d_inner), and states are (batch, rows, d_state,
d_inner); the results are views of it in the public axis order.
"""

from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.checks import check_permutation
from vmamba_kernels.operators import Results, token_major_like
from vmamba_kernels.scan import gpu_forward
from vmamba_kernels.scan.gpu_forward import COMPILATION, Kept, contiguous, on_device, tokens_of
from vmamba_kernels.scan.gpu_gradient import gradient
from vmamba_kernels.scan.gpu_kernels import (
    CHUNK,
    gated_sum_gradient_kernel,
    gated_sum_kernel,
    step_size_kernel,
)
from vmamba_kernels.types import ScanInputs, ScanOptions

KEEPS_TOTAL = True  # the gradient of both directions starts from their sum


def scan(
    given: ScanInputs, z: Tensor | None, options: ScanOptions, tokens: Tensor | None, keep: bool
) -> Results:
    """See `operators.Launch`."""
    options = _checked(options, given.u)
    kept = None if tokens is None else Kept(tokens, given.u.shape[2])
    where = {} if kept is None else kept.where(options, given.u.device)
    found = gpu_forward.scan([(given, options)], z, **where, starts=keep)
    states = None
    if kept is not None and found.states is not None:
        states = kept.columns(found.states).permute(0, 3, 2, 1)
    return found.y, found.last[0].transpose(1, 2), states, *found.starts


def scan_norms(given: ScanInputs, z: Tensor | None, options: ScanOptions, keep: bool) -> Results:
    """See `operators.Launch`."""
    one = given, _checked(options, given.u)
    found = gpu_forward.scan([one], z, starts=keep, norms=True)
    squares, partial, readout = found.sums
    return (
        found.y, squares.sqrt_().transpose(1, 2), partial.sum(0).sqrt_(), readout.transpose(1, 2),
        *found.starts,
    )  # fmt: skip


def scan_gradient(
    given: ScanInputs,
    z: Tensor | None,
    options: ScanOptions,
    tokens: Tensor | None,
    starts: Tensor,
    grad_y: Tensor | None,
    grad_last_state: Tensor | None,
    grad_states: Tensor | None,
) -> Results:
    """See `operators.Launch`."""
    slots = None
    if grad_states is not None and tokens is not None and len(tokens):
        kept = Kept(tokens, given.u.shape[2])
        grad_states = kept.sums(grad_states.permute(0, 3, 2, 1))
        slots = kept.slots(given.u.device)
    return gradient(
        given, z, _moved(options, given.u), starts, grad_y, grad_last_state,
        None if slots is None else grad_states, slots,
    )  # fmt: skip


def bidirectional(
    forward: ScanInputs, backward: ScanInputs, z: Tensor | None, options: ScanOptions, keep: bool
) -> Results:
    """See `operators.Launch`."""
    how = _checked(options, forward.u).directions()
    scans = list(zip((forward, backward), how, strict=True))
    found = gpu_forward.scan(scans, z, starts=keep, total=keep)
    total = found.total.transpose(1, 2) if keep and found.total is not None else None
    return found.y, total, *found.starts


def bidirectional_gradient(
    forward: ScanInputs,
    backward: ScanInputs,
    z: Tensor | None,
    options: ScanOptions,
    total: Tensor,
    starts: Tensor,
    starts_backward: Tensor,
    grad_y: Tensor,
) -> Results:
    """See `operators.Launch`."""
    grad_z = None
    if z is not None:
        grad_y, grad_z = gated_sum_gradient(grad_y, total, None, z)
        grad_z = grad_z.to(z.dtype)
    grads: list[Tensor | None] = []
    how = _moved(options, forward.u).directions()
    for given, one, states in zip((forward, backward), how, (starts, starts_backward), strict=True):
        grads += gradient(given, None, one, states, grad_y, None, None, None)[:-1]
    return *grads, grad_z


def step_size(delta: Tensor, delta_bias: Tensor | None, grad: Tensor | None = None) -> Tensor:
    """See `operators.Launch`; with `grad`, the slope times grad instead."""
    out, bias = token_major_like(delta, torch.float32), contiguous(delta_bias)
    tensors = (tokens_of(x) for x in (out, grad))
    _elementwise(step_size_kernel, delta, tokens_of(delta), bias, *tensors)
    return out


def step_size_gradient(grad: Tensor, delta: Tensor, delta_bias: Tensor | None) -> Results:
    """See `operators.Launch`."""
    grad_delta = step_size(delta, delta_bias, grad)
    return grad_delta, None if delta_bias is None else grad_delta.sum((0, 2))


def gated_sum(y: Tensor, y_backward: Tensor | None, z: Tensor) -> Tensor:
    """See `operators.Launch`."""
    out = token_major_like(y, torch.float32)
    _elementwise(gated_sum_kernel, y, *(tokens_of(x) for x in (y, y_backward, z, out)))
    return out


def gated_sum_gradient(
    grad: Tensor, y: Tensor, y_backward: Tensor | None, z: Tensor
) -> tuple[Tensor, Tensor]:
    """See `operators.Launch`."""
    grad_y, grad_z = (token_major_like(y, torch.float32) for _ in range(2))
    tensors = grad, y, y_backward, z, grad_y, grad_z
    _elementwise(gated_sum_gradient_kernel, y, *(tokens_of(x) for x in tensors))
    return grad_y, grad_z


def empty_starts(given: ScanInputs) -> Tensor:
    """Memory for the states before each chunk of steps."""
    batch, d_inner, seqlen = given.u.shape
    chunks, d_state = -(-seqlen // CHUNK.value), given.A.shape[1]
    return given.u.new_empty(batch, chunks, d_state, d_inner, dtype=torch.float32)


def gradient_shapes(given: ScanInputs) -> Results:
    """The gradients of `given` without their numbers."""
    u, delta, *rest = given
    others = [None if x is None else x.new_empty(x.shape) for x in rest]
    return token_major_like(u), token_major_like(delta), *others


def _moved(options: ScanOptions, u: Tensor) -> ScanOptions:
    """The options with their order beside u, contiguous as the kernels read it."""
    order = options.order
    return options._replace(order=None if order is None else order.to(u.device).contiguous())


def _checked(options: ScanOptions, u: Tensor) -> ScanOptions:
    """Likewise, the order checked. One on a GPU is not: that would wait for the GPU.

    A kernel given no permutation leaves tokens out; it touches no foreign memory.
    """
    if options.order is not None and not options.order.is_cuda:
        check_permutation("selective_scan", options.order)
    return _moved(options, u)


def _elementwise(kernel: Any, like: Tensor, *arguments: Any) -> None:
    batch, d_inner, seqlen = like.shape
    rows, columns = 8, 128
    grid = batch * -(-seqlen // rows), -(-d_inner // columns)
    if batch:
        with on_device(like):
            kernel[grid](*arguments, seqlen, d_inner, ROWS=rows, COLUMNS=columns, **COMPILATION)
