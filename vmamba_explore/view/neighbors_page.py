"""neighbors_page(): a clip and what is most like it in a store, as pictures on one offline page."""

from __future__ import annotations

import os
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmamba_explore.clips.clip import Clip, ClipError
from vmamba_explore.clips.decode import load_frames
from vmamba_explore.clips.picture import middle_square
from vmamba_explore.errors import first_line, one_line
from vmamba_explore.files import AnyPath, atomic_write, output_path
from vmamba_explore.stores.neighbors import Neighbor, Neighbors
from vmamba_explore.view.page import FOOTER, html_page
from vmamba_explore.view.pictures import enlarged

PICTURES = 4
"""Frames shown of a clip, evenly spread from its first to its last."""
SIDE = 112
"""Pixels of a picture at least."""
STYLE = """<style>
.vmx-near { list-style: none; padding: 0; margin: 16px 0; display: grid; gap: 20px 24px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); }
.vmx-near li, .vmx-query { border-top: 1px solid color-mix(in srgb, CanvasText 20%, Canvas);
  padding-top: 8px; min-width: 0; }
.vmx-strip { display: grid; grid-template-columns: repeat(4, 1fr); gap: 2px; margin: 6px 0;
  max-width: 480px; }
.vmx-strip img { width: 100%; display: block; }
.vmx-near p, .vmx-query p { margin: 2px 0; overflow-wrap: anywhere; }
.vmx-soft { color: var(--soft); font-size: 14px; line-height: 1.4; }
.vmx-value { font-weight: 600; font-variant-numeric: tabular-nums; }
</style>"""


def neighbors_page(neighbors: Neighbors, output: AnyPath) -> Path:
    """Write an offline page of a clip and its neighbors, with pictures from their files.

    Where a file is gone or cannot be read, a sentence stands in the place of its pictures.

    Args:
        neighbors: As `nearest` returns them.
        output: The HTML file to write.
    Returns:
        The path of the page.
    Raises:
        FileNotFoundError: the folder of `output` does not exist.
        IsADirectoryError: `output` is a folder.
        FileExistsError: it is one of the videos.
    """
    query, found = neighbors.query, neighbors.found
    files = [one.path for one in (query, *found) if one.path]
    output = output_path(output, "neighbors_page", files)
    name = query.source if isinstance(query, Clip) else os.path.basename(query.path)
    title = f"Most like {one_line(name)}"
    what = {"cosine": "cosine similarity", "euclidean": "Euclidean distance"}[neighbors.measure]
    order = "1 is the same direction" if neighbors.measure == "cosine" else "0 is the same"
    facts = {
        "Compared": f"{neighbors.quantity} of {neighbors.compared:,} clips",
        "Measure": f"{what}; {order}",
        "Model": neighbors.model,
    }
    if neighbors.left_out:
        plural = "s" * (neighbors.left_out > 1)
        facts["Left out"] = f"{neighbors.left_out} clip{plural} of the query's own video"
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(one_line(value))}</dd>"
                   for key, value in facts.items())  # fmt: skip
    size = neighbors.img_size
    items = "".join(f"<li>{_card(one, size, place, what)}</li>\n"
                    for place, one in enumerate(found, 1))  # fmt: skip
    body = (
        f"{STYLE}<h1>{escape(title)}</h1>\n<dl>{rows}</dl>\n"
        f'<section class="vmx-query"><h2>The query</h2>{_query(query, size)}</section>\n'
        f'<section><h2>The nearest {len(found)}</h2>\n<ol class="vmx-near">{items}</ol></section>\n'
        f"<footer>{escape(FOOTER)}</footer>"
    )
    atomic_write(output, html_page(title, body))
    return output


def _query(query: Neighbor | Clip, size: int) -> str:
    if isinstance(query, Neighbor):
        return _pictures(query, size) + _words(query)
    times = f"{query.seconds[0]:.2f} to {query.seconds[-1]:.2f} s"
    return f'{_strip(query.frames, query.source)}<p class="vmx-soft">{escape(times)}</p>'


def _card(one: Neighbor, size: int, place: int, what: str) -> str:
    label = f" · {escape(one_line(one.label))}" if one.label else ""
    value = f'<span class="vmx-value" title="{escape(what)}">{one.value:.3f}</span>'
    return f"<p>{place}. {value}{label}</p>{_pictures(one, size)}{_words(one, label=False)}"


def _words(one: Neighbor, label: bool = True) -> str:
    times = f"{one.seconds[0]:.2f} to {one.seconds[-1]:.2f} s"
    text = f"{os.path.basename(one.path)}, {times} (video {one.video}, clip {one.clip})"
    shown = f"<p>{escape(one_line(one.label))}</p>" if label and one.label else ""
    path = escape(one_line(one.path))
    return f'{shown}<p class="vmx-soft" title="{path}">{escape(one_line(text))}</p>'


def _pictures(one: Neighbor, size: int) -> str:
    """Some frames of a clip of a store, or why there are none."""
    indices = np.array(one.indices, np.int64)

    def choose(available: int) -> tuple[NDArray[np.int64], int]:
        if indices.max() >= available:
            raise ClipError(
                f"{one_line(os.path.basename(one.path))} has {available} frames now, fewer than "
                "when its states were extracted."
            )
        return indices[_evenly(len(indices))], 0

    try:
        if not os.path.isfile(one.path):
            raise ClipError(f"No pictures: the file {one_line(one.path)} is not there any more.")
        clip = load_frames(one.path, choose, partial(middle_square, size=size), "show")
    except (ClipError, OSError) as error:
        return f"<p>{escape(first_line(error))}</p>"
    return _strip(clip.frames, os.path.basename(one.path))


def _strip(frames: NDArray[np.uint8], name: str) -> str:
    chosen = [frames[at] for at in _evenly(len(frames))]
    pictures = "".join(
        f'<img src="{enlarged(frame, SIDE)}" alt="frame {number} of {escape(one_line(name))}">'
        for number, frame in enumerate(chosen, 1)
    )
    return f'<div class="vmx-strip">{pictures}</div>'


def _evenly(count: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(PICTURES, count)).round().astype(np.int64)
