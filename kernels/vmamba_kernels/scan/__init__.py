"""The selective scan: two public functions, one definition (`naive`), faster backends behind it."""

from typing import Literal, NamedTuple, overload

from torch import Tensor

from vmamba_kernels.backends import choose_backend
from vmamba_kernels.checks import check_scan
from vmamba_kernels.scan import cpu, naive

__all__ = ["ScanResult", "selective_scan", "selective_scan_with_states"]


class ScanResult(NamedTuple):
    """What a scan gives when its states are kept."""

    y: Tensor
    states: Tensor


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = ...,
    z: Tensor | None = ...,
    delta_bias: Tensor | None = ...,
    delta_softplus: bool = ...,
    return_last_state: Literal[False] = ...,
    *,
    reverse: bool = ...,
    initial_state: Tensor | None = ...,
    backend: str = ...,
) -> Tensor: ...
@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = ...,
    z: Tensor | None = ...,
    delta_bias: Tensor | None = ...,
    delta_softplus: bool = ...,
    *,
    return_last_state: Literal[True],
    reverse: bool = ...,
    initial_state: Tensor | None = ...,
    backend: str = ...,
) -> tuple[Tensor, Tensor]: ...
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    reverse: bool = False,
    initial_state: Tensor | None = None,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run the selective scan of Mamba over a sequence of tokens.

    For each batch element and channel, with delta after bias and softplus::

        h[t] = exp(delta[t] * A) * h[t-1] + delta[t] * B[t] * u[t]
        y[t] = (sum_n C[t, n] * h[t, n] + D * u[t]) * silu(z[t])

    Any strides are accepted; token-major memory (stride 1 along d_inner) is read in place, and
    the output is token-major too. States and sums are float32 (float64 if any argument is).

    Args:
        u: Scan input, (batch, d_inner, seqlen). float32, float16, bfloat16 or float64.
        delta: Step size, same shape as `u`, no unit. Positive after bias and softplus.
        A: Decay rate, (d_inner, d_state). Negative, so that states fade.
        B: What a token writes, (batch, d_state, seqlen) or (batch, groups, d_state, seqlen).
        C: What a token reads, shaped like `B` (its number of groups may differ).
        D: Skip weight, (d_inner,).
        z: Gate before its SiLU, same shape as `u`.
        delta_bias: Added to `delta` before the softplus, (d_inner,).
        delta_softplus: Pass delta + delta_bias through softplus.
        return_last_state: Return (y, last_state) instead of y, as mamba_ssm does.
        reverse: Run from the last token to the first; results stay in natural order.
        initial_state: h before the first token in scan order, (batch, d_inner, d_state).
        backend: "auto", "naive", "cpu" or "gpu"; see `vmamba_kernels.backends()`.

    Returns:
        `y`, shaped and typed like `u`; with `return_last_state` also the state after the last
        token in scan order (token 0 if `reverse`), (batch, d_inner, d_state), float32.

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, equation 2 and algorithm 2.
    """
    y, last_state, _ = _scan(
        "selective_scan", u, delta, A, B, C, D, z, delta_bias, initial_state,
        delta_softplus, reverse, False, backend,
    )  # fmt: skip
    return (y, last_state) if return_last_state else y


def selective_scan_with_states(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    reverse: bool = False,
    initial_state: Tensor | None = None,
    backend: str = "auto",
) -> ScanResult:
    """Run the selective scan and keep the state after every token.

    `y` is the same, bit for bit, as `selective_scan` gives on the same backend.

    Args:
        u, delta, A, B, C, D, z, delta_bias, delta_softplus: As in `selective_scan`.
        reverse, initial_state, backend: As in `selective_scan`.

    Returns:
        `y`, shaped and typed like `u`, and `states`, float32 (batch, d_inner, d_state, seqlen)
        in natural token order, maybe a strided view: `states[..., t]` is h[t], read by y[t].

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, equation 2 and algorithm 2.
    """
    y, _, states = _scan(
        "selective_scan_with_states", u, delta, A, B, C, D, z, delta_bias, initial_state,
        delta_softplus, reverse, True, backend,
    )  # fmt: skip
    return ScanResult(y, states)


def _scan(
    call: str,
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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Check, give B and C their group axis, and run the chosen backend."""
    tensors = check_scan(call, u, delta, A, B, C, D, z, delta_bias, initial_state)
    chosen = choose_backend(call, backend, tensors)
    B, C = (x if x.dim() == 4 else x.unsqueeze(1) for x in (B, C))
    run = cpu.scan if chosen == "cpu" else naive.scan
    return run(
        u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, reverse, keep_states
    )
