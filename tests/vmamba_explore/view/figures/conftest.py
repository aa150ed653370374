"""Results whose numbers are known, for the figures of them."""

import pathlib
import sys

import numpy as np
import pytest
import torch
import xarray as xr

from vmamba_explore.analysis.channels import Channels
from vmamba_explore.analysis.delta import DeltaContrast
from vmamba_explore.analysis.erasure import AfterCut
from vmamba_explore.analysis.memory import HalfLives
from vmamba_explore.analysis.patching import TwinPatching
from vmamba_explore.analysis.probes import SOURCES, ProbeScores
from vmamba_explore.analysis.reach import LookBackCourse
from vmamba_explore.analysis.selection import SelectionSwap
from vmamba_explore.analysis.similarity import StateSimilarity
from vmamba_explore.analysis.slow_states import OPERATIONS, StateSurgery
from vmamba_explore.analysis.trajectories import Trajectory

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # for figure_examples
BOTH = ["forward", "backward"]


def labeled(values, **coords):
    """An array whose dims are the coordinates in their order; None numbers none of them."""
    known = {name: places for name, places in coords.items() if places is not None}
    return xr.DataArray(values, known, tuple(coords))


ENDS = [labeled(np.array(margins), clip=None) for margins in ([4.0, 2.0], [-4.0, -1.0])]
"""The margins of two clips and of their twins."""


@pytest.fixture
def channels():
    """Return three statistics of 40 channels over 4 frames."""
    generator = np.random.default_rng(0)
    values, courses = {}, {}
    for name, unit in (("delta", ""), ("contribution", "logits"), ("half-life", "tokens")):
        numbers = generator.normal(size=(40, 4))
        numbers = 10**numbers if name == "half-life" else numbers
        course = labeled(numbers, channel=np.arange(40), frame=np.arange(4))
        courses[name] = course.assign_coords(seconds=course["frame"] / 4).assign_attrs(unit=unit)
        values[name] = course.sum("frame").assign_attrs(unit=unit)
    return Channels(3, "backward", xr.Dataset(values), xr.Dataset(courses))


@pytest.fixture
def lives(grid_map):
    """Return half-lives of which those in the last two frames are censored."""
    tokens = (1 + 100 * grid_map()).round().assign_attrs(unit="tokens")
    censored = xr.zeros_like(tokens, bool)
    censored[:, :, -2:] = True
    frames = (tokens // 16).assign_attrs(unit="frames")
    return HalfLives(tokens, frames, censored, censored.astype(float), 0.9, False)


@pytest.fixture
def course(grid_map):
    """Return look-back distances of two groups of channels, and their ceiling."""
    values = grid_map().mean(["row", "col"]).expand_dims(group=[0, 1])
    values = values.transpose("layer", "direction", "group", "frame").copy()
    values[:, :, 1] /= 10
    values = values.assign_attrs(unit="tokens")
    return LookBackCourse(values, 5 * values)


@pytest.fixture
def retention(grid_map):
    """Return a retention that halves with every frame."""
    like = grid_map().mean(["row", "col"])
    lag = np.arange(8)[None] - np.arange(8)[:, None]
    forward, backward = (np.where(n >= 0, 0.5 ** abs(n), np.nan) for n in (lag, -lag))
    values = np.broadcast_to(np.stack([forward, backward]), (3, 2, 8, 8))
    frames = {"source": np.arange(8), "frame": np.arange(8)}
    found = labeled(values, layer=np.arange(3), direction=BOTH, **frames)
    return found.assign_coords(seconds=like["seconds"]).rename("retention")


@pytest.fixture
def similarity():
    """Return a likeness of 0.5 in layer 0 and 0.1 in layer 2, beside shifts that give 0 to 0.2."""
    null = np.linspace(0, 0.2, 41)[None].repeat(2, 0)
    participation = labeled([[3.0, 4.0], [5.0, 6.0]], layer=[0, 2], direction=BOTH)
    cka, shifts = labeled([0.5, 0.1], layer=[0, 2]), labeled(null, layer=[0, 2], shift=range(41))
    return StateSimilarity(participation, 127, cka, shifts, torch.arange(128))


@pytest.fixture
def contrast():
    """Return a delta on moving tokens of 1, 2 and 3 times that on still ones."""
    values = np.random.default_rng(0).gamma(2, 1, (5, 3, 2))
    still = labeled(values, clip=range(5), layer=range(3), direction=BOTH)
    moving = still * labeled([1.0, 2.0, 3.0], layer=range(3))
    return DeltaContrast(moving, still, 2 * still, 4 * still, still, still / still)


@pytest.fixture
def probed():
    """Return scores of 2 targets, 4 layers, both directions, 8 frames."""
    values = np.random.default_rng(0).uniform(0, 0.8, (2, len(SOURCES), 4, 2, 8))
    values[0, ..., 0] = np.nan
    return ProbeScores(
        ("velocity", "label"), (0, 1, 2, 5), ("forward", "backward"), values, values - 0.1,
        values + 0.1, np.full((2, 8), 100), np.full((2, 8), 50),
    )  # fmt: skip


@pytest.fixture
def jump():
    """Return what is left after a jump: 2 layers, both directions, 4 lags, one beyond the clip."""
    share = np.array([1, 0.6, 0.2, 0.0]) * np.ones((2, 2, 1))
    share[:, 0, 3] = np.nan
    values = {"r2": 0.5 * share, "share": share, "inputs": 0.02 * share, "retention": share**0.5}
    bounds = {f"{name}_low": value - 0.05 for name, value in values.items()}
    bounds |= {f"{name}_high": value + 0.05 for name, value in values.items()}
    return AfterCut((0, 3), ("forward", "backward"), (0, 8, 64, 128), 64, **values, **bounds,
                    train=100, test=50)  # fmt: skip


@pytest.fixture
def h(grid_map):
    """Return states of one channel: direction, frame, row, col, state."""
    layers = grid_map(signed=True, layers=5)
    return layers.rename(layer="state").transpose("direction", "frame", "row", "col", "state")


@pytest.fixture
def patching():
    """Return what two pairs of clips bring back at 7 boundaries of 3 layers."""
    values = np.random.default_rng(0).normal(size=(3, 2, 7, 2))
    patched = labeled(values, layer=range(3), direction=BOTH, frame=range(1, 8), clip=None)
    patched = patched.assign_coords(clip_frame=2 * patched["frame"])
    return TwinPatching(patched, *ENDS, np.array([[3, 9], [1, 6]]), residual=2e-3)


@pytest.fixture
def swap():
    """Return the logits of every mixture of two pairs of clips, in two layers and in all."""
    values = np.random.default_rng(1).normal(size=(3, 3, 2, 2, 2))
    values[:2, 2] = np.nan  # both directions only where all layers are changed
    scans, sources = {"layer": [0, 1, -1], "direction": [*BOTH, "both"]}, ["own", "twin"]
    logits = labeled(values, **scans, u=sources, selection=sources, clip=None)
    return SelectionSwap(logits, *ENDS, residual=0.0)


@pytest.fixture
def paths():
    """Return paths of two clips over 4 frames, the backward scan ending frames last to first."""
    values = np.random.default_rng(0).normal(size=(2, 2, 4, 2))
    points = labeled(values, clip=None, direction=BOTH, frame=np.arange(4), component=None)
    step = ("direction", "frame"), np.array([[9, 19, 29, 39], [39, 29, 19, 9]])
    points = points.assign_coords(seconds=points["frame"] / 4, step=step)
    return Trajectory(points, labeled([[0.7, 0.2], [0.5, 0.25]], direction=BOTH, component=None))


@pytest.fixture
def by_frame_boundary():
    """Return the shares right at 15 boundaries, with intervals, for three sets of directions."""
    values = np.tile(np.where(np.isin(np.arange(1, 16), range(3, 12)), 0.25, 0.97), (3, 1))
    array = labeled(values, direction=["both", *BOTH], frame=range(1, 16))
    ends = {"low": (array.dims, values - 0.05), "high": (array.dims, values + 0.02)}
    return array.assign_coords(ends)


@pytest.fixture
def operated():
    """Return surgery on some of the states of 40 clips: three operations, two orders."""
    generator = np.random.default_rng(0)
    orders, shares = ["slowest first", "at random"], [0, 0.01, 0.03, 0.1, 0.3, 1]
    coords = {"operation": list(OPERATIONS), "order": orders, "share": shares, "clip": range(40)}
    likely = np.linspace(0.2, 0.95, 6)[:, None]
    right = generator.random([len(values) for values in coords.values()]) < likely
    return StateSurgery(labeled(right, **coords), labeled(np.ones(40, bool), clip=None))
