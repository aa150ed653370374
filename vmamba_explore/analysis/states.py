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
        trace: Holds `hook_h` and `hook_C` of the layers to measure.
        clip: Which clip of the batch.

    Returns:
        `token_norms` over the grid: dims layer, direction, frame, row, col, no unit, in natural
        clip order. Average over row and col for one number per frame.

    Raises:
        KeyError: no states were recorded, or C is missing in a layer whose states were.
    """
    layers = sorted({int(n.split(".")[1]) for n in trace.names if n.endswith(".hook_h")})
    with_c = {int(n.split(".")[1]) for n in trace.names if n.endswith(".hook_C")}
    if not layers or not with_c.issuperset(layers):
        raise KeyError(
            f"state_norms: the trace has h of layers {layers} and C of layers {sorted(with_c)}; "
            "it needs both. Record them with names_filter=['*.hook_h', '*.hook_C']."
        )
    labels = trace.sel(quantity="C", clip=clip).sel(layer=layers).isel(state=0, drop=True)
    norms = np.empty(labels.shape, np.float32)
    for i, layer in enumerate(layers):
        for j, direction in enumerate(labels["direction"].values):
            ssm = f"layers.{layer}.mixer.ssm_{direction}"
            h, c = (trace[f"{ssm}.hook_{name}"][clip].detach() for name in "hC")
            video, _ = trace.grid.split(token_norms(h, c))
            norms[i, j] = video.cpu().numpy()
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
    """
    reading = C.float().square().mean(dim=-1, keepdim=True).sqrt()
    per_state = torch.linalg.vector_norm(h.float(), dim=0)  # first, or a copy of h is made
    return torch.linalg.vector_norm(per_state * reading, dim=0)
