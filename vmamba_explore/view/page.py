"""An offline page: one self-contained HTML file that needs no network and may use none."""

from __future__ import annotations

import html
from pathlib import Path

_HERE = Path(__file__).parent
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'{more}; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'none'{also}"
)
_MORE = {"more": " 'wasm-unsafe-eval'", "also": "; worker-src blob:; media-src blob:"}
_NO_MORE = {"more": "", "also": ""}

FOOTER = (
    "Made by vmamba-explore. Everything is inside this file: it works offline and sends nothing "
    "anywhere."
)
"""The last words of a page."""


def html_page(title: str, body: str, *, live: bool = False) -> str:
    """Return an offline page in the house style.

    Args:
        title: Plain text; HTML in it shows as text.
        body: HTML.
        live: Whether it may start a worker that runs a model inside the page, and show a video that
            its reader chooses.
    """
    policy = _POLICY.format(**(_MORE if live else _NO_MORE))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>{(_HERE / 'page.css').read_text('utf-8')}</style>\n"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
