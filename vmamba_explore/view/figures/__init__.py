"""Static figures: each function takes results and returns a plotly figure, never shows one."""

from vmamba_explore.view.figures.clip import class_scores, frames
from vmamba_explore.view.figures.delta import delta_maps
from vmamba_explore.view.figures.states import channel_states, state_norms

__all__ = ["channel_states", "class_scores", "delta_maps", "frames", "state_norms"]
