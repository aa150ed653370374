"""CSV files that spreadsheets open and save: safe cells, and every dialect they write."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator

import pandas as pd

from vmamba_explore.errors import shown

DELIMITERS = ",;\t"
"""Of CSV files, of those of spreadsheets with a decimal comma, and of Excel's "Unicode text"."""
_RUN = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?", re.IGNORECASE)


def safe_cell(text: str) -> str:
    """Return text with a ' before it where a spreadsheet would run it as a formula.

    Such text starts with =, +, -, @, a tab or a carriage return and is not a number.
    """
    return f"'{text}" if _RUN.match(text) and not _NUMBER.fullmatch(text) else text


def plain_cell(text: str) -> str:
    """Return the text that `safe_cell` made safe."""
    return text[1:] if text.startswith("'") and _RUN.match(text) else text


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV; its text is safe in a spreadsheet, see `safe_cell`."""
    words = table.select_dtypes(["object", "string"]).columns
    safe = {name: table[name].map(_safe, na_action="ignore") for name in words}
    return str(table.assign(**safe).rename(columns=_safe).to_csv(index=False))


def _safe(value: object) -> object:
    return safe_cell(value) if isinstance(value, str) else value


def rows_of(text: str, delimiter: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Return the rows of a CSV file that are not blank, each with the number of its last line.

    Args:
        text: What the file holds.
        delimiter: One of `DELIMITERS`.
        where: Begins the message of an error.

    Raises:
        ValueError: a cell is too long.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:  # more than 131,072 characters
        raise ValueError(f"{where}, line {reader.line_num}: {error}.") from None


def delimiter_of(text: str, columns: Iterable[str]) -> str | None:
    """Return the delimiter with which the first line has all these columns; None if it has none."""
    wanted = set(columns)
    for delimiter in DELIMITERS:
        try:
            if wanted <= set(next(csv.reader(io.StringIO(text), delimiter=delimiter), [])):
                return delimiter
        except csv.Error:  # a line of more than 131,072 characters
            pass
    return None


def number(cell: str, decimal_comma: bool = False) -> int | float:
    """Return the number in a cell.

    Raises:
        ValueError: it holds none, or one that is too large.
    """
    text = cell.strip().replace(",", ".") if decimal_comma else cell.strip()
    if "_" in text:
        raise ValueError(f"{shown(cell)} is not a number")
    value = float(text)
    if value in (float("inf"), float("-inf")) and "inf" not in text.lower():
        raise ValueError(f"{shown(cell)} is too large")
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else value
