"""Published checkpoints by the names people know them under: data/published_models.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType

from vmamba_explore import resources
from vmamba_explore.model.bundled import BUNDLED


@dataclass(frozen=True)
class PublishedModel:
    """What its authors state about a checkpoint on the Hugging Face Hub.

    Args:
        name: For `load_model`.
        repo: Its repository on the Hub, "owner/repo".
        file: Its file there.
        layout: For `load_model`, where tensors cannot tell; None where they can.
        trained_on: The data set of its classes, or of its training where it has none.
        before: What it was trained on before that; "" where it began at random.
        frames: Frames of a clip; 1 for an image model.
        img_size: Height and width of a frame, pixels.
        classes: Length of the logits; None for an encoder without a head.
        views: Of the published test: frames x crops x clips of each video; "" where not stated.
        top1: Published top-1 accuracy in percent; None where not stated.
        license: As stated with the code.
        note: What could not be verified, or is known to differ; "" where nothing is.
    """

    name: str
    repo: str
    file: str
    layout: str | None
    trained_on: str
    before: str
    frames: int
    img_size: int
    classes: int | None
    views: str
    top1: float | None
    license: str
    note: str

    @property
    def reference(self) -> str:
        """Its place on the Hub, "owner/repo:file", as `load_model` takes it."""
        return f"{self.repo}:{self.file}"

    @property
    def summary(self) -> str:
        """Data sets, shape of a clip, classes and accuracy in one line."""
        before = f", after {self.before}" if self.before else ""
        shape = f"{self.frames} x {self.img_size} px" if self.frames > 1 else f"{self.img_size} px"
        classes = "no head" if self.classes is None else f"{self.classes} classes"
        views = f" ({self.views})" if self.views else ""
        top1 = "" if self.top1 is None else f", top-1 {self.top1} %{views}"
        return f"{self.trained_on}{before}; {shape}, {classes}{top1}"


@cache
def published_models() -> Mapping[str, PublishedModel]:
    """Return the published checkpoints that `load_model` knows by name, by these names.

    The facts are those of the publishers' own tables; `note` says what is in doubt. Nothing is
    fetched.
    """
    with resources.path("published_models.csv").open(encoding="utf-8", newline="") as file:
        models = [_from_row(row) for row in csv.DictReader(file)]
    return MappingProxyType({model.name: model for model in models})


def _from_row(row: Mapping[str, str]) -> PublishedModel:
    numbers = {
        "frames": int(row["frames"]),
        "img_size": int(row["img_size"]),
        "classes": int(row["classes"]) if row["classes"] else None,
        "top1": float(row["top1"]) if row["top1"] else None,
    }
    return PublishedModel(**{**row, **numbers, "layout": row["layout"] or None})  # type: ignore[arg-type]


def published_as(what: str) -> PublishedModel | None:
    """Return the published model that a name or a reference of the Hub stands for."""
    models = published_models()
    return models.get(what) or next((m for m in models.values() if m.reference == what), None)


def nearest_names(what: str, most: int = 3) -> list[str]:
    """Return the names of models that a misspelled one may stand for, the nearest first.

    Args:
        what: The name; a published file's own name counts, too.
        most: The most names returned.
    """
    known = {name: name for name in BUNDLED}
    for name, model in published_models().items():
        known |= {name: name, model.file: name, model.file.partition(".")[0]: name}
    plain = {_plain(spelled): name for spelled, name in known.items()}
    asked = _plain(what[:200])
    if asked in plain:
        return [plain[asked]]
    near = get_close_matches(asked, plain, n=3 * most, cutoff=0.7)
    return list(dict.fromkeys(plain[spelled] for spelled in near))[:most]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
