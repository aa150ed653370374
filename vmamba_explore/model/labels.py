"""Class names of the public checkpoints."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from vmamba_explore import resources
from vmamba_explore.errors import shown

DATA_SETS = ("kinetics400", "ssv2")
LONGEST_NAME = 200
_UNPRINTABLE = {  # by Unicode's categories
    "Cc": "a control character",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}


def checked_names(names: object, num_classes: int) -> tuple[str, ...]:
    """Take class names, each one line of at most 200 letters that can be shown and saved.

    Args:
        names: A list or tuple of strings.
        num_classes: How many there must be.
    Raises:
        ValueError: the message says which name, and why.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"class_names is {shown(names)}, expected a list of names.")
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise ValueError(f"class_names[{number}] is {shown(name)}, expected a string.")
        if len(name) > LONGEST_NAME:
            raise ValueError(
                f"class_names[{number}] has {len(name):,} letters, expected at most "
                f"{LONGEST_NAME}: {shown(name, 40)}."
            )
        for letter in name:
            if found := _UNPRINTABLE.get(unicodedata.category(letter)):
                raise ValueError(
                    f"class_names[{number}], {shown(name)}, contains {found} ({letter!a}), "
                    "expected one line of printable letters."
                )
    if len(names) != num_classes:
        raise ValueError(f"{len(names)} class names for {num_classes} classes; expected as many.")
    return tuple(names)


def label_names(data_set: str) -> tuple[str, ...]:
    """Return the class names of a public data set, in the order of the checkpoints' logits.

    Args:
        data_set: "kinetics400" (400 names, in the order of OpenGVLab's checkpoints; other projects
            use the alphabetical order, `sorted(...)` of it) or "ssv2" (Something-Something V2, 174
            names by their official numbers).
    Raises:
        ValueError: there is no such list.
    Source:
        See data/SOURCES.md.
    """
    if data_set not in DATA_SETS:
        raise ValueError(
            f"label_names: no list {shown(data_set)}; there are {', '.join(DATA_SETS)}."
        )
    text = resources.path(f"labels/{data_set}.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def names_of_published(num_classes: int) -> tuple[str, ...] | None:
    """Class names of a published video model with that many classes; None where unknown."""
    lists = map(label_names, DATA_SETS)
    return next((names for names in lists if len(names) == num_classes), None)
