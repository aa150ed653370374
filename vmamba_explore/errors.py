"""Parts of error messages."""

from __future__ import annotations

from collections.abc import Iterable


def first_line(error: BaseException) -> str:
    """First line of an error's message, or the name of its type; at most 200 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def check_choice(what: str, value: object, known: Iterable[object]) -> None:
    """Raise a ValueError unless a value is among the known ones; `what` names call and argument."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{what} is {value!r}, expected {' or '.join(map(repr, known))}.")


def few(names: Iterable[str], most: int = 4) -> str:
    """The first few names, each on one line and shortened, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(one_line, names[:most])) + more


def one_line(text: str, most: int = 200) -> str:
    """A text for a message: what cannot be printed is escaped, and its end is left out."""
    start = text[:most] + "..." if len(text) > most else text
    return start if start.isprintable() else repr(start)[1:-1]


def shown(value: object, most: int = 80) -> str:
    """The repr of a value for a message, shortened; its type where there is no repr."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; nested too deeply
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= most else f"{text[:most]}..."


def check_fields(instance: object, **limits: tuple[bool, str]) -> None:
    """Raise ValueError for the first field that is out of range.

    Args:
        instance: Has the fields.
        limits: For each field whether its value is fine, and what was expected.
    """
    for name, (is_fine, expected) in limits.items():
        if not is_fine:
            owner, value = type(instance).__name__, getattr(instance, name)
            raise ValueError(f"{owner}: {name} is {value!r}, expected {expected}.")
