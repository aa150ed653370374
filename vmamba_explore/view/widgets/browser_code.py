"""A widget's JavaScript and CSS: joined from files, and run in a page without Jupyter."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def read_code(files: Iterable[Path]) -> str:
    """Return some files as one text; a widget sends one, and needs no build step."""
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
        f'<script type="module">\n{esm}\n{read_code([_HERE / "standalone.js"])}\n'
        f'show("{name}", {data});\n</script>\n'
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
