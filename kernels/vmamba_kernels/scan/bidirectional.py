"""Both directions of a Mamba mixer: two scans, one gate, one sum."""

from typing import Any

from torch import Tensor

from vmamba_kernels.backends import choose_backend
from vmamba_kernels.checks import (
    Arguments,
    Tokens,
    check_arguments,
    check_order,
    check_scan,
    token_indices,
)
from vmamba_kernels.scan import BACKENDS, grouped
from vmamba_kernels.scan.naive import at_least_float32
from vmamba_kernels.types import BidirectionalResult, ScanInputs, ScanOptions, ScanResult

TOKENS = ("batch", "d_inner", "seqlen")


def bidirectional_selective_scan(
    forward: ScanInputs,
    backward: ScanInputs,
    z: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    order: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Scan the tokens in both directions and gate the sum, in one go.

    With y as in `selective_scan`, each direction with its own parameters::

        y = (y_forward + y_backward) * silu(z)

    Args:
        forward: u, delta, A, B, C, D, delta_bias, initial_state of the forward scan.
        backward: The same of the backward scan, every tensor in natural token order.
        z: Gate before its SiLU, (batch, d_inner, seqlen), shared.
        delta_softplus: Pass delta + delta_bias through softplus, in both directions.
        order: What the backward scan reads at each step, int64 (seqlen,); None: from the last
            token to the first. `TokenGrid.backward_indices` gives VideoMamba's three orders.
        backend: "auto", "naive", "cpu" or "gpu"; see `vmamba_kernels.backends()`.

    Returns:
        `y`, shaped and typed like `forward.u`, natural token order.

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.

    Source:
        Zhu et al. 2024 (Vim), arXiv:2401.09417, algorithm 1; backward orders: Park et al. 2024,
        arXiv:2407.08476, section 4.4.
    """
    call, options = "bidirectional_selective_scan", _options(order, delta_softplus)
    run, forward, backward = _prepared(call, forward, backward, z, options, backend)
    return run.bidirectional(forward, backward, z, options)


def bidirectional_selective_scan_with_states(
    forward: ScanInputs,
    backward: ScanInputs,
    z: Tensor | None = None,
    *,
    delta_softplus: bool = False,
    order: Tensor | None = None,
    tokens: Tokens | None = None,
    backend: str = "auto",
) -> BidirectionalResult:
    """Scan in both directions and keep each direction's y and states.

    Args:
        forward, backward, z, delta_softplus, order, backend: As in
            `bidirectional_selective_scan`.
        tokens: Whose states to keep, as in `selective_scan_with_states`; [] keeps none, and gives
            the two y alone.

    Returns:
        `y`, the same bits as `bidirectional_selective_scan` gives on the same backend; `forward`
        and `backward`, each (y before the gate, states).

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.
    """
    call, options = "bidirectional_selective_scan_with_states", _options(order, delta_softplus)
    run, forward, backward = _prepared(call, forward, backward, z, options, backend)
    kept = token_indices(call, tokens, forward.u.shape[2])
    dtype, results = forward.u.dtype, []
    for given, how in zip((forward, backward), options.directions(), strict=True):
        exact = given._replace(u=at_least_float32(given.u))  # y in float32: rounding comes last
        y, _, states = run.scan(exact, None, how, kept)
        results.append((y, states))
    (y, states), (y_backward, states_backward) = results
    return BidirectionalResult(
        run.gated_sum(y, y_backward, z).to(dtype),
        ScanResult(y.to(dtype), states),
        ScanResult(y_backward.to(dtype), states_backward),
    )


def step_size(delta: Tensor, delta_bias: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """Give softplus(delta + delta_bias), the same bits as a scan with `delta_softplus` uses.

    Args:
        delta: Before bias and softplus, (batch, d_inner, seqlen).
        delta_bias: (d_inner,).
        backend: "auto", "naive", "cpu" or "gpu".

    Returns:
        The step size, shaped like `delta`, float32 (float64 if `delta` is).

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.
    """
    arguments: Arguments = {"delta": (delta, TOKENS)}
    if delta_bias is not None:
        arguments["delta_bias"] = (delta_bias, ("d_inner",))
    check_arguments("step_size", arguments)
    chosen = choose_backend("step_size", backend, [x for x, _ in arguments.values()])
    return BACKENDS[chosen].step_size(delta, delta_bias)


def gated_sum(
    y_forward: Tensor, y_backward: Tensor | None, z: Tensor, *, backend: str = "auto"
) -> Tensor:
    """Give (y_forward + y_backward) * silu(z), the same bits as a scan with a gate gives.

    Args:
        y_forward: y before the gate, (batch, d_inner, seqlen).
        y_backward: The other direction's, or None for one direction alone.
        z: Gate before its SiLU.
        backend: "auto", "naive", "cpu" or "gpu".

    Returns:
        Shaped and typed like `y_forward`.

    Raises:
        ValueError: an argument does not fit; the message names it and says what would.
    """
    arguments: Arguments = {"y_forward": (y_forward, TOKENS), "z": (z, TOKENS)}
    if y_backward is not None:
        arguments["y_backward"] = (y_backward, TOKENS)
    check_arguments("gated_sum", arguments)
    chosen = choose_backend("gated_sum", backend, [x for x, _ in arguments.values()])
    return BACKENDS[chosen].gated_sum(y_forward, y_backward, z).to(y_forward.dtype)


def _prepared(
    call: str,
    forward: ScanInputs,
    backward: ScanInputs,
    z: Tensor | None,
    options: ScanOptions,
    backend: str,
) -> tuple[Any, ScanInputs, ScanInputs]:
    """Check both directions: the backend that runs, and the directions as it takes them."""
    tensors = []
    for name, given in (("forward", forward), ("backward", backward)):
        if not isinstance(given, ScanInputs):
            raise ValueError(
                f"{call}: {name} must be ScanInputs(u, delta, A, B, C, D, delta_bias, "
                f"initial_state), got {type(given).__name__}."
            )
        tensors += check_scan(f"{call}, {name}", given, z)
    same: Arguments = {"forward.u": (forward.u, TOKENS), "backward.u": (backward.u, TOKENS)}
    check_arguments(call, same)
    check_order(call, forward.u.shape[2], options.reverse, options.order)
    run = BACKENDS[choose_backend(call, backend, tensors)]
    return run, grouped(forward), grouped(backward)


def _options(order: Tensor | None, delta_softplus: bool) -> ScanOptions:
    """The options of the backward scan."""
    return ScanOptions(order, delta_softplus, reverse=order is None)
