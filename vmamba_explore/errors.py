"""Parts of error messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that end a line, change its direction, or cannot be written as UTF-8."""


def one_line(text: object, most: int = 200) -> str:
    """Return a name as a part of one line.

    Control characters, line separators, marks of direction and lone surrogates become escapes such
    as `\\r`; the middle of a long name is left out.

    Args:
        text: A name from a file, a path or a user.
        most: The most characters that it keeps.
    """
    shown = _UNSEEN.sub(
        lambda sign: sign[0].encode("unicode_escape").decode(), _shortened(str(text), most)
    )
    return _shortened(shown, most)


def _shortened(text: str, most: int) -> str:
    """Leave out the middle of a text of more than `most` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most - most // 3 - 1]}…{text[len(text) - most // 3 :]}"


def shown(value: object, most: int = 80) -> str:
    """The repr of a value for a message, shortened; its type where there is no repr."""
    try:
        return one_line(repr(value), most)
    except (ValueError, RecursionError):  # an integer of thousands of digits; nested too deeply
        return f"a {type(value).__name__} too long to show"


def first_line(error: BaseException) -> str:
    """First line of an error's message, or the name of its type; at most 200 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def check_choice(what: str, value: object, known: Iterable[object]) -> None:
    """Raise a ValueError unless a value is among the known ones; `what` names call and argument."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{what} is {shown(value)}, expected {' or '.join(map(repr, known))}.")


def few(names: Iterable[str], most: int = 4) -> str:
    """The first few names, each in one short line, and how many more there are."""
    names = [one_line(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def check_fields(instance: object, **limits: tuple[bool, str]) -> None:
    """Raise ValueError for the first field that is out of range.

    Args:
        instance: Has the fields.
        limits: For each field whether its value is fine, and what was expected.
    """
    for name, (is_fine, expected) in limits.items():
        if not is_fine:
            owner, value = type(instance).__name__, shown(getattr(instance, name))
            raise ValueError(f"{owner}: {name} is {value}, expected {expected}.")
