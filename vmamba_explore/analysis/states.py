"""How large the hidden states are, in a measure that does not depend on their arbitrary scale."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.trace.trace import Trace


def state_norms(trace: Trace, clip: int = 0) -> xr.DataArray:
    """Measure the hidden state at every token, for each recorded layer and direction.

    Args:
        trace: Holds `hook_C`, and `hook_h_over_channels` or `hook_h`, of the layers to measure.
        clip: Which clip of the batch.

    Returns:
        `token_norms` over the grid: dims layer, direction, frame, row, col, no unit, in natural
        clip order. Average over row and col for one number per frame.

    Raises:
        KeyError: no states were recorded, or C is missing in a layer whose states were.
    """
    places = trace.places("h_over_channels") or trace.places("h")
    with_c = trace.places("C")
    if not places or not set(with_c).issuperset(places):
        raise KeyError(
            f"state_norms: the trace has states at {places} and C at {with_c}; it "
            "needs both. Record them with names_filter=['*.hook_h_over_channels', '*.hook_C']."
        )
    layers = sorted({layer for layer, _ in places})
    labels = trace.sel(layer=layers, quantity="C", clip=clip, state=0)
    norms = np.empty(labels.shape, np.float32)
    for i, layer in enumerate(layers):
        for j, direction in enumerate(labels["direction"].values):
            ssm = f"layers.{layer}.mixer.ssm_{direction}"
            norm = trace.get(f"{ssm}.hook_h_over_channels")
            if norm is None:
                norm = torch.linalg.vector_norm(trace[f"{ssm}.hook_h"].detach().float(), dim=1)
            read = _as_read(norm[clip], trace[f"{ssm}.hook_C"][clip].detach())
            norms[i, j] = trace.grid.split(read)[0].cpu().numpy()
    return labels.copy(data=norms).rename("state norm").assign_attrs(quantity="state norm", unit="")


def token_norms(
    h: Float[Tensor, "d_inner d_state seqlen"], C: Float[Tensor, "d_state seqlen"]
) -> Float[Tensor, " seqlen"]:
    """Measure the state at every token such that an arbitrary scale of B and C drops out.

    The model computes the same from c B and C / c, with c times the state; so each state number n
    is first multiplied by how strongly it is read::

        norm[t]^2 = sum over d, n of (h[d, n, t] * rms_t(C[n, t]))^2

    Args:
        h: Hidden states of one clip and direction.
        C: What reads them.

    Returns:
        One non-negative number per token, float32, no unit.
    Raises:
        ValueError: the two do not belong together.
    """
    if h.ndim != 3 or C.shape != h.shape[1:]:
        raise ValueError(
            f"token_norms: h is {tuple(h.shape)} and C {tuple(C.shape)}, expected "
            "(d_inner, d_state, seqlen) and (d_state, seqlen)."
        )
    return _as_read(torch.linalg.vector_norm(h.float(), dim=0), C)


def reading_strength(C: Tensor) -> Tensor:
    """How strongly each state is read, rms over tokens of C (d_state, seqlen): (d_state,).

    h times this is the same whatever factor B and C trade: the measure in which states compare.
    """
    return C.square().mean(dim=-1).sqrt()


def _as_read(over_channels: Tensor, C: Tensor) -> Tensor:
    """Norms over channels (d_state, seqlen), each state weighted by the rms of its C: (seqlen,)."""
    return torch.linalg.vector_norm(over_channels * reading_strength(C.float())[:, None], dim=0)
