"""A page that shows the explorer of a clip and "How it works" under it, for tests in a browser."""

from __future__ import annotations

import json
import pathlib

from vmamba_explore.app.portable import portable
from vmamba_explore.clips.clip import Clip
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.view import page
from vmamba_explore.view.explorer.widget import Explorer
from vmamba_explore.view.live.embed import worker_code, worker_wasm
from vmamba_explore.view.live.portable import packed_model
from vmamba_explore.view.widgets.browser_code import _plain, read_code, read_style

HERE = pathlib.Path(__file__).parent
VIEW = pathlib.Path(page.__file__).parent
STYLES = ("widgets/theme.css", "explorer/explorer.css", "live/walk.css")


def walk_page(model: VideoMamba, clip: Clip) -> str:
    """Return the page as HTML."""
    packed = portable(model)
    header, text = packed_model(packed)
    parts = {
        "code": worker_code(),
        "wasm": worker_wasm(),
        "about": dict(packed.about),
        "header": header,
        "defaults": Explorer.defaults(),
        "clip": {
            "frames": clip.frames.tobytes(),
            "size": list(clip.frames.shape[1:3]),
            "seconds": [float(second) for second in clip.seconds],
            "fps": 8,
            "source": "clip",
            "title": "a clip",
        },
    }
    data = json.dumps(_plain(parts)).replace("<", "\\u003c")
    styles = read_style(*(VIEW / name for name in STYLES))
    code = read_code(HERE / "walk_page.js")
    body = (
        f'<style>{styles}</style><div id="explorer"></div><div id="walk"></div>'
        f'<script type="text/plain" id="weights">{text}</script>\n'
        f'<script type="module">\n{code}\nopenWalk(render, {data});\n</script>'
    )
    return page.html_page("walk", body, live=True)
