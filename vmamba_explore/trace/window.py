"""Any window of hidden states, recomputed from a recording that holds few of them."""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torch.nn import functional as F

from vmamba_explore.errors import shown
from vmamba_explore.hooks import UnknownNameError
from vmamba_explore.model.mixer import Block
from vmamba_explore.model.ssm import BOUNDARY
from vmamba_explore.trace.trace import Trace
from vmamba_kernels import scan_window, selective_scan_with_states


def state_window(
    trace: Trace,
    layer: int,
    direction: str,
    start: int,
    stop: int,
    channels: slice | list[int] | None = None,
) -> Tensor:
    """Recompute every state of a window of tokens from boundary states.

    One state in 64 tokens is recorded (`hook_h_boundaries`); the scan starts again from the last
    one that is read before the window. With `hook_u`, `hook_delta`, `hook_B` and `hook_C` of the
    layer in the trace the states are the bits that the run had (on a CPU); from
    `hook_block_input` alone they agree to about 1e-5 of their size, and take far less memory.
    Where states or writes were replaced during the run, as by a reset, states do not follow from
    boundary states: record `hook_h` then, which is taken as it is (`window_names` knows).

    Args:
        trace: Holds `hook_h` of the layer and direction; or `hook_h_boundaries`, and its scan
            inputs or its block input.
        layer: Block number, from 0.
        direction: "forward" or "backward".
        start, stop: The window: tokens start to stop - 1 in natural clip order
            (`trace.grid.index(frame, row, col)` gives them).
        channels: Only these channels, a slice or a list; None: all.

    Returns:
        float32 (batch, channels, d_state, stop - start), natural order.

    Raises:
        KeyError: something needed was not recorded; the message says what to record.
        ValueError: no such layer, direction or window, or the model's weights have changed.
    """
    ssm, place = trace.ssm(layer, direction), f"layers.{layer}.mixer.ssm_{direction}"
    seqlen = trace.grid.seqlen
    if not 0 <= start < stop <= seqlen:
        raise ValueError(
            f"state_window: start {start} and stop {stop} are no window of {seqlen} tokens; they "
            "must satisfy 0 <= start < stop <= seqlen."
        )
    if f"{place}.hook_h" in trace:
        states = trace[f"{place}.hook_h"][..., start:stop]
        return states if channels is None else states[:, channels]
    block_input, needed = f"layers.{layer}.hook_block_input", f"{place}.hook_h_boundaries"
    scan_inputs = [f"{place}.hook_{name}" for name in ("u", "delta", "B", "C")]
    exact = all(name in trace for name in scan_inputs)
    if needed not in trace or not (exact or block_input in trace):
        raise UnknownNameError(
            f"state_window: the trace needs {shown(needed)} and either {shown(block_input)} or the "
            "scan's inputs there. Record them with names_filter=['*.hook_h_boundaries', "
            "'*.hook_block_input']."
        )
    boundaries = trace[needed]
    if exact:
        u, delta, B, C = (trace[name] for name in scan_inputs)
        u = u.to(delta.dtype)
        return scan_window(
            u, delta, ssm.A, B, C, ssm.D,
            states=boundaries, tokens=ssm.boundaries(seqlen), start=start, stop=stop,
            channels=channels, reverse=ssm.reverse, order=ssm.scan_order,
            initial_state=ssm.start(u),
        ).states  # fmt: skip

    # in scan order: from the last boundary before the window, and the convolution's reach further
    steps = ssm.steps(seqlen)
    window = steps.argsort()[start:stop]
    restart = int(window.min()) // BOUNDARY
    first, reach = restart * BOUNDARY, min(restart * BOUNDARY, ssm.conv1d.kernel_size[0] - 1)
    block = cast(Block, trace.model.layers[layer])
    residual = trace[block_input][:, steps[first - reach : int(window.max()) + 1]]
    hidden = block.norm(residual.to(block.norm.weight.dtype))
    x = F.linear(hidden, block.mixer.in_proj.weight[: ssm.D.shape[0]]).mT
    inputs = ssm.select(x, in_scan_order=True)
    part = slice(None) if channels is None else channels
    before = boundaries[..., restart - 1] if restart else inputs.initial_state
    return selective_scan_with_states(
        inputs.u[:, part, reach:],
        inputs.delta[:, part, reach:],
        inputs.A[part],
        inputs.B[..., reach:],
        inputs.C[..., reach:],
        delta_bias=ssm.dt_proj.bias[part],
        delta_softplus=True,
        initial_state=None if before is None else before[:, part],
        tokens=window - first,
    ).states


def window_names(trace: Trace, layer: int) -> list[str]:
    """List what to record of a layer for `state_window`, as a `names_filter`.

    Call it in the block of `replay_layer`: every state is recorded where states or writes are being
    replaced, and one in 64 otherwise.

    Args:
        trace: Of the model.
        layer: Block number.
    """
    scans = [trace.ssm(layer, direction) for direction in trace.config.directions]
    replaced = any(
        scan.handovers or scan.hook_h.is_active or scan.hook_write.is_active for scan in scans
    )
    names = ["u", "delta", "B", "h_boundaries"]
    if replaced:
        names = ["h", *(names[:3] if any(scan.leaves_out_own for scan in scans) else ())]
    return [f"layers.{layer}.mixer.ssm_*.hook_{name}" for name in (*names, "C")]
