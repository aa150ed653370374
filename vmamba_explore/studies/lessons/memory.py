"""Questions of notebook 03: what delta does, how long states last, what can be read from them."""

from __future__ import annotations

import math

import xarray as xr

from vmamba_explore.analysis.delta import DeltaContrast
from vmamba_explore.analysis.memory import HalfLives
from vmamba_explore.analysis.reach import LookBackCourse
from vmamba_explore.analysis.similarity import StateSimilarity
from vmamba_explore.studies.lessons.judge import Answer, Verdict, judge

_ALIKE = 0.05  # a mean delta that differs by less counts as the same


def on_what_moves(answer: Answer, contrast: DeltaContrast, layer: int) -> Verdict:
    """Judge whether delta is "larger", "smaller" or the "same" on what moves, in one layer."""
    ratio = float(contrast.ratio.sel(layer=layer).median())
    truth = "same" if abs(ratio - 1) < _ALIKE else "larger" if ratio > 1 else "smaller"
    hint = f"A large delta forgets, a small one holds: what does layer {layer} do with the motion?"
    return judge(answer, truth, hint=hint, choices=("larger", "smaller", "same"))


def still_differs(answer: Answer, contrast: DeltaContrast, layer: int) -> Verdict:
    """Judge in which direction moving tokens differ the more from still ones of the same frames."""
    median = abs(contrast.ratio_beside.sel(layer=layer).median("clip") - 1)
    truth = str(median["direction"].values[median.values.argmax()])
    hint = "Compare the two lines of the second panel, in the last layer, with 1."
    return judge(answer, truth, hint=hint, choices=("forward", "backward"))


def half_life(answer: Answer, delta: float, rate: float) -> Verdict:
    """Judge a half-life worked out by hand from a step size and -A, in tokens."""
    hint = "Solve exp(-delta |A| t) = 1/2 for t."
    return judge(answer, math.log(2) / (delta * rate), hint=hint, within=1.1)


def lasts_longest(answer: Answer, lives: HalfLives) -> Verdict:
    """Judge in which layer the states last longest: the one with most of them beyond the clip."""
    share = lives.share_censored.mean(["direction", "frame", "row", "col"])
    truth = float(share["layer"].values[share.values.argmax()])
    hint = "Half-lives are long where delta is small: compare the typical ones in the table above."
    return judge(answer, truth, hint=hint)


def ceiling(answer: Answer, course: LookBackCourse) -> Verdict:
    """Judge the forward look-back at the last frame if nothing faded, in frames."""
    last = course.ceiling.sel(direction="forward").isel(frame=-1)
    hint = "If all frames wrote alike and nothing faded, the mean age would be that of the middle."
    return judge(answer, float(last.mean()), hint=hint, within=1.2)


def looks_back(answer: Answer, course: LookBackCourse, layer: int) -> Verdict:
    """Judge the forward look-back of a layer at the last frame, in frames."""
    last = course.distance.sel(direction="forward", layer=layer).isel(frame=-1)
    hint = "It lies well below its ceiling: most states have half-lives of much less than a frame."
    return judge(answer, float(last.mean()), hint=hint, within=1.5)


def left_later(
    answer: Answer, retention: xr.DataArray, layer: int, source: int, frame: int
) -> Verdict:
    """Judge what share of a frame is left in the forward state at a later one, 0 to 1."""
    left = retention.sel(layer=layer, direction="forward", source=source, frame=frame)
    hint = (
        "Not one rate but 2 048 different ones: what fades fast is gone after one frame, and from "
        "then on what is left fades more slowly."
    )
    return judge(answer, float(left), hint=hint, within=2.0)


def dimensions(answer: Answer, found: StateSimilarity) -> Verdict:
    """Judge how many dimensions the states use: the mean over layers and directions."""
    hint = "Neighboring tokens have nearly the same state, and channels that fade slowly dominate."
    return judge(answer, float(found.participation.mean()), hint=hint, within=2.0)


def alike(answer: Answer, found: StateSimilarity) -> Verdict:
    """Judge whether both directions' states are more alike at the same token than shifted."""
    if found.p_value is None:
        raise ValueError("alike: this model has one direction, there is nothing to compare.")
    truth = bool((found.p_value < 0.05).mean() > 0.5)
    hint = "A dot inside its band is no more than any shift in time gives."
    return judge(answer, truth, hint=hint)


def readable_at(answer: Answer, read: xr.DataArray, layer: int, frame: int) -> Verdict:
    """Judge on which share of the clips a probe of a state is right at a boundary, 0 to 1."""
    share = float(read.sel(layer=layer, frame=frame))
    hint = "A few states of long half-lives are enough, and the probe finds them."
    return judge(answer, share, hint=hint, tolerance=0.1)


def brought(answer: Answer, share: float) -> Verdict:
    """Judge whether the tokens given to a layer hold one color of four, yes or no.

    They do where a probe of them is right on most clips.
    """
    hint = "What have the scans of the layers before written into every token that they passed?"
    return judge(answer, share > 0.5, hint=hint)


def still_answers(answer: Answer, share: float) -> Verdict:
    """Judge whether most clips are still answered rightly, yes or no."""
    hint = "By then, have the two colors met?"
    return judge(answer, share > 0.5, hint=hint)
