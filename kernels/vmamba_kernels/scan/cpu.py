"""The selective scan on the CPU: vector code compiled at run time, as torch custom operators.

The operators take and give float32. Their memory is token-major: inside, tensors are
(batch, seqlen, d_inner) with stride 1 along the channels; others are copied into that form.
"""

import math

import torch
from torch import Tensor

from vmamba_kernels.jit.ircode import LOG2E
from vmamba_kernels.jit.native import compiled
from vmamba_kernels.jit.tasks import (
    Arguments,
    Blocks,
    address,
    token_arguments,
    token_major,
    total,
)
from vmamba_kernels.scan.cpu_kernels import (
    CHUNK,
    build_forward,
    build_gradient,
    padded_sums,
)


class _Sizes(Blocks):
    """The sizes of one scan."""

    def __init__(self, u: Tensor, A: Tensor, B: Tensor) -> None:
        super().__init__(u.shape[0], u.shape[2], u.shape[1], B.shape[1])
        self.d_state = A.shape[1]
        self.chunks = -(-self.seqlen // CHUNK)

    def state_rows(self, x: Tensor | None) -> Tensor | None:
        """(batch, d_inner, d_state) -> (batch, d_state, padded) memory."""
        return None if x is None else self.pad(x.transpose(1, 2))


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
        delta_softplus, reverse, keep_states, keep_starts,
    )  # fmt: skip
    return y.to(u.dtype), last_state, states


@torch.library.custom_op(
    "vmamba_kernels::selective_scan_cpu",
    mutates_args=(),
    schema="(Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, "
    "Tensor? delta_bias, Tensor? initial_state, bool delta_softplus, bool reverse, "
    "bool keep_states, bool keep_starts) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _forward(
    u, delta, A, B, C, D, z, delta_bias, initial_state,
    delta_softplus, reverse, keep_states, keep_starts,
):  # fmt: skip
    sizes = _Sizes(u, A, B)
    y, last_state, states, starts = _outputs(sizes, u, keep_states, keep_starts)
    initial_state = sizes.state_rows(initial_state)
    inputs, kept = _inputs(sizes, u, delta, A, B, C, D, z, delta_bias, reverse)
    arguments = {
        **inputs,
        **token_arguments("y", y, reverse),
        **token_arguments("states", states, reverse),
        "initial_state": address(initial_state),
        "last_state": address(last_state),
        "starts": address(starts),
    }
    native = compiled(
        build_forward, sizes.d_state, z is not None, delta_softplus, keep_states, sizes.ragged
    )
    native(sizes.tasks, arguments)
    del kept  # memory the kernel was reading
    return _results(sizes, y, last_state, states, starts)


@_forward.register_fake
def _(
    u, delta, A, B, C, D, z, delta_bias, initial_state,
    delta_softplus, reverse, keep_states, keep_starts,
):  # fmt: skip
    sizes = _Sizes(u, A, B)
    return _results(sizes, *_outputs(sizes, u, keep_states, keep_starts))


@torch.library.custom_op(
    "vmamba_kernels::selective_scan_cpu_gradient",
    mutates_args=(),
    schema="(Tensor? grad_y, Tensor? grad_last_state, Tensor? grad_states, Tensor starts, "
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, "
    "Tensor? delta_bias, Tensor? initial_state, bool delta_softplus, bool reverse) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _gradient(
    grad_y, grad_last_state, grad_states, starts,
    u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, reverse,
):  # fmt: skip
    sizes = _Sizes(u, A, B)
    inputs, kept = _inputs(sizes, u, delta, A, B, C, D, z, delta_bias, reverse)
    grads = [sizes.empty_tokens(u) for _ in ("u", "delta", "z")[: 2 + (z is not None)]]
    grad_u, grad_delta, grad_z = (*grads, None)[:3]
    grad_A = u.new_empty(sizes.batch, sizes.d_state, sizes.padded)
    grad_D, grad_bias = (u.new_empty(sizes.batch, sizes.padded) for _ in range(2))
    grad_last_state = sizes.state_rows(grad_last_state)
    grad_initial_state = u.new_empty(sizes.batch, sizes.d_state, sizes.padded)
    sums = padded_sums(sizes.d_state)
    grad_B, grad_C = (
        u.new_empty(sizes.batch, sizes.groups, sizes.blocks, sizes.seqlen, sums) for _ in range(2)
    )
    gy = u.new_zeros(1, 1, 1).expand_as(u) if grad_y is None else grad_y
    gy = token_major(gy)
    gs = None
    if grad_states is not None:
        gs = grad_states.permute(0, 3, 2, 1).contiguous()
    last = 4 * sums * (sizes.seqlen - 1) if reverse else 0
    arguments = {
        **inputs,
        "starts": address(starts),
        **token_arguments("grad_y", gy, reverse),
        **token_arguments("grad_states", gs, reverse),
        **token_arguments("grad_u", grad_u, reverse),
        **token_arguments("grad_delta", grad_delta, reverse),
        **token_arguments("grad_z", grad_z, reverse),
        "grad_A": address(grad_A),
        "grad_D": address(grad_D),
        "grad_bias": address(grad_bias),
        "grad_last_state": address(grad_last_state),
        "grad_initial_state": address(grad_initial_state),
        "grad_B": grad_B.data_ptr() + last,
        "grad_C": grad_C.data_ptr() + last,
        "n_sums": sums,
        "n_sums_token": -sums if reverse else sums,
    }
    native = compiled(
        build_gradient, sizes.d_state, z is not None, delta_softplus, gs is not None, sizes.ragged
    )
    native(sizes.tasks, arguments)
    del kept
    nothing = u.new_empty(0)
    return (
        grad_u.transpose(1, 2),
        grad_delta.transpose(1, 2),
        sizes.unpad(total(grad_A, 0)).t(),
        total(grad_B, 2)[..., : sizes.d_state].transpose(2, 3),
        total(grad_C, 2)[..., : sizes.d_state].transpose(2, 3),
        nothing if D is None else sizes.unpad(total(grad_D, 0)),
        nothing.clone() if z is None else grad_z.transpose(1, 2),
        nothing.clone() if delta_bias is None else sizes.unpad(total(grad_bias, 0)),
        nothing.clone() if initial_state is None else sizes.unpad(grad_initial_state).transpose(1, 2),
    )


@_gradient.register_fake
def _(
    grad_y, grad_last_state, grad_states, starts,
    u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, reverse,
):  # fmt: skip
    sizes = _Sizes(u, A, B)
    grad_A = u.new_empty(sizes.d_state, sizes.d_inner).t()
    grad_B, grad_C = (
        u.new_empty(sizes.batch, sizes.groups, sizes.seqlen, padded_sums(sizes.d_state))
        for _ in range(2)
    )
    state = u.new_empty(sizes.batch, sizes.d_state, sizes.d_inner).transpose(1, 2)
    tokens = [sizes.empty_tokens(u).transpose(1, 2) for _ in range(3)]
    channels = [u.new_empty(sizes.d_inner) for _ in range(2)]
    nothing = [u.new_empty(0) for _ in range(4)]
    return (
        tokens[0],
        tokens[1],
        grad_A,
        grad_B[..., : sizes.d_state].transpose(2, 3),
        grad_C[..., : sizes.d_state].transpose(2, 3),
        nothing[0] if D is None else channels[0],
        nothing[1] if z is None else tokens[2],
        nothing[2] if delta_bias is None else channels[1],
        nothing[3] if initial_state is None else state,
    )


def _setup_context(ctx, inputs, output):
    *tensors, ctx.delta_softplus, ctx.reverse, ctx.keep_states, ctx.keep_starts = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[3])


def _backward(ctx, grad_y, grad_last_state, grad_states, _):
    *tensors, starts = ctx.saved_tensors
    if not ctx.keep_starts:
        starts = _forward(*tensors, ctx.delta_softplus, ctx.reverse, False, True)[3]
    grad_states = grad_states if ctx.keep_states else None
    grads = _gradient(
        grad_y, grad_last_state, grad_states, starts, *tensors, ctx.delta_softplus, ctx.reverse
    )
    grads = [None if x is None else grad for x, grad in zip(tensors, grads, strict=True)]
    return (*grads, None, None, None, None)


_forward.register_autograd(_backward, setup_context=_setup_context)


def _outputs(sizes, u, keep_states, keep_starts):
    """Memory for y, the state, and the states where they are wanted."""
    batch, d_state = sizes.batch, sizes.d_state
    y = sizes.empty_tokens(u)
    last_state = u.new_empty(batch, d_state, sizes.padded)
    states = u.new_empty(batch, sizes.seqlen, d_state, sizes.d_inner) if keep_states else None
    starts = u.new_empty(batch, sizes.chunks, d_state, sizes.padded) if keep_starts else None
    return y, last_state, states, starts


def _results(sizes, y, last_state, states, starts):
    """What the operator returns: views in the public axis order, empty for what was not wanted."""
    return (
        y.transpose(1, 2),
        sizes.unpad(last_state).transpose(1, 2),
        y.new_empty(0) if states is None else states.permute(0, 3, 2, 1),
        y.new_empty(0) if starts is None else starts,
    )


def _inputs(sizes, u, delta, A, B, C, D, z, delta_bias, reverse):
    """The arguments that forward and gradient share, and the tensors they point into."""
    zeros = u.new_zeros(sizes.padded)
    A2 = sizes.pad((A * LOG2E).t())
    D, bias = (zeros if x is None else sizes.pad(x) for x in (D, delta_bias))
    tokens = {"u": u, "delta": delta, "z": z}
    selections = {"B": B, "C": C}
    kept = {name: None if x is None else token_major(x) for name, x in tokens.items()}
    kept |= {name: token_major(x) for name, x in selections.items()}
    arguments = sizes.arguments() | {
        "n_chunks": sizes.chunks,
        "A2": address(A2),
        "D": address(D),
        "bias": address(bias),
    }
    for name, x in kept.items():
        arguments |= token_arguments(name, x, reverse)
    return arguments, (A2, D, bias, kept)
