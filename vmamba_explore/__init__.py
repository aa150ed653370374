"""See what a video state-space model is doing: VideoMamba, its hidden states, and their views.

A first look::

    from vmamba_explore import load_clip, load_model, run_with_trace

    model = load_model("motion-nano")
    clip = load_clip("clip.mp4", num_frames=16, img_size=64)
    logits, trace = run_with_trace(model, clip)
    trace.sel(layer=3, direction="backward", quantity="delta")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmamba_explore.analysis.scan_operator import ScanOperator
    from vmamba_explore.app.explore import explore
    from vmamba_explore.app.explorer_app import ExplorerApp
    from vmamba_explore.attribution.attribute import attribute
    from vmamba_explore.attribution.result import Attribution
    from vmamba_explore.clips.clip import Clip, ClipError
    from vmamba_explore.clips.decode import load_clip
    from vmamba_explore.hooks import hook_names
    from vmamba_explore.model.checkpoints import load_model
    from vmamba_explore.model.config import VideoMambaConfig
    from vmamba_explore.model.inflate import from_image_checkpoint
    from vmamba_explore.model.labels import label_names
    from vmamba_explore.model.videomamba import VideoMamba
    from vmamba_explore.trace.record import (
        replay_layer,
        run_with_hooks,
        run_with_trace,
        trace_size,
    )
    from vmamba_explore.trace.window import state_window

__version__ = "0.1.0"

_HOMES = {
    "Attribution": "attribution.result",
    "Clip": "clips.clip",
    "ClipError": "clips.clip",
    "ExplorerApp": "app.explorer_app",
    "ScanOperator": "analysis.scan_operator",
    "VideoMamba": "model.videomamba",
    "VideoMambaConfig": "model.config",
    "attribute": "attribution.attribute",
    "explore": "app.explore",
    "from_image_checkpoint": "model.inflate",
    "hook_names": "hooks",
    "label_names": "model.labels",
    "load_clip": "clips.decode",
    "load_model": "model.checkpoints",
    "replay_layer": "trace.record",
    "run_with_hooks": "trace.record",
    "run_with_trace": "trace.record",
    "state_window": "trace.window",
    "trace_size": "trace.record",
}
__all__ = [
    "Attribution",
    "Clip",
    "ClipError",
    "ExplorerApp",
    "ScanOperator",
    "VideoMamba",
    "VideoMambaConfig",
    "attribute",
    "explore",
    "from_image_checkpoint",
    "hook_names",
    "label_names",
    "load_clip",
    "load_model",
    "replay_layer",
    "run_with_hooks",
    "run_with_trace",
    "state_window",
    "trace_size",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that importing the package stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
