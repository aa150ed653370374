"""What a running kernel answers about single hidden states of an explored clip."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from vmamba_explore.analysis.channels import clip_half_lives
from vmamba_explore.analysis.evidence import logit_readout
from vmamba_explore.analysis.single_states import state_contributions, state_map, state_sizes
from vmamba_explore.model.contrast import Contrast
from vmamba_explore.trace.record import replay_layer
from vmamba_explore.trace.trace import Trace
from vmamba_explore.trace.window import window_names
from vmamba_explore.view.explorer.exploration import StateChoice, Token


@dataclass(frozen=True)
class LiveStates:
    """Answers `SingleStates` from a recorded run; a layer's values are made again, then dropped.

    Args:
        trace: Holds `hook_block_input` of every layer, and `hook_out` of the last.
        edited: Opens the block in which the model is as it was in that run.
        contrast: The classes that are explained.
        is_edited: Whether the model was edited.
    """

    trace: Trace
    edited: Callable[[], AbstractContextManager[object]]
    contrast: Contrast
    is_edited: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """How many channels a scan has, and how many states a channel."""
        return self.trace.config.d_inner, self.trace.config.d_state

    def state(self, layer: int, channel: int, state: int) -> xr.DataArray:
        """Return one state at every token; see `state_map`."""
        with torch.no_grad(), self.edited():
            run = replay_layer(self.trace, layer, window_names(self.trace, layer))
            return state_map(run, layer, channel, state)

    def choices(self, layer: int, token: Token) -> list[StateChoice]:
        """Return the states that stand out, by scan; see `SingleStates.choices`."""
        names = [f"layers.{layer}.mixer.hook_z", f"layers.{layer}.mixer.ssm_*.hook_delta"]
        found = []
        with torch.no_grad(), self.edited():
            run = replay_layer(self.trace, layer, [*window_names(self.trace, layer), *names])
            lives = clip_half_lives(run, layer)
            for direction in self.trace.config.directions:
                ranked: dict[str, xr.DataArray] = {}
                if not self.is_edited:
                    readout = logit_readout(self.trace, self.contrast)
                    ranked["adds most to the logit"] = state_contributions(
                        run, layer, direction, readout
                    )
                ranked["largest"] = state_sizes(run, layer, direction)
                ranked["lasts longest"] = lives.sel(direction=direction)
                if token is not None:
                    index = self.trace.grid.index(*token)
                    ranked["largest at the asked patch"] = state_sizes(run, layer, direction, index)
                for words, values in ranked.items():
                    found.append(_choice(words, direction, values))
        return found


def _choice(words: str, direction: str, values: xr.DataArray) -> StateChoice:
    """The state with the value that is farthest from zero."""
    table = values.transpose("channel", "state").values
    place = np.unravel_index(np.abs(table).argmax(), table.shape)
    channel, state = (int(number) for number in place)
    unit = str(values.attrs.get("unit", ""))
    return StateChoice(words, direction, channel, state, float(table[place]), unit)
