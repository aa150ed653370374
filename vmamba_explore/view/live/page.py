"""The page that runs models in the browser: one HTML file with models, clips and the explorer."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from vmamba_explore.clips.clip import Clip
from vmamba_explore.view.live.clip_pixels import packed_pixels
from vmamba_explore.view.live.embed import worker_code, worker_wasm
from vmamba_explore.view.live.portable import PortableModel, base128, packed_model
from vmamba_explore.view.page import html_page
from vmamba_explore.view.pictures import thumbnail
from vmamba_explore.view.widgets.browser_code import plain_json, read_code, read_style

_HERE = Path(__file__).parent
_THUMBNAIL = 64
_ABOUT = (
    "Video state-space models that run in your browser: choose a clip, bring a video or use the "
    "webcam, and change the model."
)
_FOOTER = (
    "Made by vmamba-explore. The models, the clips and all code are inside this file: it needs no "
    "network and may not use one, so your video and your camera's pictures stay in this page."
)


@dataclass(frozen=True, eq=False)
class PageClip:
    """A clip that a page brings along.

    Args:
        clip: Its frames, as a model wants them.
        label: What to call it, a few words.
        model: The model whose question it is about; "" where that is not known.
        deciding: First and last frame of each stretch that decides the answer, where it is known.
    """

    clip: Clip
    label: str
    model: str = ""
    deciding: Sequence[tuple[int, int]] = ()

    @property
    def about(self) -> str:
        """What is known of it, in a sentence."""
        words = f"{self.clip.source} shows: {self.label}"
        stretches = [f"{a}" if a == b else f"{a} to {b}" for a, b in self.deciding]
        if stretches:
            words += f"; what decides is in frames {', '.join(stretches)}, counted from 0"
        return f"{words}."


def live_page(
    models: Sequence[PortableModel], clips: Sequence[PageClip], defaults: Mapping[str, Any]
) -> str:
    """Return a page that runs models on clips, on the reader's videos and on the webcam.

    Args:
        models: At least one; the first is shown when the page opens.
        clips: What it brings along. The first one that is about the first model is shown, else
            the first that has this model's number of frames and their size.
        defaults: The explorer's traits before there is a clip, `Explorer.defaults()`.
    """
    code = {
        "code": read_code(_HERE / "page.js"),
        "worker": worker_code(),
        "pixels": read_code(_HERE / "pixel_worker.js"),
    }
    texts = [_text(name, zlib.compress(text.encode(), 9)) for name, text in code.items()]
    wasm = worker_wasm()
    if wasm is not None:
        texts.append(_text("wasm", wasm))
    data: dict[str, Any] = {"models": [], "clips": [], "defaults": dict(defaults)}
    for number, model in enumerate(models):
        header, text = packed_model(model)
        name = f"model-{number}"
        texts.append(_script(name, text))
        data["models"].append({
            "id": name, "name": model.name, "question": model.about["question"],
            "trueOn": model.about["true_on"], "about": dict(model.about), "header": header,
        })  # fmt: skip
    for number, one in enumerate(clips):
        name = f"clip-{number}"
        texts.append(_text(name, packed_pixels(one.clip.frames)))
        data["clips"].append({"id": name, **_described(one)})
    style = read_style(
        _HERE.parent / "widgets" / "theme.css", _HERE.parent / "explorer" / "explorer.css",
        _HERE / "walk.css", _HERE / "page.css",
    )  # fmt: skip
    body = (
        f"<style>{style}</style>\n{_CHOOSER}\n{_TOO_OLD}\n"
        f'<div id="live-explorer"></div>\n<section id="live-walk"></section>\n'
        f"<footer>{escape(_FOOTER)}</footer>\n"
        f'<script type="application/json" id="live-data">{plain_json(data)}</script>\n'
        + "".join(texts)
        + f'<script type="module">\n{read_code(_HERE / "start.js")}\n</script>\n'
    )
    return html_page("vmamba-explore, live", body, live=True)


_TOO_OLD = """<script>
function tooOld({ message, reason }) {
  if (document.body.dataset.state) return; // it has started
  document.getElementById("live-doing").textContent = "This browser is too old to run this page, " +
    `or the page is damaged (${message ?? reason.message}). Update the browser, or open the page ` +
    "in another one.";
}
addEventListener("error", tooOld);
addEventListener("unhandledrejection", tooOld);
</script>"""
"""What is said where the page's own script cannot run."""
_CHOOSER = f"""<div id="live-head"><h1>What does the model see?</h1><p>{escape(_ABOUT)}</p></div>
<noscript>This page runs a model with JavaScript; allow it to see anything.</noscript>
<div id="live-choose">
<div id="live-models" role="group" aria-label="model"></div>
<div id="live-pick"><div id="live-clips" role="group" aria-label="clip"></div>
<div id="live-own" role="group" aria-label="your own video"></div></div>
<div id="live-camera" hidden></div>
<div id="live-state"><span id="live-work"><progress id="live-bar" aria-label="progress"></progress>
<span id="live-doing">unpacking the page</span></span><span id="live-words" role="status"></span>
<span id="live-true" class="live-soft"></span></div>
</div>"""


def _described(one: PageClip) -> dict[str, Any]:
    clip = one.clip
    return {
        "label": one.label,
        "about": one.about,
        "model": one.model,
        "picture": thumbnail(clip.frames[clip.num_frames // 2], _THUMBNAIL),
        "shape": list(clip.frames.shape[:3]),
        "seconds": clip.seconds.tolist(),
        "fps": clip.fps,
        "repeated": clip.repeated,
        "source": clip.source,
        "deciding": [list(stretch) for stretch in one.deciding],
    }


def _text(name: str, data: bytes) -> str:
    """Bytes as text in an element of the page."""
    return _script(name, base128(np.frombuffer(data, np.uint8)), len(data))


def _script(name: str, text: str, count: int | None = None) -> str:
    attribute = "" if count is None else f' data-bytes="{count}"'
    return f'<script type="text/plain" id="live-{name}"{attribute}>{text}</script>\n'
