"""Names of the classes that public checkpoints answer with."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from vmamba_explore import resources
from vmamba_explore.datasets.lists import places_of
from vmamba_explore.model.videomamba import VideoMamba

DATA_SETS = ("kinetics400", "ssv2")


def label_names(data_set: str) -> tuple[str, ...]:
    """Name the classes of a public data set, in the order of the public checkpoints' logits.

    Args:
        data_set: "kinetics400" (400 names, in the order of OpenGVLab's checkpoints, which is not
            the alphabetical one that other projects use; that is `sorted(...)` of it) or "ssv2"
            (Something-Something V2, 174 names by their official numbers).
    Raises:
        ValueError: no such list.
    Source:
        See data/SOURCES.md.
    """
    if data_set not in DATA_SETS:
        raise ValueError(f"label_names: no list {data_set!r}; there are {', '.join(DATA_SETS)}.")
    text = resources.path(f"labels/{data_set}.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def names_of_published(num_classes: int) -> tuple[str, ...] | None:
    """The names that belong to a published video model with so many classes, None where unknown."""
    for data_set in DATA_SETS:
        names = label_names(data_set)
        if len(names) == num_classes:
            return names
    return None


def in_order_of(model: VideoMamba, class_names: Sequence[str]) -> VideoMamba:
    """Give a model that answers in the order of these names: the rows of its head change places.

    Public checkpoints and public lists of the same videos number the classes differently.

    Args:
        model: The model.
        class_names: The names in the order wanted. Where the model has none written so, capitals,
            spaces, underscores and other signs do not count.
    Returns:
        A copy with these names; `model` itself where it has them already, or none, or others.
    """
    known = model.class_names or ()
    found = places_of(class_names, known)
    wanted = [places[0] if len(places) == 1 else -1 for places in found]
    if (
        not known
        or sorted(wanted) != list(range(len(known)))
        or model.class_names == tuple(class_names)
    ):
        return model
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.head.parameters():
            parameter.copy_(parameter[wanted])
    other.class_names = tuple(class_names)
    return other
