"""Tables of text for pages and widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from vmamba_explore.errors import one_line, shown


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
        wraps: Whether cells hold names and sentences, which are broken into lines where the page is
            narrow; numbers are not.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    wraps: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.titles):
                raise ValueError(
                    f"Table: the row of {shown(row[0].words)} has {len(row)} cells, expected "
                    f"{len(self.titles)}, one for each title."
                )

    def to_fragment(self) -> str:
        """Return the table as HTML."""
        titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in self.titles)
        rows = "".join(
            f'<tr><th scope="row">{_text(name)}</th>{"".join(map(_data, cells))}</tr>\n'
            for name, *cells in self.rows
        )
        kind = ' class="vmx-prose"' if self.wraps else ""
        return f"<table{kind}><thead><tr>{titles}</tr></thead>\n<tbody>{rows}</tbody></table>"


def _text(cell: Cell) -> str:
    return escape(one_line(cell.words, 400))


def _data(cell: Cell) -> str:
    words = _text(cell)
    return f"<td>{f'<strong>{words}</strong>' if cell.bold else words}</td>"
