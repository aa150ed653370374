"""What a running kernel answers about an explored clip: hidden attention, and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from vmamba_explore import resources
from vmamba_explore.analysis.attention import hidden_attention
from vmamba_explore.analysis.channels import (
    Channels,
    channel_names,
    channel_statistics,
    clip_half_lives,
)
from vmamba_explore.analysis.evidence import logit_readout
from vmamba_explore.analysis.trajectories import states_by_frame
from vmamba_explore.attribution.clip_scores import ClipScore, Report, card_methods, score_on_clip
from vmamba_explore.attribution.ground_truth import Truth
from vmamba_explore.clips import Clip
from vmamba_explore.clips.clip import Generated
from vmamba_explore.clips.labeled import LabeledClip
from vmamba_explore.files import read_json
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.model.contrast import Contrast
from vmamba_explore.trace.record import replay_layer
from vmamba_explore.trace.trace import Trace
from vmamba_explore.trace.window import window_names
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
        if token is None and not self.trace.config.reads_one_token:
            return array
        index = grid.cls_index if token is None else grid.index(*token)
        for direction in array["direction"].values:
            step = self.trace.ssm(layer, str(direction)).steps(grid.seqlen).argsort()
            before = step <= step[index] if side == "reads" else step >= step[index]
            possible.append(grid.split(before)[0].cpu().numpy())
        return array.where(np.stack(possible))


@dataclass(frozen=True)
class LiveNumbers:
    """Answers `Numbers` from a recorded run; a layer's values are recomputed, then dropped.

    Args:
        trace: Holds `hook_block_input` of every layer, and `hook_out` of the last.
        edited: Opens the block in which the model is as it was in that run.
        clip: What was explored, with its truth where that is known.
        contrast: The classes that are explained.
        is_edited: Whether the model was edited.
        budget_gib: For attributions, GiB.
    """

    trace: Trace
    edited: Callable[[], AbstractContextManager[object]]
    clip: Clip | Generated
    contrast: Contrast
    is_edited: bool = False
    budget_gib: float | int = 1.0

    def methods(self) -> tuple[str, ...]:
        """The attribution methods that `score` knows; empty where the model was edited."""
        return () if self.is_edited else tuple(card_methods(self.trace.model))

    def truth(self) -> NDArray[np.bool_] | None:
        """The tokens that show what decides, (frame, row, col); None where that is unknown."""
        if not isinstance(self.clip, LabeledClip):
            return None
        return Truth.of([self.clip], self.trace.grid).evidence[0].numpy()

    def card(self) -> Path | None:
        """The bundled figure of the score card that was measured with exactly these weights."""
        if self.is_edited:
            return None
        own = fingerprint(self.trace.model)
        for file in sorted(resources.data_dir().glob("scorecard_figure*.json")):
            meta = read_json(file, dict, "score card")["layout"].get("meta") or {}
            if meta.get("weights") == own:
                return file
        return None

    def states(self, layer: int, place: tuple[int, int] | None = None) -> xr.DataArray:
        """Return the state in every token frame; see `states_by_frame`."""
        with torch.no_grad(), self.edited():
            run = replay_layer(self.trace, layer, window_names(self.trace, layer))
            return states_by_frame(run, layer, place=place)

    def channels(self, layer: int, direction: str) -> Channels:
        """Return numbers of every channel of a scan; see `channel_statistics`."""
        with torch.no_grad(), self.edited():
            readout = logit_readout(self.trace, self.contrast)
            names = [*channel_names(layer), *window_names(self.trace, layer)]
            run = replay_layer(self.trace, layer, names)
            return channel_statistics(run, layer, direction, readout)

    def half_lives(self, layer: int) -> xr.DataArray:
        """Return how long every state of a layer lasts; see `clip_half_lives`."""
        with torch.no_grad(), self.edited():
            run = replay_layer(self.trace, layer, "*.hook_delta")
            return clip_half_lives(run, layer)

    def score(self, methods: Sequence[str], report: Report | None = None) -> Iterator[ClipScore]:
        """Explain the clip with several methods and score them; see `score_on_clip`."""
        if self.is_edited:
            raise ValueError(
                "score card: attributions explain a model as it is, and this side ran edited. "
                "Choose the other side."
            )
        yield from score_on_clip(
            self.trace.model, self.clip, methods, self.contrast,
            report=report, budget_gib=self.budget_gib,
        )  # fmt: skip
