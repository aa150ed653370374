"""Class names of the public checkpoints."""

from __future__ import annotations

from vmamba_explore import resources

DATA_SETS = ("kinetics400", "ssv2")


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
        raise ValueError(f"label_names: no list {data_set!r}; there are {', '.join(DATA_SETS)}.")
    text = resources.path(f"labels/{data_set}.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def names_of_published(num_classes: int) -> tuple[str, ...] | None:
    """Class names of a published video model with that many classes; None where unknown."""
    lists = map(label_names, DATA_SETS)
    return next((names for names in lists if len(names) == num_classes), None)
