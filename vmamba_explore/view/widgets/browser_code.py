"""A widget's JavaScript and CSS: modules joined to one text, also for a page alone."""

from __future__ import annotations

import base64
import json
import re
import uuid
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


_IMPORT = re.compile(r'^import [^"]*"([^"]+)";\n', re.MULTILINE)


def read_code(entry: Path) -> str:
    """Return a JavaScript module and all that it imports as one text, without a build step.

    Every module keeps its own file, which Node runs as it is. Joined, they share one scope: no
    two of them may give the same name to different things.

    Args:
        entry: The module that needs the others. Each is joined once, after those it imports.
    """
    joined: dict[Path, str] = {}

    def join(file: Path) -> None:
        if file in joined:
            return
        joined[file] = ""  # its place is taken below
        text = file.read_text("utf-8")
        for name in _IMPORT.findall(text):
            join((file.parent / name).resolve())
        del joined[file]
        body = re.sub(r"^export (?!default)", "", _IMPORT.sub("", text), flags=re.MULTILINE)
        joined[file] = body.strip()

    join(entry.resolve())
    return "\n\n".join(joined.values())


def read_style(*files: Path) -> str:
    """Return some style sheets as one text."""
    return "\n".join(file.read_text("utf-8") for file in files)


def standalone_fragment(kind: str, esm: str, css: str, state: dict[str, Any]) -> str:
    """Return a widget as a piece of HTML that needs nothing else: no Jupyter, no network.

    Args:
        kind: Begins the name of its element.
        esm: Its JavaScript, which defines `render`.
        css: Its style.
        state: Its synced traits; bytes anywhere in it go as base64.
    """
    name = f"{kind}-{uuid.uuid4().hex}"
    data = json.dumps(_plain(state)).replace("<", "\\u003c")  # no text can close the script
    return (
        f"<style>{css}</style>\n"
        f'<div id="{name}"></div>\n'
        f'<script type="module">\n{esm}\n{read_code(_HERE / "standalone.js")}\n'
        f'show(render, "{name}", {data});\n</script>\n'
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
