"""The selective scan: public functions, one definition (`naive`), faster backends behind them."""

from typing import Any, Literal, overload

from torch import Tensor

from vmamba_kernels.backends import choose_backend
from vmamba_kernels.checks import Tokens, check_order, check_scan, token_indices
from vmamba_kernels.scan import naive
from vmamba_kernels.scan.operators import Compiled
from vmamba_kernels.types import (
    BidirectionalResult,
    ScanInputs,
    ScanNorms,
    ScanOptions,
    ScanResult,
)

__all__ = [
    "BidirectionalResult",
    "ScanInputs",
    "ScanNorms",
    "ScanResult",
    "selective_scan",
    "selective_scan_with_norms",
    "selective_scan_with_states",
]

BACKENDS: dict[str, Any] = {
    "naive": naive,
    "cpu": Compiled("cpu", "bidirectional_scan"),
    "gpu": Compiled("gpu", "bidirectional_selective_scan"),
}


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
    order: Tensor | None = ...,
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
    order: Tensor | None = ...,
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
    order: Tensor | None = None,
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
        order: Any other order to read in: entry i is the token read at step i, int64 (seqlen,).
            Every tensor stays in natural order.
        initial_state: h before the first token in scan order, (batch, d_inner, d_state).
        backend: "auto", "naive", "cpu" or "gpu"; see `vmamba_kernels.backends()`.

    Returns:
        `y`, shaped and typed like `u`; with `return_last_state` also the state after the last
        token read (token 0 if `reverse`), (batch, d_inner, d_state), float32.

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, equation 2 and algorithm 2.
    """
    given = ScanInputs(u, delta, A, B, C, D, delta_bias, initial_state)
    options = ScanOptions(order, delta_softplus, reverse)
    run, given = _prepared("selective_scan", backend, given, z, options)
    y, last_state, _ = run.scan(given, z, options, None)
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
    tokens: Tokens | None = None,
    reverse: bool = False,
    order: Tensor | None = None,
    initial_state: Tensor | None = None,
    backend: str = "auto",
) -> ScanResult:
    """Run the selective scan and keep the state after every token, or after chosen ones.

    `y` is the same, bit for bit, as `selective_scan` gives on the same backend. Memory grows with
    the states that are kept, and with no others; `scan_window` recomputes those in between.

    Args:
        u, delta, A, B, C, D, z, delta_bias, delta_softplus: As in `selective_scan`.
        tokens: Whose states to keep, by natural index: a slice such as slice(63, None, 64), a
            range, a list or a tensor of whole numbers (-1 is the last token). None: every token.
        reverse, order, initial_state, backend: As in `selective_scan`.

    Returns:
        `y`, shaped and typed like `u`, and `states`, float32 (batch, d_inner, d_state, count),
        in the order of `tokens`, maybe a strided view. For every token, `states[..., t]` is h[t],
        read by y[t].

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, equation 2 and algorithm 2.
    """
    call = "selective_scan_with_states"
    given = ScanInputs(u, delta, A, B, C, D, delta_bias, initial_state)
    options = ScanOptions(order, delta_softplus, reverse)
    run, given = _prepared(call, backend, given, z, options)
    y, _, states = run.scan(given, z, options, token_indices(call, tokens, u.shape[2]))
    return ScanResult(y, states)


def selective_scan_with_norms(
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
    order: Tensor | None = None,
    initial_state: Tensor | None = None,
    backend: str = "auto",
) -> ScanNorms:
    """Run the selective scan and measure its states as they are made, without keeping them.

    `y` is the same, bit for bit, as `selective_scan` gives on the same backend. The scale of a
    state is arbitrary: the same y comes from B * w and C / w, with h * w. To weight the states by
    how strongly they are read, as `analysis.states.token_norms` does, scan with
    w = rms of C over the tokens.

    Args:
        u, delta, A, B, C, D, z, delta_bias, delta_softplus: As in `selective_scan`.
        reverse, order, initial_state, backend: As in `selective_scan`.

    Returns:
        `ScanNorms`: y, and float32 norms over states and over channels and the readout, which
        carry no gradient (`selective_scan_with_states` does).

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.
    """
    given = ScanInputs(u, delta, A, B, C, D, delta_bias, initial_state)
    options = ScanOptions(order, delta_softplus, reverse)
    run, given = _prepared("selective_scan_with_norms", backend, given, z, options)
    return ScanNorms(*run.scan_norms(given, z, options))


def _prepared(
    call: str, backend: str, given: ScanInputs, z: Tensor | None, options: ScanOptions
) -> tuple[Any, ScanInputs]:
    """Check the arguments: the backend that runs, and `given` as it takes it."""
    tensors = check_scan(call, given, z)
    check_order(call, given.u.shape[2], options.reverse, options.order)
    return BACKENDS[choose_backend(call, backend, tensors)], grouped(given)


def grouped(given: ScanInputs) -> ScanInputs:
    """`given`, B and C with their group axis: (batch, groups, d_state, seqlen)."""
    B, C = (x if x.dim() == 4 else x.unsqueeze(1) for x in (given.B, given.C))
    return given._replace(B=B, C=C)
