"""The compiled backends of the convolution as torch custom operators.

A backend is a module `conv/<name>.py` with the functions of `Launch`, imported by the first
operator that runs: importing the package loads neither llvmlite nor triton.
"""

from importlib import import_module
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from vmamba_kernels.operators import Results, operator, token_major_like


class ConvOptions(NamedTuple):
    """How a convolution reads its tokens, as `causal_conv1d` takes it, and whether SiLU follows."""

    order: Tensor | None = None
    silu: bool = False
    reverse: bool = False


class Launch(Protocol):
    """What a compiled backend computes: plain functions, no gradient recorded."""

    def forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, options: ConvOptions
    ) -> Tensor:
        """The convolution of x (batch, d_inner, seqlen) with weight (d_inner, d_conv)."""

    def gradient(
        self,
        grad: Tensor,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        options: ConvOptions,
    ) -> Results:
        """The gradients of x, weight and bias, typed like them."""


class Compiled:
    """The function of `naive`, run by the kernels of one backend, "cpu" or "gpu"."""

    def __init__(self, backend: str) -> None:
        def launch() -> Any:
            return import_module(f"vmamba_kernels.conv.{backend}")

        name = f"causal_conv1d_{backend}"
        gradient = operator(
            f"{name}_gradient", Launch.gradient,
            lambda *inputs: launch().gradient(*inputs),
            lambda grad, x, weight, bias, options: (
                token_major_like(x), weight.new_empty(weight.shape),
                None if bias is None else bias.new_empty(bias.shape),
            ),
            returns=3,
        )  # fmt: skip
        self._forward = operator(
            name, Launch.forward,
            lambda *inputs: launch().forward(*inputs),
            lambda x, *_: token_major_like(x),
            gradient=lambda inputs, saved, upstream: gradient(*upstream, *inputs),
        )  # fmt: skip

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None, options: ConvOptions) -> Tensor:
        """Convolve x (batch, d_inner, seqlen) with weight (d_inner, d_conv); see `causal_conv1d`.

        Arguments as in `naive.conv`, none of them float64.
        """
        return self._forward(x, weight, bias, options)
