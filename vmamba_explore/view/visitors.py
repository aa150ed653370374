"""What a page says of an error: everything to its owner, nothing of this machine to a visitor."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PATHS = "VMAMBA_APP_PATHS"
"""Set to 1, the environment variable that lets a served page read paths."""
PACKAGE = __name__.partition(".")[0]
UNEXPECTED = (
    "Something unexpected went wrong. That is a fault of this program, not of your clip. The log "
    "of whoever runs this page says more."
)


def for_visitors() -> bool:
    """Whether Voila serves this kernel to visitors, who may not read paths."""
    served = os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")
    return served and os.environ.get(PATHS) != "1"


def told(error: Exception, words: str, visitors: bool | None = None) -> str:
    """Return what to show of an error.

    Args:
        error: What was raised.
        words: What the owner of the kernel is told.
        visitors: Whether visitors read it, who are told a message of this package without a place
            of this machine in it, or `UNEXPECTED`; None asks `for_visitors`.
    """
    if not (for_visitors() if visitors is None else visitors):
        return words
    places = (tempfile.gettempdir(), os.getcwd(), Path(__file__).parents[2])
    private = any(str(place) in words for place in places)
    return UNEXPECTED if private or not meant_for_readers(error) else words


def meant_for_readers(error: Exception) -> bool:
    """An error that this package raised on purpose is a sentence; one from elsewhere is a fault."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    home = "" if traceback is None else traceback.tb_frame.f_globals.get("__name__", "")
    return isinstance(error, ValueError | MemoryError) and home.partition(".")[0] == PACKAGE
