"""Findings that are being worked on: patterns of their signatures. The right length of it is 0."""

from __future__ import annotations

import re

KNOWN: tuple[str, ...] = ()


def is_known(signature: str) -> bool:
    """Whether a finding is on the list."""
    return any(re.search(pattern, signature) for pattern in KNOWN)
