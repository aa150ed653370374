"""The selective scan on the CPU: vector code compiled at run time, as torch custom operators.

The operators take and give float32. Their memory is token-major: inside, tensors are
(batch, seqlen, d_inner) with stride 1 along the channels; others are copied into that form.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vmamba_kernels.jit.ircode import LOG2E
from vmamba_kernels.jit.native import address, compiled
from vmamba_kernels.scan.cpu_kernels import (
    CHUNK,
    LANES,
    build_forward,
    build_gradient,
    padded_sums,
)

Arguments = dict[str, int | None]


class _Sizes:
    """The sizes of one scan, and its channels cut into blocks of LANES, each group by itself."""

    def __init__(self, u: Tensor, A: Tensor, B: Tensor) -> None:
        self.batch, self.d_inner, self.seqlen = u.shape
        self.d_state, self.groups = A.shape[1], B.shape[1]
        self.group_size = self.d_inner // self.groups
        self.blocks = -(-self.group_size // LANES)
        self.padded = self.groups * self.blocks * LANES
        self.ragged = self.padded != self.d_inner
        self.chunks = -(-self.seqlen // CHUNK)
        self.tasks = self.batch * self.groups * self.blocks

    def pad(self, x: Tensor) -> Tensor:
        """(..., d_inner) -> (..., padded), every group filled up with 0."""
        if not self.ragged:
            return x.contiguous()
        grouped = x.reshape(*x.shape[:-1], self.groups, self.group_size)
        return F.pad(grouped, (0, self.blocks * LANES - self.group_size)).flatten(-2).contiguous()

    def unpad(self, x: Tensor) -> Tensor:
        """(..., padded) -> (..., d_inner)."""
        if not self.ragged:
            return x
        grouped = x.reshape(*x.shape[:-1], self.groups, self.blocks * LANES)
        return grouped[..., : self.group_size].flatten(-2)

    def channel_rows(self, x: Tensor | None, like: Tensor, *shape: int) -> Tensor:
        """x (..., d_inner, d_state) -> new (..., d_state, padded) memory; 0 for None."""
        if x is None:
            return like.new_zeros(*shape, self.d_state, self.padded)
        return self.pad(x.transpose(-1, -2)).clone(memory_format=torch.contiguous_format)


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
    y, state, states, starts = _outputs(sizes, u, initial_state, keep_states, keep_starts)
    inputs, kept = _inputs(sizes, u, delta, A, B, C, D, z, delta_bias, reverse)
    arguments = {
        **inputs,
        **_tokens("y", y, reverse),
        **_tokens("states", states, reverse),
        "state": address(state),
        "starts": address(starts),
    }
    native = compiled(
        build_forward, sizes.d_state, z is not None, delta_softplus, keep_states, sizes.ragged
    )
    native(sizes.tasks, arguments)
    del kept  # memory the kernel was reading
    return _results(sizes, y, state, states, starts)


@_forward.register_fake
def _(
    u, delta, A, B, C, D, z, delta_bias, initial_state,
    delta_softplus, reverse, keep_states, keep_starts,
):  # fmt: skip
    sizes = _Sizes(u, A, B)
    return _results(sizes, *_outputs(sizes, u, initial_state, keep_states, keep_starts))


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
    grads = [_empty_tokens(sizes, u) for _ in ("u", "delta", "z")[: 2 + (z is not None)]]
    grad_u, grad_delta, grad_z = (*grads, None)[:3]
    grad_A = u.new_empty(sizes.batch, sizes.d_state, sizes.padded)
    grad_D, grad_bias = (u.new_empty(sizes.batch, sizes.padded) for _ in range(2))
    grad_state = sizes.channel_rows(grad_last_state, u, sizes.batch)
    sums = padded_sums(sizes.d_state)
    grad_B, grad_C = (
        u.new_empty(sizes.batch, sizes.groups, sizes.blocks, sizes.seqlen, sums) for _ in range(2)
    )
    gy = u.new_zeros(1, 1, 1).expand_as(u) if grad_y is None else grad_y
    gy = _token_major(gy)
    gs = None
    if grad_states is not None:
        gs = grad_states.permute(0, 3, 2, 1).contiguous()
    last = 4 * sums * (sizes.seqlen - 1) if reverse else 0
    arguments = {
        **inputs,
        "starts": address(starts),
        **_tokens("grad_y", gy, reverse),
        **_tokens("grad_states", gs, reverse),
        **_tokens("grad_u", grad_u, reverse),
        **_tokens("grad_delta", grad_delta, reverse),
        **_tokens("grad_z", grad_z, reverse),
        "grad_A": address(grad_A),
        "grad_D": address(grad_D),
        "grad_bias": address(grad_bias),
        "grad_state": address(grad_state),
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
        sizes.unpad(grad_A.sum(0)).t(),
        _add_blocks(sizes, grad_B),
        _add_blocks(sizes, grad_C),
        nothing if D is None else sizes.unpad(grad_D.sum(0)),
        nothing.clone() if z is None else grad_z.transpose(1, 2),
        nothing.clone() if delta_bias is None else sizes.unpad(grad_bias.sum(0)),
        nothing.clone() if initial_state is None else sizes.unpad(grad_state).transpose(1, 2),
    )


@_gradient.register_fake
def _(
    grad_y, grad_last_state, grad_states, starts,
    u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, reverse,
):  # fmt: skip
    sizes = _Sizes(u, A, B)
    grad_A = u.new_empty(sizes.d_state, sizes.d_inner).t()
    grad_B, grad_C = (
        u.new_empty(sizes.batch, sizes.groups, sizes.seqlen, sizes.d_state).transpose(2, 3)
        for _ in range(2)
    )
    state = u.new_empty(sizes.batch, sizes.d_state, sizes.d_inner).transpose(1, 2)
    tokens = [_empty_tokens(sizes, u).transpose(1, 2) for _ in range(3)]
    channels = [u.new_empty(sizes.d_inner) for _ in range(2)]
    nothing = [u.new_empty(0) for _ in range(4)]
    return (
        tokens[0],
        tokens[1],
        grad_A,
        grad_B,
        grad_C,
        nothing[0] if D is None else channels[0],
        nothing[1] if z is None else tokens[2],
        nothing[2] if delta_bias is None else channels[1],
        nothing[3] if initial_state is None else state,
    )


def _setup_context(ctx, inputs, output):
    *tensors, ctx.delta_softplus, ctx.reverse, _, kept = inputs
    starts = output[3]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, starts)


def _backward(ctx, grad_y, grad_last_state, grad_states, _):
    *tensors, starts = ctx.saved_tensors
    grads = _gradient(
        grad_y, grad_last_state, grad_states, starts, *tensors, ctx.delta_softplus, ctx.reverse
    )
    grads = [None if x is None else grad for x, grad in zip(tensors, grads, strict=True)]
    return (*grads, None, None, None, None)


_forward.register_autograd(_backward, setup_context=_setup_context)


def _outputs(sizes, u, initial_state, keep_states, keep_starts):
    """Memory for y, the state, and the states where they are wanted."""
    batch, d_state = sizes.batch, sizes.d_state
    y = _empty_tokens(sizes, u)
    state = sizes.channel_rows(initial_state, u, batch)
    states = u.new_empty(batch, sizes.seqlen, d_state, sizes.d_inner) if keep_states else None
    starts = u.new_empty(batch, sizes.chunks, d_state, sizes.padded) if keep_starts else None
    return y, state, states, starts


def _results(sizes, y, state, states, starts):
    """What the operator returns: views in the public axis order, empty for what was not wanted."""
    return (
        y.transpose(1, 2),
        sizes.unpad(state).transpose(1, 2),
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
    kept = {name: None if x is None else _token_major(x) for name, x in tokens.items()}
    kept |= {name: _token_major(x) for name, x in selections.items()}
    arguments: Arguments = {
        "n_seqlen": sizes.seqlen,
        "n_d_inner": sizes.d_inner,
        "n_groups": sizes.groups,
        "n_blocks": sizes.blocks,
        "n_padded": sizes.padded,
        "n_chunks": sizes.chunks,
        "A2": address(A2),
        "D": address(D),
        "bias": address(bias),
    }
    for name, x in kept.items():
        arguments |= _tokens(name, x, reverse)
    return arguments, (A2, D, bias, kept)


def _tokens(name: str, x: Tensor | None, reverse: bool) -> Arguments:
    """Address and strides of (batch[, group], seqlen, channels), starting at the first token read.

    The states' (batch, seqlen, d_state, d_inner) has its tokens on the second axis, too.
    """
    if x is None:
        return {name: None, f"n_{name}_batch": 0, f"n_{name}_token": 0}
    grouped = name in ("B", "C")
    axis = 2 if grouped else 1
    step = x.stride(axis)
    start = x.data_ptr() + (4 * step * (x.shape[axis] - 1) if reverse else 0)
    arguments: Arguments = {
        name: start,
        f"n_{name}_batch": x.stride(0),
        f"n_{name}_token": -step if reverse else step,
    }
    if grouped:
        arguments[f"n_{name}_group"] = x.stride(1)
    return arguments


def _token_major(x: Tensor) -> Tensor:
    """(..., channels, seqlen) -> (..., seqlen, channels) with stride 1 along the channels."""
    x = x.transpose(-1, -2)
    return x if x.stride(-1) == 1 else x.contiguous()


def _empty_tokens(sizes, like: Tensor) -> Tensor:
    return like.new_empty(sizes.batch, sizes.seqlen, sizes.d_inner)


def _add_blocks(sizes, parts: Tensor) -> Tensor:
    """Sum (batch, groups, blocks, seqlen, sums) over the blocks, first to last: fixed order."""
    total = parts[:, :, 0, :, : sizes.d_state].clone()
    for block in range(1, sizes.blocks):
        total += parts[:, :, block, :, : sizes.d_state]
    return total.transpose(2, 3)
