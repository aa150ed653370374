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
from vmamba_explore.analysis.trajectories import Trajectory

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # for figure_examples


@pytest.fixture
def channels():
    """Return three statistics of 40 channels over 4 frames."""
    generator = np.random.default_rng(0)
    frames = {"frame": np.arange(4), "seconds": ("frame", np.arange(4) / 4)}
    values, courses = {}, {}
    for name, unit in (("delta", ""), ("contribution", "logits"), ("half-life", "tokens")):
        numbers = generator.normal(size=(40, 4))
        numbers = 10**numbers if name == "half-life" else numbers
        courses[name] = xr.DataArray(numbers, frames, ("channel", "frame"), attrs={"unit": unit})
        values[name] = xr.DataArray(numbers.sum(1), dims="channel", attrs={"unit": unit})
    number = {"channel": np.arange(40)}
    return Channels(3, "backward", xr.Dataset(values, number), xr.Dataset(courses, number))


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
    coords = {name: like[name] for name in ("layer", "direction", "frame", "seconds")}
    dims = ("layer", "direction", "source", "frame")
    return xr.DataArray(values, coords | {"source": np.arange(8)}, dims, name="retention")


@pytest.fixture
def similarity():
    """Return a likeness of 0.5 in layer 0 and 0.1 in layer 2, beside shifts that give 0 to 0.2."""
    null = np.linspace(0, 0.2, 41)[None].repeat(2, 0)
    participation = xr.DataArray(
        [[3.0, 4.0], [5.0, 6.0]],
        {"layer": [0, 2], "direction": ["forward", "backward"]},
        ("layer", "direction"),
    )
    cka = xr.DataArray([0.5, 0.1], {"layer": [0, 2]}, ("layer",))
    shifts = xr.DataArray(null, {"layer": [0, 2], "shift": np.arange(41)}, ("layer", "shift"))
    return StateSimilarity(participation, 127, cka, shifts, torch.arange(128))


@pytest.fixture
def contrast():
    """Return a delta on moving tokens of 1, 2 and 3 times that on still ones."""
    generator = np.random.default_rng(0)
    shape, dims = (5, 3, 2), ("clip", "layer", "direction")
    coords = {"clip": range(5), "layer": range(3), "direction": ["forward", "backward"]}
    still = xr.DataArray(generator.gamma(2, 1, shape), coords, dims)
    moving = still * xr.DataArray([1.0, 2.0, 3.0], {"layer": range(3)}, ("layer",))
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
    generator = np.random.default_rng(0)
    frames = np.arange(1, 8)
    coords = {
        "layer": [0, 1, 2],
        "direction": ["forward", "backward"],
        "frame": frames,
        "clip_frame": ("frame", frames * 2),
    }
    dims = ("layer", "direction", "frame", "clip")
    patched = xr.DataArray(generator.normal(size=(3, 2, 7, 2)), coords, dims)
    ends = [xr.DataArray(np.array(m), dims=["clip"]) for m in ([4.0, 2.0], [-4.0, -1.0])]
    return TwinPatching(patched, *ends, np.array([[3, 9], [1, 6]]), residual=2e-3)


@pytest.fixture
def swap():
    generator = np.random.default_rng(1)
    sources = ["own", "twin"]
    coords = {
        "layer": [0, 1, -1],
        "direction": ["forward", "backward", "both"],
        "u": sources,
        "selection": sources,
    }
    values = generator.normal(size=(3, 3, 2, 2, 2))
    values[:2, 2] = np.nan  # both directions only where all layers are changed
    ends = [xr.DataArray(np.array(m), dims=["clip"]) for m in ([4.0, 2.0], [-4.0, -1.0])]
    return SelectionSwap(xr.DataArray(values, coords, [*coords, "clip"]), *ends, residual=0.0)


@pytest.fixture
def paths():
    """Return paths of two clips over 4 frames, the backward scan ending frames last to first."""
    points = np.random.default_rng(0).normal(size=(2, 2, 4, 2))
    coords = {
        "direction": ["forward", "backward"],
        "frame": np.arange(4),
        "seconds": ("frame", np.arange(4) / 4),
        "step": (("direction", "frame"), np.array([[9, 19, 29, 39], [39, 29, 19, 9]])),
    }
    share = xr.DataArray([[0.7, 0.2], [0.5, 0.25]], {"direction": coords["direction"]},
                         ("direction", "component"))  # fmt: skip
    dims = ("clip", "direction", "frame", "component")
    return Trajectory(xr.DataArray(points, coords, dims), share)
