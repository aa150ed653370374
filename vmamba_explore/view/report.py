"""A report: headings, explanations, figures, tables and players on one offline page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple, Protocol, runtime_checkable

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from vmamba_explore.view.figures.layout import CONFIG, THEME_CSS
from vmamba_explore.view.page import html_page


@runtime_checkable
class View(Protocol):
    """What has its own place on a page: a table, an explorer, a player."""

    def to_fragment(self) -> str:
        """Return it as HTML that needs nothing else."""


class Cell(NamedTuple):
    """What stands in one place of a table.

    Args:
        words: Plain text.
        bold: Whether it stands out.
    """

    words: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under titles.

    Args:
        titles: One for each column.
        rows: Cells, as many in each row as there are titles; the first names the row.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.titles):
                raise ValueError(
                    f"Table: the row of {row[0].words!r} has {len(row)} cells, expected "
                    f"{len(self.titles)}, one for each title."
                )

    def to_fragment(self) -> str:
        """Return the table as HTML."""
        titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in self.titles)
        rows = "".join(
            f'<tr><th scope="row">{escape(name.words)}</th>{"".join(map(_data, cells))}</tr>\n'
            for name, *cells in self.rows
        )
        return f"<table><thead><tr>{titles}</tr></thead>\n<tbody>{rows}</tbody></table>"


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


def _data(cell: Cell) -> str:
    words = escape(cell.words)
    return f"<td>{f'<strong>{words}</strong>' if cell.bold else words}</td>"
