"""The selective scan on the CPU: vector code compiled at run time, as torch custom operators.

The operators take and give float32, in token-major memory (see `jit.tasks`). What was not asked for
comes back as an empty tensor, since an operator always returns the same number of tensors.
"""

import math
from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.jit.native import Arguments, compiled
from vmamba_kernels.jit.tasks import Blocks, token_arguments, token_major, total
from vmamba_kernels.jit.vectormath import LOG2E
from vmamba_kernels.scan.cpu_kernels import CHUNK, build_forward, build_gradient, padded_sums


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the scan; arguments and results as in `naive.scan`, none of them float64."""
    if B.shape[1] != C.shape[1]:
        groups = math.lcm(B.shape[1], C.shape[1])
        B, C = (x.repeat_interleave(groups // x.shape[1], dim=1) for x in (B, C))
    given = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    keep_starts = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given)
    y, last_state, states, _ = _forward(
        *(None if x is None else x.float() for x in given),
        delta_softplus,
        reverse,
        keep_states,
        keep_starts,
    )
    return y.to(u.dtype), last_state, states


_TENSORS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, "
    "Tensor? delta_bias, Tensor? initial_state"
)


@torch.library.custom_op(
    "vmamba_kernels::selective_scan_cpu",
    mutates_args=(),
    schema=f"({_TENSORS}, bool delta_softplus, bool reverse, bool keep_states, bool keep_starts)"
    " -> (Tensor y, Tensor last_state, Tensor states, Tensor starts)",
)
def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    keep_states: bool,
    keep_starts: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the kernel; `starts` are the states at the starts of chunks, for the gradient."""
    sizes = _Sizes(u, A, B)
    outputs = y, last_state, states, starts = _outputs(sizes, u, keep_states, keep_starts)
    state_rows = sizes.state_rows(initial_state)
    arguments = _inputs(sizes, u, delta, A, B, C, D, z, delta_bias, reverse)
    arguments |= token_arguments("y", y.transpose(1, 2), reverse)
    arguments |= token_arguments("states", states, reverse)
    arguments |= {
        "initial_state": state_rows,
        "last_state": last_state,
        "starts": starts,
    }
    native = compiled(
        build_forward, sizes.d_state, z is not None, delta_softplus, keep_states, sizes.ragged
    )
    native(sizes.tasks, arguments)
    return _results(sizes, *outputs)


@_forward.register_fake
def _forward_shapes(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    keep_states, keep_starts = rest[-2:]
    sizes = _Sizes(u, A, B)
    return _results(sizes, *_outputs(sizes, u, keep_states, keep_starts))


@torch.library.custom_op(
    "vmamba_kernels::selective_scan_cpu_gradient",
    mutates_args=(),
    schema="(Tensor? grad_y, Tensor? grad_last_state, Tensor? grad_states, Tensor starts, "
    f"{_TENSORS}, bool delta_softplus, bool reverse) -> (Tensor, Tensor, Tensor, Tensor, Tensor, "
    "Tensor, Tensor, Tensor, Tensor)",
)
def _gradient(
    grad_y: Tensor | None,
    grad_last_state: Tensor | None,
    grad_states: Tensor | None,
    starts: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
) -> tuple[Tensor, ...]:
    """Run the gradient kernel: one gradient for each of the nine tensors, in their order."""
    sizes = _Sizes(u, A, B)
    state_rows = sizes.state_rows(grad_last_state)
    if grad_states is not None:
        grad_states = grad_states.permute(0, 3, 2, 1).contiguous()
    arguments = _inputs(sizes, u, delta, A, B, C, D, z, delta_bias, reverse)

    grad_u, grad_delta, grad_z = (sizes.empty_tokens(u) for _ in range(3))
    per_token = {
        "grad_y": token_major(u.new_zeros(1, 1, 1).expand_as(u) if grad_y is None else grad_y),
        "grad_states": grad_states,
        "grad_u": grad_u,
        "grad_delta": grad_delta,
        "grad_z": grad_z,
    }
    for name, x in per_token.items():
        arguments |= token_arguments(name, x, reverse)
    sums = padded_sums(sizes.d_state)
    shape = sizes.batch, sizes.groups, sizes.blocks, sizes.seqlen, sums
    grad_B, grad_C = u.new_empty(shape), u.new_empty(shape)
    grad_A, grad_initial = (u.new_empty(sizes.batch, sizes.d_state, sizes.padded) for _ in range(2))
    grad_D, grad_bias = (u.new_empty(sizes.batch, sizes.padded) for _ in range(2))
    first = sizes.seqlen - 1 if reverse else 0  # token in scan order
    arguments |= {
        "starts": starts,
        "grad_A": grad_A,
        "grad_D": grad_D,
        "grad_bias": grad_bias,
        "grad_last_state": state_rows,
        "grad_initial_state": grad_initial,
        "grad_B": grad_B[..., first:, :],
        "grad_C": grad_C[..., first:, :],
        "n_sums": sums,
        "n_sums_token": -sums if reverse else sums,
    }
    native = compiled(
        build_gradient,
        sizes.d_state,
        z is not None,
        delta_softplus,
        grad_states is not None,
        sizes.ragged,
    )
    native(sizes.tasks, arguments)
    return _gradients(
        sizes, D, z, delta_bias, initial_state,
        grad_u, grad_delta, total(grad_A, 0), total(grad_B, 2), total(grad_C, 2),
        total(grad_D, 0), grad_z, total(grad_bias, 0), grad_initial,
    )  # fmt: skip


@_gradient.register_fake
def _gradient_shapes(*inputs: Any) -> tuple[Tensor, ...]:
    u, _, A, B, _, D, z, delta_bias, initial_state = inputs[4:13]
    sizes = _Sizes(u, A, B)
    state, sums = (sizes.d_state, sizes.padded), padded_sums(sizes.d_state)
    tokens = [sizes.empty_tokens(u) for _ in range(3)]
    selection = [u.new_empty(sizes.batch, sizes.groups, sizes.seqlen, sums) for _ in range(2)]
    channels = [u.new_empty(sizes.padded) for _ in range(2)]
    return _gradients(
        sizes, D, z, delta_bias, initial_state,
        tokens[0], tokens[1], u.new_empty(state), *selection,
        channels[0], tokens[2], channels[1], u.new_empty(sizes.batch, *state),
    )  # fmt: skip


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.delta_softplus, ctx.reverse, ctx.keep_states, ctx.keep_starts = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[3])


def _backward(
    ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None, grad_states: Tensor | None, _: Any
) -> tuple[Tensor | None, ...]:
    *tensors, starts = ctx.saved_tensors
    if not ctx.keep_starts:
        starts = _forward(*tensors, ctx.delta_softplus, ctx.reverse, False, True)[3]
    grad_states = grad_states if ctx.keep_states else None
    grads = _gradient(
        grad_y, grad_last, grad_states, starts, *tensors, ctx.delta_softplus, ctx.reverse
    )
    wanted = [None if x is None else grad for x, grad in zip(tensors, grads, strict=True)]
    return (*wanted, None, None, None, None)


def _no_second_gradient(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError(
        'selective_scan: backend="cpu" has no gradient of its gradient. '
        'Use backend="naive" to differentiate twice.'
    )


_forward.register_autograd(_backward, setup_context=_setup_context)
_gradient.register_autograd(_no_second_gradient)


class _Sizes(Blocks):
    """The sizes of one scan."""

    def __init__(self, u: Tensor, A: Tensor, B: Tensor) -> None:
        super().__init__(u.shape[0], u.shape[2], u.shape[1], B.shape[1])
        self.d_state = A.shape[1]
        self.chunks = -(-self.seqlen // CHUNK)

    def state_rows(self, x: Tensor | None) -> Tensor | None:
        """(batch, d_inner, d_state) -> (batch, d_state, padded) memory."""
        return None if x is None else self.pad(x.transpose(1, 2))


def _inputs(
    sizes: _Sizes,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: bool,
) -> Arguments:
    """The arguments that forward and gradient share."""
    A2 = sizes.pad((A * LOG2E).t())
    D, bias = (u.new_zeros(sizes.padded) if x is None else sizes.pad(x) for x in (D, delta_bias))
    arguments = sizes.arguments() | {"n_chunks": sizes.chunks, "A2": A2, "D": D, "bias": bias}
    for name, x in (("u", u), ("delta", delta), ("z", z), ("B", B), ("C", C)):
        arguments |= token_arguments(name, None if x is None else token_major(x), reverse)
    return arguments


def _outputs(
    sizes: _Sizes, u: Tensor, keep_states: bool, keep_starts: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Memory for y, the last state, and the states where they are wanted."""
    batch, d_state = sizes.batch, sizes.d_state
    last_state = u.new_empty(batch, d_state, sizes.padded)
    states = u.new_empty(batch, sizes.seqlen, d_state, sizes.d_inner) if keep_states else None
    starts = u.new_empty(batch, sizes.chunks, d_state, sizes.padded) if keep_starts else None
    return sizes.empty_output(u), last_state, states, starts


def _results(
    sizes: _Sizes, y: Tensor, last_state: Tensor, states: Tensor | None, starts: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The memory of `_outputs` as the operator returns it, in the public axis order."""
    return (
        y,
        sizes.unpad(last_state).transpose(1, 2),
        y.new_empty(0) if states is None else states.permute(0, 3, 2, 1),
        y.new_empty(0) if starts is None else starts,
    )


def _gradients(
    sizes: _Sizes,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    *grads: Tensor,
) -> tuple[Tensor, ...]:
    """The kernel's gradients, summed, as the operator returns them."""
    grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_z, grad_bias, grad_initial = grads
    nothing = [grad_u.new_empty(0) for _ in range(4)]
    return (
        grad_u.transpose(1, 2),
        grad_delta.transpose(1, 2),
        sizes.unpad(grad_A).t(),
        grad_B[..., : sizes.d_state].transpose(2, 3),
        grad_C[..., : sizes.d_state].transpose(2, 3),
        nothing[0] if D is None else sizes.unpad(grad_D),
        nothing[1] if z is None else grad_z.transpose(1, 2),
        nothing[2] if delta_bias is None else sizes.unpad(grad_bias),
        nothing[3] if initial_state is None else sizes.unpad(grad_initial).transpose(1, 2),
    )
