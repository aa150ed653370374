"""Figures (plotly): each function takes results and returns a figure; `save` writes any of them."""

from vmamba_explore.view.figures.attention import (
    attention_maps,
    by_frame,
    by_layer,
    frame_shares,
    matrix,
    rollout_parts,
    shares_inside,
)
from vmamba_explore.view.figures.attribution import (
    agreement_matrix,
    attribution_maps,
    faithfulness_curves,
    sanity,
)
from vmamba_explore.view.figures.camera import camera_motion
from vmamba_explore.view.figures.clip import class_scores, frames
from vmamba_explore.view.figures.curves import curve
from vmamba_explore.view.figures.delta import delta_maps
from vmamba_explore.view.figures.evidence import (
    crossings,
    direct_curves,
    evidence_curves,
    logit_parts,
)
from vmamba_explore.view.figures.layout import styled
from vmamba_explore.view.figures.lens import state_lens
from vmamba_explore.view.figures.memory import (
    delta_contrast,
    half_life_histogram,
    half_life_maps,
    look_back,
    retention_from,
    retention_tiles,
    state_similarity,
)
from vmamba_explore.view.figures.probes import after_cut, probe_scores
from vmamba_explore.view.figures.relevance import ledger, relevance_flow
from vmamba_explore.view.figures.saving import save
from vmamba_explore.view.figures.states import (
    channel_browser,
    channel_states,
    state_norms,
    state_trajectories,
)
from vmamba_explore.view.figures.stores import store_statistics
from vmamba_explore.view.figures.surgery import (
    boundary_map,
    by_boundary,
    restored_in_window,
    restored_share,
    scan_bars,
    selection_shares,
    state_surgery,
)
from vmamba_explore.view.figures.timeline import timeline

__all__ = [
    "after_cut",
    "agreement_matrix",
    "attention_maps",
    "attribution_maps",
    "boundary_map",
    "by_boundary",
    "by_frame",
    "by_layer",
    "camera_motion",
    "channel_browser",
    "channel_states",
    "class_scores",
    "crossings",
    "curve",
    "delta_contrast",
    "delta_maps",
    "direct_curves",
    "evidence_curves",
    "faithfulness_curves",
    "frame_shares",
    "frames",
    "half_life_histogram",
    "half_life_maps",
    "ledger",
    "logit_parts",
    "look_back",
    "matrix",
    "probe_scores",
    "relevance_flow",
    "restored_in_window",
    "restored_share",
    "retention_from",
    "retention_tiles",
    "rollout_parts",
    "sanity",
    "save",
    "scan_bars",
    "selection_shares",
    "shares_inside",
    "state_lens",
    "state_norms",
    "state_similarity",
    "state_surgery",
    "state_trajectories",
    "store_statistics",
    "styled",
    "timeline",
]
