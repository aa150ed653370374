"""What the scan does around its recurrence, by itself: the step size and the gate.

Both give the very bits that they have inside the scan, so that a layer's scan inputs can be shown,
and two directions be summed, as the fused kernels do it.
"""

from collections.abc import Mapping

from torch import Tensor

from vmamba_kernels.jit.ircode import Kernel
from vmamba_kernels.jit.memory import ask_for_large_pages, total
from vmamba_kernels.jit.native import Native, compiled
from vmamba_kernels.jit.tasks import (
    LANES,
    SIZES,
    Blocks,
    parameters,
    summed,
    tiles,
    token_arguments,
    token_major,
    token_order,
)
from vmamba_kernels.jit.vectormath import silu, silu_and_slope, softplus_and_slope
from vmamba_kernels.operators import Results


def build_step_size(ragged: bool, gradient: bool) -> Native:
    """out = softplus(delta + bias), or its gradient; grad_bias (batch, d_inner) is added to."""
    tokens = ("delta", "grad_out", "grad_delta") if gradient else ("delta", "out")
    k = Kernel(LANES, (*SIZES, "bias", "grad_bias", *parameters(tokens)))
    with tiles(k, ragged) as tile:
        bias = tile.channels("bias").load(tile.mask)
        streams = [tile.tokens(name) for name in tokens]
        sums = [tile.channels("grad_bias", per_batch=True)] if gradient else []
        with summed(sums, tile.mask) as grad_bias, k.loop(tile.length) as i:
            delta, *others = (stream.at(tile.token(i)) for stream in streams)
            out, slope = softplus_and_slope(delta.load(tile.mask) + bias)
            if gradient:
                grad_out, grad_delta = others
                to_delta = grad_out.load(tile.mask) * slope
                grad_delta.store(to_delta, tile.mask)
                grad_bias[0].set(grad_bias[0].get() + to_delta)
            else:
                others[0].store(out, tile.mask)
    return Native(k)


def build_gated_sum(ragged: bool, two: bool, gradient: bool) -> Native:
    """out = (y + y_backward) * silu(z), or its gradient; grad_y is that of y_backward too."""
    read = ("y", *(["y_backward"] if two else []), "z", *(["grad_out"] if gradient else []))
    written = ("grad_y", "grad_z") if gradient else ("out",)
    k = Kernel(LANES, (*SIZES, *parameters((*read, *written))))
    with tiles(k, ragged) as tile:
        streams = {name: tile.tokens(name) for name in (*read, *written)}
        with k.loop(tile.length) as i:
            places = {name: stream.at(tile.token(i)) for name, stream in streams.items()}
            given = {name: places[name].load(tile.mask) for name in read}
            y = given["y"] + given["y_backward"] if two else given["y"]
            if gradient:
                gate, slope = silu_and_slope(given["z"])
                places["grad_z"].store(given["grad_out"] * y * slope, tile.mask)
                places["grad_y"].store(given["grad_out"] * gate, tile.mask)
            else:
                places["out"].store(y * silu(given["z"]), tile.mask)
    return Native(k)


def step_size(delta: Tensor, delta_bias: Tensor | None) -> Tensor:
    """See `operators.Launch`."""
    blocks = _blocks(delta)
    out = blocks.empty_output(delta.float())
    native = compiled(build_step_size, blocks.ragged, False)
    bias = {"bias": _bias(blocks, delta_bias, out), "grad_bias": None}
    _run(native, blocks, {"delta": delta, "out": out}, bias)
    return out


def step_size_gradient(grad: Tensor, delta: Tensor, delta_bias: Tensor | None) -> Results:
    """See `operators.Launch`."""
    blocks = _blocks(delta)
    grad_delta = blocks.empty_output(delta.float())
    grad_bias = grad_delta.new_zeros(blocks.batch, blocks.d_inner)
    native = compiled(build_step_size, blocks.ragged, True)
    tokens = {"delta": delta, "grad_out": grad, "grad_delta": grad_delta}
    bias = {"bias": _bias(blocks, delta_bias, grad_delta), "grad_bias": grad_bias}
    _run(native, blocks, tokens, bias)
    return grad_delta, None if delta_bias is None else total(grad_bias, 0)


def gated_sum(y: Tensor, y_backward: Tensor | None, z: Tensor) -> Tensor:
    """See `operators.Launch`."""
    blocks = _blocks(y)
    out = blocks.empty_output(y.float())
    native = compiled(build_gated_sum, blocks.ragged, y_backward is not None, False)
    _run(native, blocks, {"y": y, "y_backward": y_backward, "z": z, "out": out})
    return out


def gated_sum_gradient(grad: Tensor, y: Tensor, y_backward: Tensor | None, z: Tensor) -> Results:
    """See `operators.Launch`."""
    blocks = _blocks(y)
    grad_y, grad_z = (blocks.empty_output(y.float()) for _ in range(2))
    native = compiled(build_gated_sum, blocks.ragged, y_backward is not None, True)
    tokens = {"y": y, "y_backward": y_backward, "z": z, "grad_out": grad}
    _run(native, blocks, tokens | {"grad_y": grad_y, "grad_z": grad_z})
    return grad_y, grad_z


def _blocks(x: Tensor) -> Blocks:
    batch, d_inner, seqlen = x.shape
    return Blocks(batch, seqlen, d_inner)


def _bias(blocks: Blocks, bias: Tensor | None, like: Tensor) -> Tensor:
    return blocks.channels(None if bias is None else bias.float(), like)


def _run(
    native: Native,
    blocks: Blocks,
    tokens: Mapping[str, Tensor | None],
    packed: Mapping[str, Tensor | None] | None = None,
) -> None:
    """Run over all tokens in float32; tensors of tokens are (batch, d_inner, seqlen)."""
    ask_for_large_pages(*tokens.values())
    arguments = blocks.arguments(token_order("", blocks.seqlen, False, None)) | dict(packed or {})
    for name, x in tokens.items():
        arguments |= token_arguments(name, None if x is None else token_major(x.float()))
    native(blocks.tasks, arguments)
