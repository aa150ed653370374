"""Findings that are being worked on: patterns of their signatures. The right length of it is 0."""

KNOWN: tuple[str, ...] = ()
