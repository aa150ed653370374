"""A page of feature cards, which are searched by class, by clip and by patch."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vmamba_explore.analysis.features.cards import FeatureCard, FeatureCards, ShownClip
from vmamba_explore.clips.clip import Clip
from vmamba_explore.errors import one_line
from vmamba_explore.intervals import Interval
from vmamba_explore.view.colors import DIVERGING, SEQUENTIAL
from vmamba_explore.view.page import FOOTER, html_page
from vmamba_explore.view.widgets.browser_code import plain_json, read_code

_HERE = Path(__file__).parent
SIDE = 96
"""Side of a picture on the page, pixels."""
MAX_CLASSES = 400
"""Of models with more classes, effects are listed for those that change most."""
_TOKENS = (
    "A feature is a direction that a sparse autoencoder found in the {site}: every patch is "
    "described by the few that are active in it. The maps show the code of a feature in each patch "
    "of each token frame."
)
_STATES = (
    "A feature is a direction that a sparse autoencoder found in the {site}: the state after each "
    "token frame is described by the few that are active in it. A state belongs to no patch, so "
    "the maps show what each patch wrote into the feature up to the token frame in which it is "
    "largest. With the step sizes as they were, these parts, those of class tokens and an offset "
    "add up to its code."
)
_READING = (
    "The course is the largest code in each token frame, mean over the top clips as they are, and "
    "the same clips played backwards. Effects are changes of the logits of the running model: in "
    "the top clips without the feature, and in {common} clips from all over the data with its mean "
    "code added everywhere; means with 95 % intervals over these clips."
)


def feature_cards_page(cards: FeatureCards, title: str, facts: Mapping[str, str]) -> str:
    """Return an offline page of feature cards.

    Its size is about 25 kB for each clip shown, plus a byte for ten patches and features.

    Args:
        cards: The numbers, with the frames of the clips.
        title: Plain text, like all text here: HTML in it shows as text.
        facts: What the page is about, by name.
    """
    data = plain_json(_packed(cards))
    kind = _TOKENS if cards.site.direction is None else _STATES
    words = [kind.format(site=str(cards.site)), _READING.format(common=len(cards.common))]
    if cards.differs:
        words.append(
            f"{cards.differs} of the clips shown give other codes than the stored vectors: the "
            "files or the model have changed since."
        )
    facts = {**facts, "Size of this page": f"{len(data) / 1e6:.1f} MB"}
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in facts.items())
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in words)
    body = (
        f"<h1>{escape(title)}</h1>\n<dl>{rows}</dl>\n{paragraphs}\n"
        f"<style>{(_HERE / 'feature_cards.css').read_text('utf-8')}</style>\n"
        '<div id="features"></div>\n<noscript>The cards need JavaScript.</noscript>\n'
        f"<footer>{escape(FOOTER)}</footer>\n"
        f'<script type="module">\n{read_code(_HERE / "feature_cards.js")}\n'
        f'showFeatures(document.getElementById("features"), {data});\n</script>'
    )
    return html_page(title, body)


def _packed(cards: FeatureCards) -> dict[str, Any]:
    """Everything that the page's JavaScript draws from."""
    peaks = np.stack([clip.codes.max((1, 2, 3)) for clip in cards.clips]).max(0)
    signed = cards.site.direction is not None
    levels = [_levels(clip, peaks) for clip in cards.clips]
    grid = cards.clips[0].written if signed else cards.clips[0].codes
    assert grid is not None
    return {
        "classes": None if cards.class_names is None else list(map(one_line, cards.class_names)),
        "labeled": cards.activity.by_class is not None,
        "signed": signed,
        "colors": list(DIVERGING if signed else SEQUENTIAL),
        "grid": list(grid.shape[1:]),
        "peaks": peaks.tolist(),
        "cards": [_card(card, cards) for card in cards.cards],
        "clips": [_clip(clip, cards) for clip in cards.clips],
        "levels": zlib.compress(b"".join(levels), 9),
    }


def _card(card: FeatureCard, cards: FeatureCards) -> dict[str, Any]:
    at = {clip.number: place for place, clip in enumerate(cards.clips)}
    return {
        "feature": card.feature,
        "fires": card.fires,
        "firesClips": card.fires_clips,
        "share": card.share,
        "amount": card.amount,
        "top": [at[number] for number in card.top],
        "codes": list(card.peaks),
        "byClass": None if card.by_class is None else card.by_class.tolist(),
        "course": card.course.tolist(),
        "reversed": card.course_reversed.tolist(),
        "added": _effects(card.added),
        "removed": _effects(card.removed),
    }


def _effects(changes: Sequence[Interval]) -> list[list[float]]:
    """Class, mean, low and high, the largest change first."""
    order = sorted(range(len(changes)), key=lambda number: -abs(changes[number].value))
    return [
        [float(number), *(float(f"{x:.4g}") for x in (each.value, each.low, each.high))]
        for number in order[:MAX_CLASSES]
        for each in [changes[number]]
    ]


def _clip(clip: ShownClip, cards: FeatureCards) -> dict[str, Any]:
    frames = clip.codes.shape[1]
    return {
        "name": one_line(clip.clip.source, 60),
        "number": clip.number,
        "label": clip.label,
        "answer": clip.answer,
        "strip": _strip(clip.clip, frames),
    }


def _strip(clip: Clip, frames: int) -> str:
    """One picture of the first clip frame of each token frame, side by side, as a data URI."""
    tubelet = max(1, clip.num_frames // frames)
    tiles = [
        np.asarray(Image.fromarray(clip.frames[frame * tubelet]).resize((SIDE, SIDE)))
        for frame in range(frames)
    ]
    buffer = io.BytesIO()
    Image.fromarray(np.hstack(tiles)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _levels(clip: ShownClip, peaks: NDArray[np.floating[Any]]) -> bytes:
    """Codes by feature, frame and patch, 0 to 254 of the feature's largest; of states also what
    was written, by feature, 127 for nothing and 0 or 254 for the clip's largest part."""
    scale = np.maximum(peaks, 1e-12)[:, None, None, None]
    codes = np.rint(254 * np.clip(clip.codes / scale, 0, 1)).astype(np.uint8)
    if clip.written is None:
        return codes.tobytes()
    reach = np.maximum(np.abs(clip.written).max((1, 2, 3), keepdims=True), 1e-12)
    written = np.rint(127 + 127 * clip.written / reach).astype(np.uint8)
    return codes.tobytes() + written.tobytes()
