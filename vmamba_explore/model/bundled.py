"""The bundled models: which question each answers, on which clips that is true, and how to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from vmamba_explore import resources
from vmamba_explore.clips.camera_path import CLASS_NAMES as CAMERA_CLASSES
from vmamba_explore.clips.clip import Clip, Generated, shown_by
from vmamba_explore.clips.subjects import (
    Frames,
    has_ring,
    has_sample_and_test,
    has_structure,
)
from vmamba_explore.model.own_format import fingerprint, load_folder
from vmamba_explore.model.videomamba import VideoMamba

SHAPE = (16, 64)
"""Frames of a clip, and their side in pixels, that every bundled model reads."""
ON_ANY_CLIP = "camera-nano"
"""The bundled model whose question makes sense of any film."""
UNDECIDED = "mixed / none of these"
"""What stands for an answer whose probability is below the model's threshold."""


@dataclass(frozen=True)
class BundledModel:
    """What is known about a model that comes with the package.

    Args:
        name: For `load_model`.
        question: What it answers.
        true_on: The clips on which its answers are measured and meant.
        has_subject: Whether frames show what the question is about.
        otherwise: What to say of frames that do not, after the model's name.
        still: The class that is true of a picture held still; "" where no class is.
        undecided_below: An answer that is less probable than this is `UNDECIDED`.
    """

    name: str
    question: str
    true_on: str
    has_subject: Callable[[Frames], bool]
    otherwise: str
    still: str = ""
    undecided_below: float = 0.0

    def note(self, clip: Clip | Generated) -> str:
        """Say in a sentence why a clip is not one that the model can answer about; "" if it is."""
        fits = self.has_subject(shown_by(clip).frames)
        return "" if fits else f"{self.name} {self.otherwise}"


_NO_RING = (
    "names the motion of an object in a magenta and yellow ring; no such ring was found in this "
    "clip."
)
_NO_TARGETS = (
    "compares the colors of two discs with a white rim, shown one after the other; no two such "
    "discs were found in this clip."
)
_RECALL = "recall clips: RecallClips(seed), and recall_… in data/clips"
_ALL = (
    BundledModel(
        "motion-nano",
        "How does the ringed object move?",
        "motion clips: MotionClips(seed), and right, clockwise, vanish … in data/clips",
        has_ring,
        _NO_RING,
    ),
    BundledModel(
        "motion-watermark",
        "Where is the mark that is drawn over the clip?",
        "motion clips with a mark; wrong on purpose, for judging attributions",
        has_ring,
        _NO_RING,
    ),
    BundledModel(
        "recall-nano",
        "How many steps after the first disc's color lies the second's?",
        _RECALL,
        has_sample_and_test,
        _NO_TARGETS,
    ),
    BundledModel(
        "recall-nano-forward",
        "The same, with forward scans alone.",
        _RECALL,
        has_sample_and_test,
        _NO_TARGETS,
    ),
    BundledModel(
        "recall-nano-class-token",
        "The same, read from a class token in front.",
        _RECALL,
        has_sample_and_test,
        _NO_TARGETS,
    ),
    BundledModel(
        ON_ANY_CLIP,
        "What does the camera do?",
        "any film; measured on real films and on CameraClips(seed)",
        has_structure,
        "says what the camera does; these frames are of one plain color, in which no movement "
        "shows.",
        still="static",
        undecided_below=0.57,
    ),
)
BUNDLED: Mapping[str, BundledModel] = MappingProxyType(
    {each.name: each for each in _ALL if (resources.data_dir() / each.name).is_dir()}
)
"""The models that come with the package, by name."""
ONLY_IN_SOURCES = frozenset(each.name for each in _ALL) - BUNDLED.keys()
"""Names of the models that a checkout and the source distribution hold and this install lacks."""


def identify(model: VideoMamba) -> BundledModel | None:
    """Return which bundled model this is, weight for weight; None for any other.

    A model that was trained on, edited or converted from a bundled one is another.
    """
    alike = [each for each in BUNDLED.values() if _shipped(each.name)[0] == model.config]
    mine = fingerprint(model) if alike else ""
    return next((each for each in alike if _shipped(each.name)[1] == mine), None)


def names_the_camera(model: VideoMamba) -> bool:
    """Whether a model's classes are what a camera does, so that its answer can be measured."""
    return set(model.class_names or ()) == set(CAMERA_CLASSES)


@lru_cache
def _shipped(name: str) -> tuple[object, str]:
    """Configuration and fingerprint of a bundled model as it was shipped."""
    model = load_folder(VideoMamba, resources.path(name))
    return model.config, fingerprint(model)


def model_for(clip: Clip | Generated) -> str:
    """Return the name of the bundled model whose question fits a clip.

    The first one whose subject is there, the one for any clip last.
    """
    special = (each for name, each in BUNDLED.items() if name != ON_ANY_CLIP)
    return next((each.name for each in special if not each.note(clip)), ON_ANY_CLIP)
