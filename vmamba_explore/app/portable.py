"""A model as plain data, for a page that runs it in the browser."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32

from vmamba_explore.analysis.controls import DESCRIPTIONS, OPPOSITE_WORDS, orders_of
from vmamba_explore.app.control_clips import CONTROLS
from vmamba_explore.app.question import (
    EVIDENCE_CURVES,
    EVIDENCE_FRAMES,
    LOGARITHMIC,
    QUANTITIES,
    SLOW,
)
from vmamba_explore.errors import one_line, shown
from vmamba_explore.hooks import plain
from vmamba_explore.model.bundled import UNDECIDED, identify
from vmamba_explore.model.contrast import class_name
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.view.live.portable import NotPortableError, PortableModel

MOST_PARAMETERS = 2_000_000
"""Of a model that runs in a page; more would make it slow to open and slow to answer."""
ONLY: dict[str, tuple[Any, ...]] = {
    "scan_variant": ("mamba",), "pool_norm": (False,), "text_dim": (None,),
    "cls_position": ("front", "middle", None),
}  # fmt: skip
"""Values of the fields that view/live/network.js does not have all of."""
NEEDS_GRADIENTS = ("relevance",)
"""Maps that a page cannot compute."""
SHUFFLES = 8
"""Random orders of frames that the controls average."""


def portable(model: VideoMamba, name: str = "model") -> PortableModel:
    """Return a model as plain data, for a page that runs it in the browser.

    Args:
        model: The model; weights of less than 32 bits become float32.
        name: What it is called, unless it is a bundled one.
    Raises:
        NotPortableError: it has more than `MOST_PARAMETERS`, does not read three colors, or is of a
            family that a page does not run.
    """
    model = plain(model)
    count, config = model.config.num_parameters(), model.config
    if count > MOST_PARAMETERS:
        raise NotPortableError(
            f"portable: {one_line(name)} has {count:,} parameters, and a page runs at most "
            f"{MOST_PARAMETERS:,}; choose a smaller model, or explore this one in a notebook."
        )
    if config.in_channels != 3:
        raise NotPortableError(
            f"portable: {one_line(name)} reads {config.in_channels} channels, and a page's videos "
            "have 3 colors; choose a model with in_channels=3."
        )
    other = [name for name, plainly in ONLY.items() if getattr(config, name) not in plainly]
    if other or not config.num_classes:
        what = f"{other[0]}={shown(getattr(config, other[0]))}" if other else "no head"
        raise NotPortableError(
            f"portable: {one_line(name)} has {what}, which a page does not run; explore this model "
            "in a notebook."
        )
    known = identify(model)
    name = known.name if known else name
    return PortableModel(name, _about(model, name), _tensors(model), count)


def _about(model: VideoMamba, name: str) -> dict[str, Any]:
    known, config = identify(model), model.config
    return {
        "name": name,
        "question": known.question if known else "",
        "true_on": known.true_on if known else "",
        "otherwise": known.otherwise if known else "",
        "subject": known.has_subject.__name__ if known else "",
        "still": known.still if known else "",
        "undecided": UNDECIDED,
        "undecided_below": known.undecided_below if known else 0.0,
        "own_names": None if model.class_names is None else list(model.class_names),
        "class_names": [one_line(class_name(model, n)) for n in range(config.num_classes)],
        "config": config.to_dict(),
        "quantities": [
            {
                "name": key,
                "about": about,
                "unit": unit,
                "log": key in LOGARITHMIC,
                "late": key in SLOW,
                "live": key not in NEEDS_GRADIENTS,
            }
            for key, (about, unit) in QUANTITIES.items()
        ],
        "orders": [
            order.tolist() for order in orders_of(config.num_frames, shuffles=SHUFFLES, seed=0)
        ],
        "descriptions": dict(DESCRIPTIONS),
        "controls": list(CONTROLS),
        "opposites": [list(pair) for pair in OPPOSITE_WORDS],
        "evidence_frames": EVIDENCE_FRAMES,
        "evidence_curves": [list(each) for each in EVIDENCE_CURVES],
    }


def _tensors(model: VideoMamba) -> dict[str, Float32[np.ndarray, "*shape"]]:
    found = dict(model.state_dict())
    if model.pos_embed is not None:
        found["pos_embed"] = model.pos_embed  # a fixed table is no part of a state_dict
    return {name: each.detach().float().cpu().numpy() for name, each in found.items()}
