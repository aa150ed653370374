"""Functions that make small results for figures, and the figures of all of them."""

import dataclasses

import numpy as np
import pandas as pd
import torch
import xarray as xr

from vmamba_explore.analysis.attention import AttentionMatrix
from vmamba_explore.analysis.camera_motion import CameraMotion
from vmamba_explore.analysis.evidence import EvidenceCurve
from vmamba_explore.analysis.logits import LogitParts
from vmamba_explore.analysis.timeline import Timeline
from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.attribution.relevance import RelevanceFlow
from vmamba_explore.attribution.removal_scores import Faithfulness, RemovalCurve
from vmamba_explore.attribution.result import Attribution, Cost
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.trace import TokenLabels

TOKENS = TokenLabels(TokenGrid(2, 2, 3, "middle"), 2)


def made_camera_motion(steps=15, applies=None, cut=None):
    """A camera that pans and zooms in; 8 frames a second. All of the steps apply but steps 3, 4 and
    the cut, or those named."""
    generator = np.random.default_rng(0)
    moves = generator.normal(0, 0.002, (steps, 4)) + [0.01, 0, 0.004, 0]
    fine = np.isin(np.arange(steps), applies) if applies is not None else np.ones(steps, bool)
    if applies is None:
        fine[[3, 4]] = False
    cuts = np.array([] if cut is None else [cut], np.int64)
    fine[cuts - 1] = False
    moves[~fine] = np.nan
    inliers = np.where(fine, generator.uniform(0.7, 1, steps), 0.1)
    return CameraMotion(moves, inliers, fine, cuts, np.arange(steps + 1) / 8, "<i>film.mp4")


def make_shares(residual=0.0):
    values = np.array([[0.9, -0.1, 0.2], [0.0, 1.0, 0.0]])
    coords = {"target": ["0", "1"], "source": ["0", "1", "offset"]}
    return xr.DataArray(values, coords, ("target", "source"), attrs={"residual": residual})


def make_matrix(seqlen_factor=1, residual=0.0, values=None):
    grid = TokenGrid(2, 2, 3 * seqlen_factor, "middle")
    if values is None:
        values = torch.arange(grid.seqlen**2, dtype=torch.float32).view(1, grid.seqlen, -1) - 20
    return AttentionMatrix(
        values, 3, "both", "mean weight", residual, dataclasses.replace(TOKENS, grid=grid)
    )


GRID = TokenGrid(8, 4, 4, "front")


def make_attribution(scale=1.0, grid=GRID, batch=1, tubelet=2):
    """A map whose values grow over the tokens, half of them negative, and a large class token."""
    values = scale * torch.linspace(-0.5, 1.0, grid.seqlen).repeat(batch, 1)
    values[:, 0] = 99.0
    return Attribution(
        values, "made", {}, torch.zeros(batch), torch.ones(batch), None, None, Cost(),
        TokenLabels(grid, tubelet),
    )  # fmt: skip


FRAMES = TokenLabels(TokenGrid(4, 1, 2), 2)


WINDOW = (2, 5)  # clip frames: all of token frames 1 and 2


def curve(kind="prefix", removal="dropped"):
    values = torch.tensor([[0.0, 1.0, 6.0, 8.0], [0.0, 0.0, 0.0, 0.0]])
    return EvidenceCurve(values if kind == "prefix" else values.flip(1), kind, removal, FRAMES)


def parts(error=0.0):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 4, 2, 9, generator=generator)
    offset, embedding = torch.ones(2, 4, 2), torch.full((2, 9), 0.5)
    logit = tokens.sum((1, 2, 3)) + offset.sum((1, 2)) + embedding.sum(1) + 0.25
    steps = {"forward": torch.arange(9), "backward": torch.arange(9).flip(0)}
    bias = torch.full((2,), 0.25)
    logit = logit + error * logit.abs().clamp_min(1)
    return LogitParts(tokens, offset, embedding, bias, logit, steps, FRAMES)


def make_faithfulness(height):
    """Two clips; the curves are straight, from `height` (clip 0) or twice that (clip 1) to 0."""
    fractions = torch.tensor([[0.0, 0.5, 1.0]] * 2)
    down = height * torch.tensor([[2.0, 1.0, 0.0], [4.0, 2.0, 0.0]])
    curves = [
        RemovalCurve(kind, "morf", "tubelets", "blur", fractions, values, values / 10)
        for kind, values in (("deletion", down), ("insertion", down.flip(1)))
    ]
    return Faithfulness(*curves)


def made_lives(values, clip=100, frame=10):
    """Return half-lives (direction, channel, state) from one list for each direction."""
    array = np.array(values, float)[:, :, None]
    coords = {"direction": ["forward", "backward"][: len(values)]}
    return xr.DataArray(
        array, coords, ("direction", "channel", "state"), attrs={"clip": clip, "frame": frame}
    )


def make_conservation(logit=10.0, rules_off=()):
    entries = {"tokens": 6.0, "class token": 1.0, "head.bias": -0.5, "layers.0.x": 3.0, "b": 0.5}
    return Conservation(
        {name: torch.tensor([0.0, value]) for name, value in entries.items()},
        torch.tensor([0.0, logit]), torch.tensor([1.0, 11.0]), torch.zeros(2, 2), rules_off,
    )  # fmt: skip


def make_flow(cls=True):
    frames = torch.arange(16, dtype=torch.float32).view(1, 2, 2, 4)
    return RelevanceFlow(
        frames, torch.full((1, 2, 2), -5.0) if cls else None, frames * 10, frames,
        {"forward": (0, 1, 2, 3), "backward": (3, 2, 1, 0)}, make_conservation(),
        TokenLabels(TokenGrid(4, 1, 1, "front" if cls else None), 2),
    )  # fmt: skip


def made_timeline(count, layers=2, frames=0, failed=(), classes=3, **fields):
    """A timeline of windows of a second each; some have failed."""
    generator = np.random.default_rng(0)
    table = {
        "window": np.arange(count), "frame": np.arange(count) * 16,
        "start": np.arange(count, dtype=float), "end": np.arange(count) + 1.0, "repeated": 0,
        "reason": "", "name": "class 0", "margin": generator.normal(size=count),
    }  # fmt: skip
    for rank in (1, 2):
        table[f"class_{rank}"] = generator.integers(0, classes, count).astype(float)
        table[f"probability_{rank}"] = generator.random(count) / rank
    for layer in range(layers):
        for direction in ("forward", "backward"):
            table[f"delta_{layer}_{direction}"] = generator.gamma(2, 0.1, count)
    for frame in range(frames):
        table[f"evidence_{frame}"] = generator.normal(size=count)
    found = pd.DataFrame(table)
    found["class_1"] = found["class_1"].where(found["class_2"] != found["class_1"], classes)
    values = [name for name in found.columns if "_" in name or name == "margin"]
    found.loc[list(failed), values] = np.nan
    found.loc[list(failed), "reason"] = "damaged <b>here</b>"
    found.loc[list(failed), "name"] = ""
    return Timeline(found, "/a/<i>video.mp4", float(count), {"class_names": None}, **fields)


def made_camera_timeline(count, cuts=(2.25, 6.5), failed=()):
    """A timeline of a model that names the camera's motion, with what was measured beside it."""
    found = made_timeline(count, failed=failed, classes=4)
    generator = np.random.default_rng(1)
    names = np.array(["static", "pan right", "zoom in", "cut", "roll clockwise"])
    known = ~found.failed
    table = found.table
    table["name"] = np.where(known, names[table["class_1"].fillna(0).astype(int)], "")
    table["camera"] = np.where(known, generator.choice([*names, "mixed", ""], count), "")
    for component in ("pan", "tilt", "zoom", "roll"):
        table[f"camera_{component}"] = generator.normal(0, 0.1, count)
    table["inliers"] = table["measured"] = np.where(known, 0.9, np.nan)
    told = [[f"{cut:.3f}" for cut in cuts if row <= cut < row + 1] for row in range(count)]
    table["cuts"] = [" ".join(each) for each in told]
    return Timeline(table, found.path, found.seconds, {"class_names": list(names)})


def named(figure, name):
    """Return the traces of a name."""
    return [trace for trace in figure.data if trace.name == name]


def of_type(figure, kind):
    """Return the traces of a plotly type."""
    return [trace for trace in figure.data if trace.type == kind]


def made_statistics(layers=6, half_lives=True):
    """Statistics of the states of a few channels, forward larger than backward."""
    rng = np.random.default_rng(0)
    coords = {"layer": range(layers), "direction": ["forward", "backward"]}
    dims = ("layer", "direction", "channel", "state")
    values = rng.lognormal(size=(layers, 2, 20, 4)) * np.array([3, 1]).reshape(2, 1, 1)
    found = xr.Dataset({"deviation": (dims, values)}, coords)
    found["sparsity"] = (dims, rng.random(values.shape))
    found["sparsity"][0, 0, 0, 0] = np.nan
    found["participation_ratio"] = (dims[:2], 1 + np.arange(2.0 * layers).reshape(layers, 2))
    found["ceiling"] = 79
    if half_lives:
        found["half_life"] = (dims, 10 * values)
    return found.assign_attrs(quantity="h_boundaries", clips=2000)
