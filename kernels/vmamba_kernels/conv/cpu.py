"""The convolution on the CPU: lay tensors out for its kernels and run them.

Inside, x and the output are float32 or bfloat16 in token-major memory (see `jit.tasks`), the rest
float32.
"""

import torch
from torch import Tensor

from vmamba_kernels.conv.cpu_kernels import build_forward, build_gradient
from vmamba_kernels.conv.operators import ConvOptions
from vmamba_kernels.jit.memory import ask_for_large_pages, total
from vmamba_kernels.jit.native import Arguments, compiled
from vmamba_kernels.jit.tasks import (
    Blocks,
    bfloats,
    readable,
    token_arguments,
    token_major,
    token_order,
)
from vmamba_kernels.operators import Results


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, options: ConvOptions) -> Tensor:
    """See `operators.Launch`."""
    blocks, arguments = _inputs(x, weight, bias, options)
    out = blocks.empty_output(readable(x))
    ask_for_large_pages(out)
    arguments |= token_arguments("out", out.transpose(1, 2))
    variant = weight.shape[1], options.silu, blocks.ragged, bfloats(arguments)
    compiled(build_forward, *variant)(blocks.tasks, arguments)
    return out.to(x.dtype)


def gradient(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, options: ConvOptions
) -> Results:
    """See `operators.Launch`."""
    blocks, arguments = _inputs(x, weight, bias, options)
    grad_x = blocks.empty_tokens(readable(x))
    grad_weight = blocks.zeros_packed(weight.float(), weight.shape[1])
    grad_bias = grad_weight.new_zeros(blocks.batch, blocks.d_inner)
    ask_for_large_pages(grad_x)
    arguments |= token_arguments("grad_out", token_major(readable(grad)))
    arguments |= token_arguments("grad_x", grad_x)
    arguments |= {
        "grad_weight": grad_weight,
        "grad_bias": grad_bias,
        "unfinished": torch.zeros_like(grad_weight[:, :, 1:]),
    }
    variant = weight.shape[1], options.silu, blocks.ragged, bfloats(arguments)
    compiled(build_gradient, *variant)(blocks.tasks, arguments)
    return (
        grad_x.transpose(1, 2).to(x.dtype),
        blocks.unpack(total(grad_weight, 0)).t().contiguous().to(weight.dtype),
        None if bias is None else total(grad_bias, 0).to(bias.dtype),
    )


def _inputs(
    x: Tensor, weight: Tensor, bias: Tensor | None, options: ConvOptions
) -> tuple[Blocks, Arguments]:
    """How the work is cut, and the arguments that forward and gradient share."""
    blocks, weight = Blocks(x.shape[0], x.shape[2], x.shape[1]), weight.float()
    order = token_order("causal_conv1d", blocks.seqlen, options.reverse, options.order)
    packed: Arguments = {
        "weight": blocks.pack(weight.t()),
        "bias": blocks.channels(None if bias is None else bias.float(), weight),
        "window": blocks.zeros_packed(weight, weight.shape[1] - 1),
    }
    tokens = token_arguments("x", token_major(readable(x)))
    return blocks, blocks.arguments(order) | packed | tokens
