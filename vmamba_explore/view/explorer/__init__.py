"""The explorer: one linked view of a clip, its states, attention and attribution."""

from vmamba_explore.view.explorer.exploration import Exploration
from vmamba_explore.view.explorer.player import ClipPlayer
from vmamba_explore.view.explorer.widget import Explorer

__all__ = ["ClipPlayer", "Exploration", "Explorer"]
