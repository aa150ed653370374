"""What the explorer answers about single hidden states: one as a map, and those that stand out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vmamba_explore.view.explorer.exploration import (
    STATE_MAP,
    Exploration,
    Token,
    state_label,
    state_of,
)
from vmamba_explore.view.explorer.packing import pack_together


def state_answer(
    sides: Sequence[Exploration], layer: int, channel: int, number: int
) -> tuple[dict[str, Any], list[bytes]]:
    """Return one state of all sides on one scale, as `pack_maps` packs a map: levels as bytes.

    Raises:
        ValueError: there is no model to ask, or no such state.
    """
    maps = [state_of(side, layer, channel, number) for side in sides]
    described, levels = pack_together(STATE_MAP, maps)
    return {"map": described | {"label": state_label(layer, channel, number)}}, [levels]


def choices_answer(side: Exploration, layer: int, token: Token) -> dict[str, Any]:
    """Return the states of a side that stand out in a layer.

    Raises:
        ValueError: there is no model to ask.
    """
    if side.states is None:
        raise ValueError("Explorer: there is no model to ask which states stand out.")
    return {"choices": [each._asdict() for each in side.states.choices(layer, token)]}
