"""Clips and maps to draw, a model that was never trained, and a browser without a network."""

import numpy as np
import pytest
import torch
import xarray as xr

from vmamba_explore.clips import Clip
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba


@pytest.fixture
def clip():
    """Return 16 frames of a bright disc that crosses a dark picture; its name holds HTML."""
    row, col = np.mgrid[:32, :32]
    frames = np.full((16, 32, 32, 3), 40, np.uint8)
    for t, frame in enumerate(frames):
        frame[(row - 16) ** 2 + (col - 2 * t) ** 2 < 25] = (250, 240, 80)
    numbers = np.arange(16)
    return Clip(frames, numbers / 8, "<img src=x onerror=alert(1)>.mp4", numbers)


@pytest.fixture
def grid_map():
    """Return a function that makes random maps over 8 token frames of 4 x 4 tokens."""

    def make(signed=False, layers=3, seed=0):
        generator = np.random.default_rng(seed)
        values = generator.gamma(2, 0.1, (layers, 2, 8, 4, 4))
        return xr.DataArray(
            (values - 0.5 * values.max() if signed else values).astype(np.float32),
            {
                "layer": np.arange(layers),
                "direction": ["forward", "backward"],
                "frame": np.arange(8),
                "clip_frame": ("frame", np.arange(8) * 2),
                "seconds": ("frame", np.arange(8) / 4),
            },
            ("layer", "direction", "frame", "row", "col"),
            name="delta",
        )

    return make


@pytest.fixture
def untrained_model():
    """Return a small VideoMamba with random weights, whose class names hold HTML."""
    torch.manual_seed(0)
    config = VideoMambaConfig(
        num_frames=8, img_size=32, patch_size=8, tubelet_size=2, num_classes=3, d_model=16, depth=2
    )
    model = VideoMamba(config).eval()
    model.class_names = ("right", "left", "<b>bold</b>")
    return model


@pytest.fixture
def open_offline(browser):
    """Return a function that opens a file without a network; the page keeps errors, requests."""
    contexts = []

    def open_file(path, color_scheme="light"):
        contexts.append(browser.new_context(color_scheme=color_scheme, offline=True))
        page = contexts[-1].new_page()
        page.errors, page.requests = [], []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture
def score_summary():
    """Return a small score card as `make scorecard` writes it: two methods, two controls."""

    def around(value):
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 4}

    def entry(value, beats=None):
        places = {"average_precision": around(value), "share": around(value / 2)}
        found = {
            "cost": {"forward": 3.0, "backward": 1.0, "seconds": 0.25},
            "truth": {"positive": places},
            "by_class": {"right": places, "left": {k: around(value / 3) for k in places}},
            "removal": {
                name: {**around(value), "beats_random": value > 0.5}
                for name in ("deletion", "insertion", "lerf_minus_morf", "temporal_deletion")
            }
            | {"infidelity": around(value)},
            "sanity": {"twin_spearman": around(value / 4), "passes": value > 0.5},
            "shortcut": {
                "area": 0.02,
                "moves": value > 0.5,
                "planted": {"share": around(value)},
                "clean": {"share": around(0.02)},
            },
        }
        if beats is not None:
            found["beats"] = {name: {"all": beats} for name in places}
        return found

    methods = {
        "low<b>": entry(0.3, beats=False),
        "high": entry(0.8, beats=True),
        "random": entry(0.2),
        "frame_difference": entry(0.6),
    }
    return {
        "plan": {"clips": 4, "faithful": 4, "planted": 4, "sane": 4, "seed": 5},
        "scores": {"average_precision": "area under curve", "share": "share inside"},
        "controls": ["random", "frame_difference"],
        "methods": methods,
        "chance": {
            name: around(0.4) for name in methods["high"]["removal"] if name != "infidelity"
        },
        "agreement": {"methods": list(methods), "spearman": np.eye(4).tolist()},
    }


@pytest.fixture
def parts_summary(score_summary):
    """Return a small score card with measures of two parts, and without a planted model."""

    def around(value):
        return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 4}

    kinds = {"share of the map on it": False, "share of what moves": True}
    keys = [(f"{part}: {kind}", part, kind) for kind in kinds for part in ("sample", "test")]
    score_summary["model"] = "recall-nano"
    score_summary["planted"] = None
    score_summary["measures"] = {
        key: {"kind": kind, "part": part, "chance": around(0.1), "low_is_good": kinds[kind]}
        for key, part, kind in keys
    }
    values = {"high": 0.7, "low<b>": 0.2, "random": 0.1, "frame_difference": 0.4}
    for name, entry in score_summary["methods"].items():
        del entry["shortcut"]
        entry["measures"] = {
            key: around(values[name] / (2 if part == "test" else 1))
            | {"beats_chance": values[name] > 0.3}
            | ({} if name in score_summary["controls"] else {"all": name == "high"})
            for key, part, _ in keys
        }
    return score_summary


@pytest.fixture(scope="session")
def video_folders(tmp_path_factory):
    """Return a folder with train/ and test/, each with bright and dark clips in class folders.

    A model trains on it in a second.
    """
    root = tmp_path_factory.mktemp("videos")
    generator = np.random.default_rng(0)
    for part, count in (("train", 7), ("test", 4)):
        for low, name in ((0, "dark"), (120, "bright")):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                frames = generator.integers(low, low + 130, (6, 32, 48, 3)).astype(np.uint8)
                write_clip(root / part / name / f"{number}.mp4", frames, fps=8)
    return root
