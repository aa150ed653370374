"""One hidden state at every token, and which of the many are worth looking at."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from vmamba_explore.analysis.decay import check_clip
from vmamba_explore.analysis.evidence import LogitReadout
from vmamba_explore.analysis.states import reading_strength
from vmamba_explore.errors import shown
from vmamba_explore.model.ssm import BOUNDARY, at_least_float32
from vmamba_explore.trace.trace import Trace
from vmamba_explore.trace.window import state_window

GAUGE = "h times the rms of the C that reads it"
"""The measure in which states are compared: B and C may trade any factor."""


def state_map(trace: Trace, layer: int, channel: int, state: int, *, clip: int = 0) -> xr.DataArray:
    """Follow one state of each direction over all tokens, in a measure without arbitrary scale.

    Both directions read the same channel, but their scans have parameters of their own: state n of
    one is not the counterpart of state n of the other.

    Args:
        trace: Holds C of the layer and what `state_window` needs.
        layer, channel, state: Which one.
        clip: Which clip of the batch.
    Returns:
        h[channel, state] times the rms of C[state] over tokens: dims direction, frame, row, col;
        at each token the state that its own output is read from.
    Raises:
        KeyError: something needed was not recorded.
        ValueError: no such layer, channel, state or clip.
    """
    check_clip("state_map", trace, clip)
    for name, number, count in (
        ("channel", channel, trace.config.d_inner), ("state", state, trace.config.d_state),
    ):  # fmt: skip
        if not 0 <= number < count:
            raise ValueError(f"state_map: {name} is {shown(number)}, expected 0 to {count - 1}.")
    grid, found = trace.grid, []
    for direction in trace.config.directions:
        reading = _reading(trace, layer, direction, clip)[state]
        parts = [h[0, state] for _, h in _windows(trace, layer, direction, clip, [channel])]
        found.append(grid.split(torch.cat(parts) * reading)[0].cpu().numpy())
    dims = ("direction", "frame", "row", "col")
    coords = {"direction": list(trace.config.directions), **trace.labels.frame_coords(clip)}
    attrs = {"unit": "", "quantity": "h, as it is read"}
    return xr.DataArray(np.stack(found), coords, dims, "state", attrs)


def state_contributions(
    trace: Trace, layer: int, direction: str, readout: LogitReadout, *, clip: int = 0
) -> xr.DataArray:
    """Measure what each state adds to the logit directly, through the C that reads it.

    With g the gate and q the read-out carried back through `out_proj`, state n of channel d adds
    the sum over tokens of q[d] g[d] C[n] h[d, n]. Together with what the skip D u adds, these sum
    to the direct contribution of the scan. Where a scan leaves out what a token writes itself, h
    is without it.

    Args:
        trace: Holds what `window_names` lists and `hook_z` of the layer; of a run that was
            not edited after its states were read.
        layer, direction: Which scan.
        readout: Of the logit.
        clip: Which clip of the batch.
    Returns:
        Logits: dims channel, state.
    Raises:
        KeyError: something needed was not recorded.
        ValueError: no such layer, direction or clip.
    """
    check_clip("state_contributions", trace, clip)
    z = at_least_float32(trace[f"layers.{layer}.mixer.hook_z"].detach())[clip]
    C = _read_by(trace, layer, direction, clip)
    mixer = trace.mixer(layer)
    weight = readout.at_mixer(trace, layer)[clip].to(z) * F.silu(z) * mixer.scale
    added = torch.zeros(trace.config.d_inner, trace.config.d_state, dtype=torch.float64)
    own = _own_writes(trace, layer, direction, clip)
    for at, h in _windows(trace, layer, direction, clip):
        if own is not None:
            h = h - own(at)
        part = torch.einsum("dt,nt,dnt->dn", weight[:, at], C[:, at], h)
        added += part.double().cpu()
    return xr.DataArray(added.numpy(), dims=("channel", "state"), attrs={"unit": "logits"})


def state_sizes(
    trace: Trace, layer: int, direction: str, token: int | None = None, *, clip: int = 0
) -> xr.DataArray:
    """Measure the size of every state of a scan, each as strongly as it is read.

    Args:
        trace: As for `state_map`.
        layer, direction: Which scan.
        token: Natural index of the token at which; None: the rms over all tokens.
        clip: Which clip of the batch.
    Returns:
        No unit: dims channel, state.
    Raises:
        As for `state_map`.
    """
    check_clip("state_sizes", trace, clip)
    reading = _reading(trace, layer, direction, clip)
    if token is not None:
        h = state_window(trace, layer, direction, token, token + 1)[clip, ..., 0]
        sizes = h.detach().float().abs()
    else:
        windows = _windows(trace, layer, direction, clip)
        squares = [h.square().sum(-1) for _, h in windows]
        sizes = (torch.stack(squares).sum(0) / trace.grid.seqlen).sqrt()
    values = (sizes * reading).cpu().numpy()
    return xr.DataArray(values, dims=("channel", "state"), attrs={"unit": ""})


def _windows(
    trace: Trace, layer: int, direction: str, clip: int, channels: list[int] | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """All states of a scan, few tokens at a time: (channel, state, token)."""
    for start in range(0, trace.grid.seqlen, BOUNDARY):
        at = slice(start, min(start + BOUNDARY, trace.grid.seqlen))
        h = state_window(trace, layer, direction, at.start, at.stop, channels)
        yield at, h[clip].detach().float()


def _own_writes(
    trace: Trace, layer: int, direction: str, clip: int
) -> Callable[[slice], Tensor] | None:
    """Give what no y reads of its own state, (channel, state, token) of some tokens; None: nothing.

    That is what the token wrote, and at the first token read all of the state.
    """
    ssm = trace.ssm(layer, direction)
    if not ssm.leaves_out_own:
        return None
    at = f"layers.{layer}.mixer.ssm_{direction}.hook_"
    u, delta, B = (trace[at + name][clip].detach().float() for name in ("u", "delta", "B"))
    first = ssm.first(u.shape[-1])
    state = state_window(trace, layer, direction, first, first + 1)[clip].detach().float()

    def own(tokens: slice) -> Tensor:
        written = torch.einsum("dt,nt->dnt", (delta * u)[:, tokens], B[:, tokens])
        if tokens.start <= first < tokens.stop:
            written[..., first - tokens.start] = state[..., 0]
        return written

    return own


def _read_by(trace: Trace, layer: int, direction: str, clip: int) -> Tensor:
    trace.ssm(layer, direction)  # raises where there is none
    return trace[f"layers.{layer}.mixer.ssm_{direction}.hook_C"][clip].detach().float()


def _reading(trace: Trace, layer: int, direction: str, clip: int) -> Tensor:
    return reading_strength(_read_by(trace, layer, direction, clip))
