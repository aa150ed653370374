"""A report: headings, explanations, figures, tables and players on one offline page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from vmamba_explore.view.explorer import Explorer
from vmamba_explore.view.page import html_page
from vmamba_explore.view.tables import Table
from vmamba_explore.view.widgets import ClipPlayer

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """A heading, a few sentences, and what they are about.

    Args:
        title: Plain text.
        words: Paragraphs of plain text.
        views: Figures, tables, players and explorers, shown in this order.
    """

    title: str
    words: Sequence[str]
    views: Sequence[go.Figure | ClipPlayer | Explorer | Table]


def report_page(
    title: str, facts: Mapping[str, str], sections: Sequence[Section], footer: str = ""
) -> str:
    """Return a page of sections; plotly's JavaScript goes in once, whatever their number.

    Args:
        title: Plain text, like all text here: HTML in it shows as text.
        facts: What the page is about, by name; listed under the title.
        sections: The content.
        footer: Last words.
    """
    rows = "".join(f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in facts.items())
    body = [f"<h1>{_text(title)}</h1>\n<dl>{rows}</dl>", f"<script>{get_plotlyjs()}</script>"]
    for section in sections:
        paragraphs = "".join(f"<p>{_text(words)}</p>" for words in section.words)
        views = "".join(f"<figure>{_fragment(view)}</figure>\n" for view in section.views)
        body.append(f"<section><h2>{_text(section.title)}</h2>{paragraphs}\n{views}</section>")
    body.append(f"<footer>{_text(footer)}</footer>")
    body.append(f"<script>{(_HERE / 'report.js').read_text('utf-8')}</script>")
    return html_page(title, "\n".join(body))


def _fragment(view: go.Figure | ClipPlayer | Explorer | Table) -> str:
    if isinstance(view, ClipPlayer | Explorer | Table):
        return view.to_fragment()
    return view.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})


def _text(words: str) -> str:
    return html.escape(words)
