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
    """See that files can be written before anything runs, each once; see `output_path`.

    Args:
        outputs: The files to write; None stands for none.
        call: Begins the message of an error.
        clips: Files that are read.

    Raises:
        ValueError: two outputs are the same file.
    """
    seen: set[Path] = set()
    for output in outputs:
        if output is None:
            continue
        path = output_path(output, call, clips).resolve()
        if path in seen:
            raise ValueError(f"{call}: {output} is to be written twice; name another output file.")
        seen.add(path)


def output_path(
    output: AnyPath,
    call: str,
    clips: Iterable[AnyPath] = (),
    *,
    overwrite: bool = True,
    folder: bool = False,
) -> Path:
    """Return where something can be written.

    Args:
        output: Where to.
        call: Begins the message of an error.
        clips: Files that are read.
        overwrite: Whether what is there may be replaced.
        folder: Whether a folder will be written, or one file.

    Raises:
        FileNotFoundError: its folder does not exist.
        IsADirectoryError: a folder is in the place of the file.
        FileExistsError: it is a clip, or something is there that must not be replaced.
    """
    output = Path(output)
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"{call}: cannot write {output}: the folder {output.absolute().parent} does not exist."
        )
    if output.is_dir() and not folder:
        raise IsADirectoryError(
            f"{call}: cannot write {output}: it is a folder; name a file in it."
        )
    if output.exists() and any(Path(c).exists() and output.samefile(c) for c in clips):
        raise FileExistsError(f"{call}: {output} is the clip itself; name another output file.")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{call}: {output} exists already; overwrite=True replaces it.")
    return output
