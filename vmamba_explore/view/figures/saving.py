"""One way to save any figure: a picture (PNG, SVG) or a page (HTML) that needs nothing else."""

from __future__ import annotations

import base64
import html
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from vmamba_explore.errors import check_choice, first_line, one_line, shown
from vmamba_explore.files import AnyPath, atomic_write, output_path
from vmamba_explore.view.colors import THEMES
from vmamba_explore.view.figures.layout import CONFIG, INK, THEME_CSS, WIDTH
from vmamba_explore.view.page import html_page

BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)  # fmt: skip
NAMED = "BROWSER_PATH"
"""The environment variable that names another browser; kaleido reads the same one."""
OPTIONS = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=60000", "--dump-dom",
)  # fmt: skip
SECONDS = 300
"""After which a browser is given up."""
WIDTHS = (100, 10_000)
"""Pixels: the least and the largest width of a picture."""

_DRAW = """
const done = words => { document.getElementById("result").textContent = words };
Plotly.toImage(%s, %s).then(done, error => done(`${error}`));
"""
_RESULT = re.compile(r'<pre id="result">(.*?)</pre>', re.DOTALL)


def save(
    figure: go.Figure,
    path: AnyPath,
    *,
    theme: Literal["light", "dark"] = "light",
    width: int = WIDTH,
    overwrite: bool = False,
) -> Path:
    """Save a figure as what the path ends in: .png, .svg or .html.

    Pictures are drawn by the Chromium or Chrome of this machine, without a network; text in an SVG
    stays text. A page is interactive, as wide as its window, follows its reader's theme, and needs
    no browser to be written.

    Args:
        figure: Any plotly figure.
        path: The file to write.
        theme: Of a picture: "light" or "dark", its background and ink.
        width: Of a picture, pixels; a PNG has twice as many, for sharp prints.
        overwrite: Whether to replace a file.

    Raises:
        ValueError: the path ends in something else, or there is no such theme or width.
        RuntimeError: there is no browser to draw a picture, or it failed.
    """
    kind = Path(path).suffix.lower()
    if kind not in (".png", ".svg", ".html"):
        raise ValueError(
            f"figures.save: {one_line(path)} ends in {shown(kind)}, expected .png, .svg or .html."
        )
    if not isinstance(figure, go.Figure):
        raise TypeError(f"figures.save: got {type(figure).__name__}, expected a plotly figure.")
    check_choice("figures.save: theme", theme, THEMES)
    if not WIDTHS[0] <= width <= WIDTHS[1]:
        raise ValueError(
            f"figures.save: width is {shown(width)}, expected {WIDTHS[0]} to {WIDTHS[1]} pixels."
        )
    target = output_path(path, "figures.save", overwrite=overwrite)
    if kind == ".html":
        content: str | bytes = _page(figure)
    else:
        content = _picture(figure, kind[1:], theme, width)
    atomic_write(target, content)
    return target


def _page(figure: go.Figure) -> str:
    title = html.unescape(re.sub(r"<[^>]*>", " ", str(figure.layout.title.text or "A figure")))
    body = figure.to_html(full_html=False, include_plotlyjs=True, config=CONFIG)
    return html_page(one_line(title), f"<style>{THEME_CSS}</style>\n{body}")


def _picture(figure: go.Figure, kind: str, theme: str, width: int) -> str | bytes:
    """The figure as an SVG text or the bytes of a PNG."""
    colors = THEMES[theme]
    themed = go.Figure(figure).update_layout(paper_bgcolor=colors.background, width=width)
    height = themed.layout.height or 450  # plotly's own
    options = {"format": kind, "width": width, "height": height, "scale": 2 if kind == "png" else 1}
    drawn = themed.to_json().replace(INK, colors.ink).replace("<", "\\u003c")
    uri = _in_a_browser(_DRAW % (drawn, options))
    head, _, data = uri.partition(",")
    if not head.startswith("data:image/"):
        raise RuntimeError(f"figures.save: the browser could not draw it: {one_line(uri, 200)}.")
    return base64.b64decode(data) if head.endswith(";base64") else unquote(data)


def _in_a_browser(script: str) -> str:
    """Run JavaScript with plotly in a browser without a network, and return what it says."""
    program = _browser()
    root: tuple[str, ...] = ("--no-sandbox",) if getattr(os, "geteuid", lambda: 1)() == 0 else ()
    scripts = f"<script>{get_plotlyjs()}</script><script>{script}</script>"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = Path(folder) / "figure.html"
        atomic_write(page, html_page("figure", f'<pre id="result"></pre>{scripts}'))
        options: dict[str, Any] = {"capture_output": True, "timeout": SECONDS}
        command = [program, *OPTIONS, *root, f"--user-data-dir={folder}/profile", page.as_uri()]
        try:
            run = subprocess.run(command, **options)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(
                f"figures.save: {one_line(program)} did not draw it: {first_line(error)}."
            ) from None
    result = _RESULT.search(run.stdout.decode("utf-8", "replace"))
    if result is None or not result[1]:
        told = (run.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(
            f"figures.save: {one_line(program)} drew nothing ({one_line(told, 200)})."
        )
    return html.unescape(result[1])


def _browser() -> str:
    """The browser that draws."""
    named = os.environ.get(NAMED)
    for name in (named,) if named else BROWSERS:
        program = shutil.which(name)
        if program is not None:
            return program
    reason = f"{NAMED} is {shown(named)}, which is not a program" if named else "none was found"
    raise RuntimeError(
        f"figures.save: a picture is drawn by Chromium or Chrome, and {reason}; install one, name "
        f"it in {NAMED}, or save as .html."
    )
