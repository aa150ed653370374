"""The same changes of a model in Python and in JavaScript."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np

from tests.vmamba_explore.view.live.models import tensor_of
from vmamba_explore.app.changes import parsed
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.interventions import cut_edges, drop_tokens
from vmamba_explore.trace.past import record_past


def block_of(model: VideoMamba, changes: list[dict[str, Any]], frames: np.ndarray) -> ExitStack:
    """A `with` block in which the model is changed as `editsOf` does it.

    Args:
        model: The model.
        changes: As `editsOf` takes them.
        frames: The clip's pixels; swaps take the past of the clip played backwards.
    """
    stack, past = ExitStack(), None
    if any(change["kind"] == "swap" for change in changes):
        past = record_past(model, tensor_of(frames[::-1]))
    for change in changes:
        if change["kind"] == "drop":
            stack.enter_context(drop_tokens(model, change["tokens"]))
        elif change["kind"] == "cut":
            every = range(model.config.depth), model.config.directions
            layers, directions = (
                [change[key]] if change.get(key) is not None else known
                for key, known in zip(("layer", "direction"), every, strict=True)
            )
            for layer in layers:
                for direction in directions:
                    places = change["sources"], change["targets"]
                    stack.enter_context(cut_edges(model, layer, direction, *places))
        else:
            stack.enter_context(parsed(change).block(model, past))
    return stack


def changes_of(model: VideoMamba) -> dict[str, list[dict[str, Any]]]:
    """By name: changes of every kind that a model allows, alone and together."""
    config, grid = model.config, model.grid
    last, directions = config.depth - 1, config.directions
    some = [token for token in range(0, grid.seqlen, 3) if token != grid.cls_index]
    half = list(range(grid.seqlen // 2))
    patches = [[0, 0, 1], [grid.frames - 1, 1, 0], [0, 0, 1]]
    found: dict[str, list[dict[str, Any]]] = {
        "a layer": [{"kind": "mute", "layer": last}],
        "patches": [{"kind": "freeze", "patches": patches}],
        "a frame": [{"kind": "freeze", "frame": 0}],
        "drop": [{"kind": "drop", "tokens": some}],
        "cut": [{"kind": "cut", "sources": half, "targets": some}],
        "overlapping cuts": [
            {"kind": "cut", "sources": half, "targets": some, "layer": 0},
            {"kind": "cut", "sources": some, "targets": half},
            {"kind": "cut", "sources": half, "targets": half, "layer": last},
        ],
        "drop and cut": [
            {"kind": "drop", "tokens": some[::2]},
            {"kind": "cut", "sources": some, "targets": half},
        ],
    }
    for direction in directions:
        found |= {
            f"{direction} muted": [{"kind": "mute", "direction": direction}],
            f"{direction} of a layer": [{"kind": "mute", "direction": direction, "layer": last}],
            f"{direction} cut": [
                {"kind": "cut", "sources": half, "targets": some, "direction": direction}
            ],
        }
    if grid.frames > 1:
        at = grid.frames - 1
        found |= {"reset": [{"kind": "reset", "frame": 1}], "swap": [{"kind": "swap", "frame": at}]}
        for direction in directions:
            found |= {
                f"{direction} reset": [{"kind": "reset", "frame": at, "direction": direction}],
                f"{direction} swap": [{"kind": "swap", "frame": 1, "direction": direction}],
            }
        found["all at once"] = [
            {"kind": "mute", "direction": directions[-1], "layer": 0},
            {"kind": "freeze", "patches": patches},
            {"kind": "reset", "frame": 1},
            {"kind": "swap", "frame": at},
            {"kind": "swap", "frame": 1, "direction": directions[0]},
        ]
        found["drop and swap"] = [
            {"kind": "drop", "tokens": some},
            {"kind": "swap", "frame": 1},
            {"kind": "freeze", "frame": at},
        ]
    return found
