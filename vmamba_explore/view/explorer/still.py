"""A picture of an explorer for a saved notebook: what is seen where no widget can run."""

from __future__ import annotations

import base64
import html
import io

from PIL import Image

from vmamba_explore.view.explorer.exploration import ViewState
from vmamba_explore.view.explorer.snapshot import Snapshots
from vmamba_explore.view.explorer.vocabulary import heading

MOST_BYTES = 36_000
"""Of one picture; a saved notebook holds three of them, as base64: below 150 kB in all."""
FEWER = ((256, 1.0), (64, 1.0), (64, 0.75), (32, 0.6), (16, 0.5), (16, 0.3))
"""Colors and scale of ever smaller pictures."""
WORDS = "A picture of the view: run the cell for the view itself."

_STYLE = """
:root {{ --{name}: url(data:image/png;base64,{dark}) }}
@media (prefers-color-scheme: dark) {{ body:not([data-jp-theme-light]) .{name} img {{ content: var(--{name}) }} }}
body:is([data-jp-theme-light="false"], .vscode-dark) .{name} img {{ content: var(--{name}) }}
body:has(.vmx-explorer[data-key="{key}"]) .{name} {{ display: none }}
.jp-OutputArea-child:not(:has(.vmx-explorer)):has(+ .jp-OutputArea-child .{name}) {{ display: none }}
"""  # noqa: E501
# The last two: the picture gives way to the live widget, and takes the place of a widget that
# JupyterLab cannot display.


def still(view: ViewState, key: str) -> dict[str, str]:
    """Return a picture of a view as the output of a cell, to stand after the widget's own output.

    JupyterLab insists on a widget wherever an output has one, and displays an error for one that
    is lost; so the picture is an output of its own. It hides while the widget is live. A viewer
    that removes styles shows the light picture, one without HTML (such as LaTeX) the plain PNG.

    Args:
        view: What is drawn.
        key: What the root of the live view says in `data-key`.
    """
    pictures = {theme: _encoded(view, theme) for theme in ("light", "dark")}
    light, width = pictures["light"]
    name = f"vmx-still-{key}"
    style = _STYLE.format(name=name, key=key, dark=pictures["dark"][0])
    alt = html.escape(f"explorer: {heading(view.sides)}")
    image = (
        f'<img alt="{alt}" width="{width}" style="max-width: 100%; height: auto" '
        f'src="data:image/png;base64,{light}">'
    )
    markup = f'<style>{style}</style>\n<div class="{name}">{image}<br><small>{WORDS}</small></div>'
    return {"text/html": markup, "image/png": light, "text/plain": ""}


def _encoded(view: ViewState, theme: str) -> tuple[str, int]:
    """The present frame as a PNG of few bytes, in base64, and how wide it should be shown."""
    picture = Snapshots(view, theme).picture(view.frame)
    data = b""
    for colors, scale in FEWER:
        size = round(picture.width * scale), round(picture.height * scale)
        smaller = picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        kept = smaller.quantize(colors, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        kept.save(buffer, "PNG")
        data = buffer.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return base64.b64encode(data).decode(), picture.width
