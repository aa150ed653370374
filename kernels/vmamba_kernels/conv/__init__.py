"""The causal depthwise convolution in front of the scan, with its SiLU."""

from typing import Any

from torch import Tensor

from vmamba_kernels.backends import choose_backend
from vmamba_kernels.checks import Arguments, check_arguments, check_order
from vmamba_kernels.conv import naive
from vmamba_kernels.conv.operators import Compiled, ConvOptions

__all__ = ["causal_conv1d"]

BACKENDS: dict[str, Any] = {"naive": naive, "cpu": Compiled("cpu"), "gpu": Compiled("gpu")}
MAX_WIDTH = 8


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    reverse: bool = False,
    order: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Convolve every channel along the tokens, each token seeing only itself and earlier ones.

    With x[s] = 0 before the first token::

        out[t] = act(bias + sum_k weight[k] * x[t - (d_conv - 1) + k])

    Any strides are accepted; token-major memory (stride 1 along d_inner) is read in place, and
    the output is token-major too.

    Args:
        x: (batch, d_inner, seqlen). float32, float16, bfloat16 or float64.
        weight: One filter a channel, (d_inner, d_conv), d_conv from 1 to 8. Its last column
            multiplies the token itself.
        bias: (d_inner,).
        activation: "silu", or None for none.
        reverse: Each token sees itself and LATER ones, as if flipped, convolved, flipped back.
        order: Any other order in which tokens follow each other: entry i is the i-th token, int64
            (seqlen,). Every tensor stays in natural order.
        backend: "auto", "naive", "cpu" or "gpu"; see `vmamba_kernels.backends()`.

    Returns:
        Shaped and typed like `x`.

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, section 3.4, figure 3.
    """
    call = "causal_conv1d"
    arguments: Arguments = {
        "x": (x, ("batch", "d_inner", "seqlen")),
        "weight": (weight, ("d_inner", "d_conv")),
    }
    if bias is not None:
        arguments["bias"] = (bias, ("d_inner",))
    check_arguments(call, arguments)
    if weight.shape[1] > MAX_WIDTH:
        raise ValueError(
            f"{call}: weight has d_conv = {weight.shape[1]}; it must be 1 to {MAX_WIDTH}. "
            f"weight is (d_inner, d_conv) = {tuple(weight.shape)}."
        )
    if activation not in (None, "silu"):
        raise ValueError(f'{call}: activation must be "silu" or None, got {activation!r}.')
    check_order(call, x.shape[2], reverse, order)
    chosen = choose_backend(call, backend, [tensor for tensor, _ in arguments.values()])
    return BACKENDS[chosen].conv(x, weight, bias, ConvOptions(order, activation == "silu", reverse))
