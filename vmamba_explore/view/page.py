"""An offline page: one self-contained HTML file that needs no network and may use none."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable
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


AnyPath = str | os.PathLike[str]


def output_paths(outputs: Iterable[AnyPath | None], call: str, clips: Iterable[AnyPath]) -> None:
    """See that files can be written before anything runs, each once, and none over a clip.

    Args:
        outputs: The files to write; None stands for none.
        call: Begins the message of an error.
        clips: Files that are read.
    Raises:
        FileNotFoundError: a folder does not exist.
        IsADirectoryError: an output is a folder.
        FileExistsError: an output is a clip.
        ValueError: two outputs are the same file.
    """
    seen: set[Path] = set()
    for output in outputs:
        if output is None:
            continue
        path = page_path(output, call, clips).resolve()
        if path in seen:
            raise ValueError(f"{call}: {output} is to be written twice; name another output file.")
        seen.add(path)


def page_path(output: AnyPath, call: str, clips: Iterable[AnyPath] = ()) -> Path:
    """Return where a page can be written.

    Args:
        output: The HTML file to write.
        call: Begins the message of an error.
        clips: Files that are read.

    Raises:
        FileNotFoundError: its folder does not exist.
        IsADirectoryError: it is a folder.
        FileExistsError: it is a clip.
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
    if output.exists() and any(Path(c).exists() and output.samefile(c) for c in clips):
        raise FileExistsError(f"{call}: {output} is the clip itself; name another output file.")
    return output
