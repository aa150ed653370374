"""A report: headings, explanations, figures, tables and players on one offline page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol, runtime_checkable

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from vmamba_explore.view.figures.layout import CONFIG, THEME_CSS
from vmamba_explore.view.page import html_page


@runtime_checkable
class View(Protocol):
    """What has its own place on a page: a table, an explorer, a player."""

    def to_fragment(self) -> str:
        """Return it as HTML that needs nothing else."""


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
    views: Sequence[go.Figure | View]


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
    rows = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts.items()
    )
    body = [f"<h1>{escape(title)}</h1>\n<dl>{rows}</dl>", f"<style>{THEME_CSS}</style>",
            f"<script>{get_plotlyjs()}</script>"]  # fmt: skip
    for section in sections:
        paragraphs = "".join(f"<p>{escape(words)}</p>" for words in section.words)
        views = "".join(f"<figure>{_fragment(view)}</figure>\n" for view in section.views)
        body.append(f"<section><h2>{escape(section.title)}</h2>{paragraphs}\n{views}</section>")
    body.append(f"<footer>{escape(footer)}</footer>")
    return html_page(title, "\n".join(body))


def _fragment(view: go.Figure | View) -> str:
    if isinstance(view, View):
        return view.to_fragment()
    return view.to_html(full_html=False, include_plotlyjs=False, config=CONFIG)
