"""An offline page: one self-contained HTML file that needs no network and may use none."""

from __future__ import annotations

import html
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
