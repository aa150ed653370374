"""Widgets: a Python class each, its JavaScript and CSS beside it."""

from vmamba_explore.view.widgets.player import ClipPlayer

__all__ = ["ClipPlayer"]
