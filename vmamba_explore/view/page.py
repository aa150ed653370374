"""An offline page: one self-contained HTML file that needs no network and may use none."""

from __future__ import annotations

import html
import os
from pathlib import Path

_HERE = Path(__file__).parent
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)

FOOTER = (
    "Made by vmamba-explore. Everything is inside this file: it works offline and sends nothing "
    "anywhere."
)
"""The last words of a page."""


def html_page(title: str, body: str) -> str:
    """Return an offline page in the house style.

    Args:
        title: Plain text; HTML in it shows as text.
        body: HTML.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>{(_HERE / 'page.css').read_text('utf-8')}</style>\n"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def page_path(output: str | os.PathLike[str], call: str) -> Path:
    """Return where a page can be written.

    Args:
        output: The HTML file to write.
        call: Begins the message of an error.

    Raises:
        FileNotFoundError: its folder does not exist.
        IsADirectoryError: it is a folder.
    """
    output = Path(output)
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"{call}: cannot write {output}: the folder {output.parent} does not exist."
        )
    if output.is_dir():
        raise IsADirectoryError(
            f"{call}: cannot write {output}: it is a folder; name a file, such as "
            f"{output / f'{call}.html'}."
        )
    return output
