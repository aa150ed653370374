"""What a page gets beside an explorer's traits, so that a model answers inside the page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from vmamba_explore.view.live.portable import PortableModel, packed_model
from vmamba_explore.view.widgets.browser_code import Companion, read_code

_HERE = Path(__file__).parent
MOST_BYTES = 3_000_000
"""Of an exported page that gets its model without being told to."""


@cache
def worker_code() -> str:
    """Return the JavaScript of the worker that runs models, as one text."""
    return read_code(_HERE / "worker.js")


@cache
def worker_wasm() -> bytes | None:
    """Return the compiled arithmetic of the worker; None where there is none."""
    file = _HERE / "ops.wasm"
    return file.read_bytes() if file.is_file() else None


def companion(portable: PortableModel, names: Sequence[str], called: str) -> Companion:
    """Return what `standalone_fragment` needs for an explorer with its model in the page.

    Args:
        portable: The model.
        names: Of the maps that the explorer has.
        called: What the explorer calls the model.
    """
    header, text = packed_model(portable)
    data = {
        "code": worker_code(),
        "wasm": worker_wasm(),
        "about": dict(portable.about),
        "header": header,
        "names": live_names(portable, names),
        "called": called,
    }
    return Companion(read_code(_HERE / "exported.js"), "showLive", data, text)


def live_names(portable: PortableModel, names: Sequence[str]) -> list[str]:
    """Return those of some maps that a page can compute, in the order of all."""
    known = [each["name"] for each in portable.about["quantities"] if each["live"]]
    return [name for name in names if name in known]
