"""Old names that still work for a while."""

from __future__ import annotations

import warnings


def renamed(old: str, new: str, since: str = "0.2", removal: str = "0.4") -> str:
    """Return the sentence that tells users of an old name about the new one.

    Args:
        old: The name that was used.
        new: The name to use instead.
        since: The version that renamed it.
        removal: The version in which the old name stops working.
    """
    return f"{old} is called {new} since version {since}; the old name goes in {removal}."


def warn_renamed(old: str, new: str, since: str = "0.2", removal: str = "0.4") -> None:
    """Warn the caller of the function that calls this; the arguments are those of `renamed`."""
    warnings.warn(renamed(old, new, since, removal), FutureWarning, stacklevel=3)
