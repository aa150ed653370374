"""A widget's JavaScript and CSS: modules joined to one text, also for a page alone."""

from __future__ import annotations

import base64
import json
import re
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


_UNNEEDED = re.compile(r"^ *//.*\n|^ +", re.MULTILINE)
_IMPORT = re.compile(r'^import [^"]*"([^"]+)";\n', re.MULTILINE)


def read_code(entry: Path) -> str:
    """Return a JavaScript module and all that it imports as one text, without a build step.

    Every explorer sends this text, so lines that hold nothing but a comment are left out, and so
    is what indents a line: no module may have a template literal of several lines.

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
        text = _UNNEEDED.sub("", _IMPORT.sub("", text))
        body = re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE)
        joined[file] = body.strip()

    join(entry.resolve())
    return "\n\n".join(joined.values())


def packed_code(code: str) -> str:
    """Return a module that unpacks another one, deflated, and exports its default: a third as long.

    A notebook gets a widget's code with each widget, and keeps it.

    Args:
        code: A module that needs no other, as `read_code` returns it.
    """
    packed = base64.b64encode(zlib.compress(code.encode(), 9)).decode()
    return f"""const bytes = Uint8Array.from(atob("{packed}"), (one) => one.charCodeAt(0));
const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
const module = new Blob([await new Response(unpacked).text()], {{ type: "text/javascript" }});
const address = URL.createObjectURL(module);
const widget = await import(address);
URL.revokeObjectURL(address);
export default widget.default;
"""


def read_style(*files: Path) -> str:
    """Return some style sheets as one text."""
    return "\n".join(file.read_text("utf-8") for file in files)


@dataclass(frozen=True)
class Companion:
    """What stands in a page beside a widget's traits.

    Args:
        code: JavaScript that defines `call`.
        call: A function of `render`, the element's name, the traits, and `data`.
        data: Anything that JSON and bytes can hold.
        text: A long text without "<", for an element whose name is the other one's with "-text".
    """

    code: str
    call: str
    data: dict[str, Any]
    text: str


def standalone_fragment(
    kind: str, esm: str, css: str, state: dict[str, Any], companion: Companion | None = None
) -> str:
    """Return a widget as a piece of HTML that needs nothing else: no Jupyter, no network.

    Args:
        kind: Begins the name of its element.
        esm: Its JavaScript, which defines `render`.
        css: Its style.
        state: Its synced traits; bytes anywhere in it go as base64.
        companion: What to show it with; None for the widget alone.
    """
    name = f"{kind}-{uuid.uuid4().hex}"
    code, call, given, text = read_code(_HERE / "standalone.js"), "show", [state], ""
    if companion is not None:
        code, call, given = companion.code, companion.call, [state, companion.data]
        text = f'<script type="text/plain" id="{name}-text">{companion.text}</script>\n'
    data = ", ".join(map(plain_json, given))
    return (
        f"<style>{css}</style>\n"
        f'<div id="{name}"></div>\n{text}'
        f'<script type="module">\n{esm}\n{code}\n{call}(render, "{name}", {data});\n</script>\n'
    )


def plain_json(value: dict[str, Any]) -> str:
    """Return JSON for a script element, which no text in it can close; bytes as base64."""
    return json.dumps(_plain(value)).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
