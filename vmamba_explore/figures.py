"""Figures (plotly): each function takes results and returns a figure, never shows one."""
