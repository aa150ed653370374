"""LiveRun: hidden attention of an explored clip, computed on demand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

import numpy as np
import torch
import xarray as xr

from vmamba_explore.analysis.attention import hidden_attention
from vmamba_explore.trace.trace import Trace
from vmamba_explore.view.explorer.exploration import Token

SIDES: dict[str, Literal["reads", "reaches"]] = {"reads": "reads", "read_by": "reaches"}
"""What the explorer calls the rows and columns of hidden attention, in the order of its terms."""


class LiveRun:
    """A recorded run, and the `with` block in which its model was edited.

    Args:
        trace: Holds `hook_block_input` of every layer.
        edited: Opens the block in which the model is as it was in that run.
    """

    def __init__(self, trace: Trace, edited: Callable[[], AbstractContextManager[object]]) -> None:
        self.trace = trace
        self._edited = edited

    def attention(self, layer: int, token: Token) -> xr.Dataset:
        """Return which tokens a token reads and which read it; see `Live.attention`."""
        found = {}
        with torch.no_grad(), self._edited():
            for name, side in SIDES.items():
                if token is None and side == "reaches":
                    continue
                array = hidden_attention(self.trace, token, side=side, layers=[layer]).array()
                found[name] = self._possible(array.isel(layer=0, drop=True), layer, token, side)
        for array in found.values():
            array.attrs = {"unit": ""}
        return xr.Dataset(found)

    def _possible(self, array: xr.DataArray, layer: int, token: Token, side: str) -> xr.DataArray:
        """NaN where a scan reads the one after the other, so that nothing can have passed."""
        grid, possible = self.trace.grid, []
        if token is None and grid.cls_index is None:
            return array
        index = grid.cls_index if token is None else grid.index(*token)
        for direction in array["direction"].values:
            step = self.trace.ssm(layer, str(direction)).steps(grid.seqlen).argsort()
            before = step <= step[index] if side == "reads" else step >= step[index]
            possible.append(grid.split(before)[0].cpu().numpy())
        return array.where(np.stack(possible))
