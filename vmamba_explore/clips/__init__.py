"""Clips: read from a file, or rendered with known motion."""

from vmamba_explore.clips.clip import Clip, ClipError
from vmamba_explore.clips.decode import load_clip

__all__ = ["Clip", "ClipError", "load_clip"]
