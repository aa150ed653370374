"""Old names that still work for a while."""

from __future__ import annotations

import warnings


def warn_renamed(old: str, new: str, since: str = "0.2", removal: str = "0.4") -> None:
    """Warn that a name has changed; attributed to the caller of the function that calls this.

    Args:
        old: The name that was used.
        new: The name to use instead.
        since: The version that renamed it.
        removal: The version in which the old name stops working.
    """
    message = f"{old} is called {new} since version {since}; the old name goes in {removal}."
    warnings.warn(message, FutureWarning, stacklevel=3)
