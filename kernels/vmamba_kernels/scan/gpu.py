"""The selective scan on a GPU: Triton kernels, as torch custom operators.

Triton is imported by the first operator that runs. In memory everything is token-major, (batch,
seqlen, d_inner), and states are (batch, rows, d_state, d_inner); the operators return views of it
in the public axis order. What was not asked for comes back as an empty tensor, since an operator
always returns the same number of tensors.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.checks import check_permutation
from vmamba_kernels.scan.types import ScanInputs


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
    given = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    options = delta_softplus, reverse, _needs_gradient(*given)
    y, last_state, states, *_ = _scan(*given, order, tokens, *options, False)
    return y, last_state, states


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
    """Run the scan and reduce its states as they are made; as `naive.scan_norms`."""
    given = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    options = delta_softplus, reverse, _needs_gradient(*given)
    y, _, _, _, *norms = _scan(*given, order, None, *options, True)
    over_states, over_channels, readout = (x.detach() for x in norms)
    return y, over_states, over_channels, readout


def bidirectional(
    forward: ScanInputs,
    backward: ScanInputs,
    z: Tensor | None,
    delta_softplus: bool,
    order: Tensor | None,
) -> Tensor:
    """Run both directions and gate their sum, in one launch; as `naive.bidirectional`."""
    keep = _needs_gradient(*forward, *backward, z)
    return _bidirectional(*forward, *backward, z, order, delta_softplus, keep)[0]


def step_size(delta: Tensor, delta_bias: Tensor | None) -> Tensor:
    """softplus(delta + delta_bias), float32."""
    return _step_size(delta, delta_bias)


def gated_sum(y: Tensor, y_backward: Tensor | None, z: Tensor | None) -> Tensor:
    """(y + y_backward) * silu(z), float32; what is None is left out."""
    if z is None:
        return y.float() if y_backward is None else y.float() + y_backward.float()
    return _gated_sum(y, y_backward, z)


def _checked(order: Tensor | None, u: Tensor) -> Tensor | None:
    """The order beside u. On a GPU it is not looked at, for that would wait for the GPU.

    A kernel given no permutation leaves tokens out; it touches no foreign memory.
    """
    if order is not None and not order.is_cuda:
        check_permutation("selective_scan", order)
    return None if order is None else order.to(u.device)


def _needs_gradient(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


_ONE = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, "
    "Tensor? delta_bias, Tensor? initial_state, Tensor? order, Tensor? tokens, "
    "bool delta_softplus, bool reverse"
)


@torch.library.custom_op(
    "vmamba_kernels::selective_scan_gpu",
    mutates_args=(),
    schema=f"({_ONE}, bool keep_starts, bool norms) -> (Tensor y, Tensor last_state, "
    "Tensor states, Tensor starts, Tensor over_states, Tensor over_channels, Tensor readout)",
)
def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    order: Tensor | None,
    tokens: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    keep_starts: bool,
    norms: bool,
) -> tuple[Tensor, ...]:
    """Run the kernel; `starts` are the states at the starts of chunks, for the gradient."""
    from vmamba_kernels.scan import gpu_launch as launch

    order = _checked(order, u)
    one = launch.Scan(u, delta, A, B, C, D, delta_bias, initial_state, reverse, order)
    kept = None if tokens is None else launch.Kept(tokens, u.shape[2])
    where = {} if kept is None else kept.where(reverse, order, u.device)
    found = launch.scan([one], z, delta_softplus, **where, starts=keep_starts, norms=norms)

    def given(x: Tensor | None) -> Tensor:
        return u.new_empty(0, dtype=torch.float32) if x is None else x

    states, (starts,) = found.states, found.starts
    if kept is not None and states is not None:
        states = kept.columns(states).permute(0, 3, 2, 1)
    over_states = None if found.squares is None else found.squares.sqrt_().transpose(1, 2)
    over_channels = None if found.partial is None else found.partial.sum(0).sqrt_()
    readout = None if found.readout is None else found.readout.transpose(1, 2)
    rest = states, starts, over_states, over_channels, readout
    return found.y, found.last[0].transpose(1, 2), *(given(x) for x in rest)


@_scan.register_fake
def _scan_shapes(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    from vmamba_kernels.scan.gpu_launch import empty_tokens

    tokens, _, _, keep_starts, norms = rest[-5:]
    (batch, d_inner, _), d_state = u.shape, A.shape[1]
    rows = None if tokens is None else tokens.shape[0]

    def new(*shape: int) -> Tensor:
        return u.new_empty(shape, dtype=torch.float32)

    return (
        empty_tokens(u, u.dtype),
        new(batch, d_state, d_inner).transpose(1, 2),
        new(0) if rows is None else new(batch, rows, d_state, d_inner).permute(0, 3, 2, 1),
        _starts_shape(u, A) if keep_starts else new(0),
        empty_tokens(u) if norms else new(0),
        new(batch, d_state, u.shape[2]) if norms else new(0),
        empty_tokens(u) if norms else new(0),
    )


def _starts_shape(u: Tensor, A: Tensor) -> Tensor:
    from vmamba_kernels.scan.gpu_kernels import CHUNK

    chunks = -(-u.shape[2] // CHUNK.value)
    return u.new_empty(u.shape[0], chunks, A.shape[1], u.shape[1], dtype=torch.float32)


@torch.library.custom_op(
    "vmamba_kernels::selective_scan_gpu_gradient",
    mutates_args=(),
    schema="(Tensor? grad_y, Tensor? grad_last_state, Tensor? grad_states, Tensor starts, "
    f"{_ONE}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _scan_gradient(
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
    order: Tensor | None,
    tokens: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
) -> tuple[Tensor, ...]:
    """Run the gradient kernel: one gradient for each of the nine tensors, in their order."""
    from vmamba_kernels.scan import gpu_launch as launch
    from vmamba_kernels.scan.gpu_gradient import gradient

    slots, order = None, None if order is None else order.to(u.device)
    if grad_states is not None and tokens is not None and len(tokens):
        kept = launch.Kept(tokens, u.shape[2])
        grad_states, slots = kept.sums(grad_states.permute(0, 3, 2, 1)), kept.slots(u.device)
    found = gradient(
        grad_y, grad_last_state, None if slots is None else grad_states, slots, starts,
        u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, reverse, order,
    )  # fmt: skip
    return tuple(u.new_empty(0) if x is None else x for x in found)


@_scan_gradient.register_fake
def _scan_gradient_shapes(*inputs: Any) -> tuple[Tensor, ...]:
    from vmamba_kernels.scan.gpu_launch import empty_tokens

    tensors = inputs[4:13]
    of_tokens = [i in (0, 1, 6) for i in range(9)]
    return tuple(
        tensors[0].new_empty(0)
        if x is None
        else (empty_tokens(x, x.dtype) if token else x.new_empty(x.shape))
        for x, token in zip(tensors, of_tokens, strict=True)
    )


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.delta_softplus, ctx.reverse, ctx.keep_starts, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[3])


def _scan_backward(
    ctx: Any,
    grad_y: Tensor | None,
    grad_last: Tensor | None,
    grad_states: Tensor | None,
    *_: Tensor | None,
) -> tuple[Tensor | None, ...]:
    *tensors, order, tokens, starts = ctx.saved_tensors
    options = ctx.delta_softplus, ctx.reverse
    if not ctx.keep_starts:
        starts = _scan(*tensors, order, None, *options, True, False)[3]
    grad_states = None if tokens is None else grad_states
    grads = _scan_gradient(
        grad_y, grad_last, grad_states, starts, *tensors, order, tokens, *options
    )
    return (*_wanted(tensors, grads), None, None, None, None, None, None)


def _wanted(tensors: Sequence[Tensor | None], grads: Sequence[Tensor]) -> list[Tensor | None]:
    return [None if x is None else grad for x, grad in zip(tensors, grads, strict=True)]


def _no_second_gradient(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError(
        'selective_scan: backend="gpu" has no gradient of its gradient. '
        'Use backend="naive" to differentiate twice.'
    )


_scan.register_autograd(_scan_backward, setup_context=_keep_inputs)
_scan_gradient.register_autograd(_no_second_gradient)


def _direction(name: str) -> str:
    names = "u delta A B C D? bias? initial?".split()
    return ", ".join(f"Tensor{'?' * x.endswith('?')} {name}_{x.rstrip('?')}" for x in names)


@torch.library.custom_op(
    "vmamba_kernels::bidirectional_selective_scan_gpu",
    mutates_args=(),
    schema=f"({_direction('forward')}, {_direction('backward')}, Tensor? z, Tensor? order, "
    "bool delta_softplus, bool keep) -> "
    "(Tensor y, Tensor total, Tensor forward_starts, Tensor backward_starts)",
)
def _bidirectional(
    forward_u: Tensor,
    forward_delta: Tensor,
    forward_A: Tensor,
    forward_B: Tensor,
    forward_C: Tensor,
    forward_D: Tensor | None,
    forward_bias: Tensor | None,
    forward_initial: Tensor | None,
    backward_u: Tensor,
    backward_delta: Tensor,
    backward_A: Tensor,
    backward_B: Tensor,
    backward_C: Tensor,
    backward_D: Tensor | None,
    backward_bias: Tensor | None,
    backward_initial: Tensor | None,
    z: Tensor | None,
    order: Tensor | None,
    delta_softplus: bool,
    keep: bool,
) -> tuple[Tensor, ...]:
    """Run both directions; `keep` the sum before the gate, and both starts, for the gradient."""
    from vmamba_kernels.scan import gpu_launch as launch

    order = _checked(order, forward_u)
    forward = launch.Scan(
        forward_u, forward_delta, forward_A, forward_B, forward_C, forward_D, forward_bias,
        forward_initial, False, None,
    )  # fmt: skip
    backward = launch.Scan(
        backward_u, backward_delta, backward_A, backward_B, backward_C, backward_D, backward_bias,
        backward_initial, order is None, order,
    )  # fmt: skip
    found = launch.scan([forward, backward], z, delta_softplus, starts=keep, total=keep)
    kept = found.total, *found.starts
    if keep:
        total, *starts = (x for x in kept if x is not None)
        return found.y, total.transpose(1, 2), *starts
    return found.y, *(forward_u.new_empty(0, dtype=torch.float32) for _ in kept)


@_bidirectional.register_fake
def _bidirectional_shapes(*inputs: Any) -> tuple[Tensor, ...]:
    from vmamba_kernels.scan.gpu_launch import empty_tokens

    u, forward_A, backward_A, keep = inputs[0], inputs[2], inputs[10], inputs[-1]
    y = empty_tokens(u, u.dtype)
    if keep:
        return y, empty_tokens(u), _starts_shape(u, forward_A), _starts_shape(u, backward_A)
    return y, *(u.new_empty(0, dtype=torch.float32) for _ in range(3))


def _keep_both(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.delta_softplus, ctx.keep = inputs
    ctx.save_for_backward(*tensors, *output[1:])


def _bidirectional_backward(ctx: Any, grad_y: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *tensors, total, forward_starts, backward_starts = ctx.saved_tensors
    forward, backward, (z, order) = tensors[:8], tensors[8:16], tensors[16:]
    if not ctx.keep:
        kept = _bidirectional(*tensors, ctx.delta_softplus, True)
        total, forward_starts, backward_starts = kept[1:]
    grad_z = None
    if z is not None:
        grad_y, grad_z = _gated_sum_gradient(grad_y, total, None, z)
        grad_z = grad_z.to(z.dtype)
    found: list[Tensor | None] = []
    for direction, starts, *how in (
        (forward, forward_starts, False, None),
        (backward, backward_starts, order is None, order),
    ):
        u, delta, A, B, C, D, bias, initial = direction
        reverse, order = how
        grads = _scan_gradient(
            grad_y, None, None, starts, u, delta, A, B, C, D, None, bias, initial, order, None,
            ctx.delta_softplus, reverse,
        )  # fmt: skip
        found += _wanted(direction, [*grads[:6], *grads[7:]])
    return (*found, grad_z, None, None, None)


_bidirectional.register_autograd(_bidirectional_backward, setup_context=_keep_both)


@torch.library.custom_op(
    "vmamba_kernels::step_size_gpu",
    mutates_args=(),
    schema="(Tensor delta, Tensor? delta_bias, Tensor? grad=None) -> Tensor",
)
def _step_size(delta: Tensor, delta_bias: Tensor | None, grad: Tensor | None = None) -> Tensor:
    """softplus(delta + delta_bias); with `grad`, its slope times grad instead."""
    from vmamba_kernels.scan import gpu_launch as launch

    return launch.step_size(delta, delta_bias, grad)


@_step_size.register_fake
def _step_size_shape(
    delta: Tensor, delta_bias: Tensor | None, grad: Tensor | None = None
) -> Tensor:
    from vmamba_kernels.scan.gpu_launch import empty_tokens

    return empty_tokens(delta)


def _keep_delta(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _step_size_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    delta, bias, before = ctx.saved_tensors
    if before is not None:
        _no_second_gradient(ctx)
    grad_delta = _step_size(delta, bias, grad)
    grad_bias = None if bias is None else grad_delta.sum((0, 2)).to(bias.dtype)
    return grad_delta.to(delta.dtype), grad_bias, None


_step_size.register_autograd(_step_size_backward, setup_context=_keep_delta)


@torch.library.custom_op(
    "vmamba_kernels::gated_sum_gpu",
    mutates_args=(),
    schema="(Tensor y, Tensor? y_backward, Tensor z) -> Tensor",
)
def _gated_sum(y: Tensor, y_backward: Tensor | None, z: Tensor) -> Tensor:
    from vmamba_kernels.scan import gpu_launch as launch

    return launch.gated_sum(y, y_backward, z)


@_gated_sum.register_fake
def _gated_sum_shape(y: Tensor, y_backward: Tensor | None, z: Tensor) -> Tensor:
    from vmamba_kernels.scan.gpu_launch import empty_tokens

    return empty_tokens(y)


@torch.library.custom_op(
    "vmamba_kernels::gated_sum_gpu_gradient",
    mutates_args=(),
    schema="(Tensor grad, Tensor y, Tensor? y_backward, Tensor z) -> (Tensor, Tensor)",
)
def _gated_sum_gradient(
    grad: Tensor, y: Tensor, y_backward: Tensor | None, z: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the sum, which both y share, and of z; float32."""
    from vmamba_kernels.scan import gpu_launch as launch

    return launch.gated_sum_gradient(grad, y, y_backward, z)


@_gated_sum_gradient.register_fake
def _gated_sum_gradient_shapes(
    grad: Tensor, y: Tensor, y_backward: Tensor | None, z: Tensor
) -> tuple[Tensor, Tensor]:
    from vmamba_kernels.scan.gpu_launch import empty_tokens

    return empty_tokens(y), empty_tokens(y)


def _keep_summands(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gated_sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    y, y_backward, z = ctx.saved_tensors
    grad_y, grad_z = _gated_sum_gradient(grad, y, y_backward, z)
    other = None if y_backward is None else grad_y.to(y_backward.dtype)
    return grad_y.to(y.dtype), other, grad_z.to(z.dtype)


_gated_sum.register_autograd(_gated_sum_backward, setup_context=_keep_summands)
_gated_sum_gradient.register_autograd(_no_second_gradient)
