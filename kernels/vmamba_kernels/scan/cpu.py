"""The selective scan on the CPU: vector code compiled at run time, as torch custom operators.

The operators take and give float32, in token-major memory (see `jit.tasks`). What was not asked for
comes back as an empty tensor, since an operator always returns the same number of tensors.
"""

from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.jit.memory import total
from vmamba_kernels.jit.tasks import readable, token_order, token_slots
from vmamba_kernels.scan.cpu_bidirectional import bidirectional
from vmamba_kernels.scan.cpu_launch import (
    SCHEMA,
    NormMemory,
    Sizes,
    grad_z_shape,
    gradient_shapes,
    prepared,
    repeated,
    run_forward,
    run_gradient,
    wants_gradient,
)
from vmamba_kernels.scan.cpu_pointwise import gated_sum, step_size
from vmamba_kernels.scan.types import ScanInputs

__all__ = ["bidirectional", "gated_sum", "scan", "scan_norms", "step_size"]


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
    order: Tensor | None,
    tokens: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the scan; arguments and results as in `naive.scan`, none of them float64."""
    given = prepared(ScanInputs(u, delta, A, B, C, D, delta_bias, initial_state))
    z = None if z is None else readable(z)
    y, last_state, states, _ = _forward(
        *given, z, order, tokens, delta_softplus, reverse, wants_gradient(*given, z)
    )
    return y.to(u.dtype), last_state, states


def scan_norms(
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
    order: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the scan and reduce its states; results as in `naive.scan_norms`."""
    given = prepared(ScanInputs(u, delta, A, B, C, D, delta_bias, initial_state))
    z = None if z is None else readable(z)
    y, over_states, over_channels, readout, _ = _norms(
        *given, z, order, delta_softplus, reverse, wants_gradient(*given, z)
    )
    return y.to(u.dtype), over_states.detach(), over_channels.detach(), readout.detach()


_INPUTS = f"{SCHEMA}, Tensor? z, Tensor? order"
_FIELDS = len(ScanInputs._fields)


@torch.library.custom_op(
    "vmamba_kernels::selective_scan_cpu",
    mutates_args=(),
    schema=f"({_INPUTS}, Tensor? tokens, bool delta_softplus, bool reverse, bool keep_starts)"
    " -> (Tensor y, Tensor last_state, Tensor states, Tensor starts)",
)
def _forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the scan; `starts` are the states at the starts of chunks, for the gradient."""
    given, (z, order, tokens, softplus, reverse, keep_starts) = _split(inputs)
    sizes = Sizes(given)
    steps = token_order("selective_scan", sizes.seqlen, reverse, order)
    y, states, starts = _memory(sizes, given.u, tokens, keep_starts)
    slots = None if tokens is None else token_slots(sizes.seqlen, tokens)
    last_state = run_forward(
        sizes, given, z, softplus, steps, "only", y, starts=starts, states=states, slots=slots
    )
    if states is not None and slots is not None:
        states = sizes.public_kept(states, slots, tokens)
    return _results(sizes, y, last_state, states, starts)


@_forward.register_fake
def _forward_shapes(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    given, (_, _, tokens, _, _, keep_starts) = _split(inputs)
    sizes = Sizes(given)
    y, states, starts = _memory(sizes, given.u, tokens, keep_starts)
    states = None if states is None else states.permute(0, 3, 2, 1)
    last_state = sizes.packed_states(None)
    return _results(sizes, y, last_state, states, starts)


@torch.library.custom_op(
    "vmamba_kernels::selective_scan_cpu_gradient",
    mutates_args=(),
    schema=f"({_INPUTS}, Tensor? tokens, bool delta_softplus, bool reverse, Tensor starts, "
    "Tensor? grad_y, Tensor? grad_last_state, Tensor? grad_states) -> (Tensor, Tensor, Tensor, "
    "Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _gradient(*inputs: Any) -> tuple[Tensor, ...]:
    """Run the gradient: one for each tensor of ScanInputs, then z's."""
    given, (z, order, tokens, softplus, reverse, starts, *upstream) = _split(inputs)
    grad_y, grad_last_state, grad_states = upstream
    sizes = Sizes(given)
    steps = token_order("selective_scan", sizes.seqlen, reverse, order)
    slots = None
    if grad_states is not None:
        slots = token_slots(sizes.seqlen, tokens)
        grad_states = grad_states.permute(0, 3, 2, 1).contiguous()
        if repeated(slots, tokens):
            zeros = torch.zeros_like(grad_states)
            grad_states = zeros.index_add(1, slots[tokens], grad_states)
    grad_z = None if z is None else sizes.empty_tokens(z)
    grads = run_gradient(
        sizes, given, z, softplus, steps, "only", starts, grad_y, grad_z,
        grad_last_state=grad_last_state, grad_states=grad_states, slots=slots,
    )  # fmt: skip
    return *grads, given.A.new_empty(0) if grad_z is None else grad_z.transpose(1, 2)


@_gradient.register_fake
def _gradient_shapes(*inputs: Any) -> tuple[Tensor, ...]:
    given, (z, *_) = _split(inputs)
    return *gradient_shapes(given), grad_z_shape(given, z)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.delta_softplus, ctx.reverse, ctx.keep_starts = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[-1])


def _backward(
    ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None, grad_states: Tensor | None, _: Any
) -> tuple[Tensor | None, ...]:
    *given, order, tokens, starts = ctx.saved_tensors
    options = ctx.delta_softplus, ctx.reverse
    if not ctx.keep_starts:
        starts = _forward(*given, order, None, *options, True)[3]
    upstream = grad_y, grad_last, None if tokens is None else grad_states
    grads = _gradient(*given, order, tokens, *options, starts, *upstream)
    wanted = [None if x is None else grad for x, grad in zip(given, grads, strict=True)]
    return (*wanted, None, None, None, None, None)


@torch.library.custom_op(
    "vmamba_kernels::selective_scan_norms_cpu",
    mutates_args=(),
    schema=f"({_INPUTS}, bool delta_softplus, bool reverse, bool keep_starts)"
    " -> (Tensor y, Tensor over_states, Tensor over_channels, Tensor readout, Tensor starts)",
)
def _norms(*inputs: Any) -> tuple[Tensor, ...]:
    """Run the scan and reduce its states as they are made."""
    given, (z, order, softplus, reverse, keep_starts) = _split(inputs)
    sizes = Sizes(given)
    steps = token_order("selective_scan_with_norms", sizes.seqlen, reverse, order)
    y, _, starts = _memory(sizes, given.u, None, keep_starts)
    norms = sizes.norm_memory()
    run_forward(sizes, given, z, softplus, steps, "only", y, starts=starts, norms=norms)
    over_channels = total(total(norms.square_sums, 2), 1).sqrt()
    return _norm_results(sizes, y, norms, over_channels, starts)


@_norms.register_fake
def _norms_shapes(*inputs: Any) -> tuple[Tensor, ...]:
    given, (*_, keep_starts) = _split(inputs)
    sizes = Sizes(given)
    y, _, starts = _memory(sizes, given.u, None, keep_starts)
    norms = sizes.norm_memory()
    return _norm_results(sizes, y, norms, norms.square_sums[:, 0, 0].contiguous(), starts)


def _norms_setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, softplus, reverse, keep_starts = inputs
    _setup_context(ctx, (*tensors, None, softplus, reverse, keep_starts), output)


def _norms_backward(ctx: Any, grad_y: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    return _backward(ctx, grad_y, None, None, None)[:-1]  # no tokens


def _no_second_gradient(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError(
        'selective_scan: backend="cpu" has no gradient of its gradient. '
        'Use backend="naive" to differentiate twice.'
    )


_forward.register_autograd(_backward, setup_context=_setup_context)
_norms.register_autograd(_norms_backward, setup_context=_norms_setup_context)
_gradient.register_autograd(_no_second_gradient)


def _split(inputs: tuple[Any, ...]) -> tuple[ScanInputs, tuple[Any, ...]]:
    """An operator's arguments: what ScanInputs names, and the others."""
    return ScanInputs(*inputs[:_FIELDS]), inputs[_FIELDS:]


def _memory(
    sizes: Sizes, u: Tensor, tokens: Tensor | None, keep_starts: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Memory for y, and for states where they are wanted."""
    return (
        sizes.empty_output(u),
        None if tokens is None else sizes.empty_states(tokens.shape[0]),
        sizes.empty_starts() if keep_starts else None,
    )


def _results(
    sizes: Sizes, y: Tensor, last_state: Tensor, states: Tensor | None, starts: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The memory of a scan as the operator returns it, in the public axis order."""
    return (
        y,
        sizes.public_states(last_state),
        sizes.like.new_empty(0) if states is None else states,
        sizes.like.new_empty(0) if starts is None else starts,
    )


def _norm_results(
    sizes: Sizes, y: Tensor, norms: NormMemory, over_channels: Tensor, starts: Tensor | None
) -> tuple[Tensor, ...]:
    """Likewise; over_channels is (batch, seqlen, sums)."""
    over_channels = over_channels[..., : sizes.d_state].transpose(1, 2)
    starts = sizes.like.new_empty(0) if starts is None else starts
    return y, norms.over_states, over_channels, norms.readout, starts
