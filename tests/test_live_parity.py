"""Given the same pixels, the page says what Python says: bundled clips, random inputs, changes.

On clips that a model is not about, the truth is the model in double precision: in single precision
Python's own rounding is the larger part of a difference (camera-nano on a turning disc: 1e-4).
"""

import copy
import shutil

import numpy as np
import pytest
import torch

from tests.vmamba_explore.view.live.changed import block_of, changes_of
from tests.vmamba_explore.view.live.engine import Engine
from tests.vmamba_explore.view.live.models import apart, tensor_of
from vmamba_explore import resources
from vmamba_explore.app.portable import portable
from vmamba_explore.clips.clip import Clip
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.model.bundled import BUNDLED, SHAPE, model_for
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.trace.record import run_with_trace

CLIPS = sorted(resources.path("clips").glob("*.mp4"))
TOLERANCE = 1e-4
CHANNELS = list(range(0, 128, 8))  # whose states are compared; one function makes them all
EDITED = ("motion-nano", "recall-nano-forward", "camera-nano")


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    num_frames, img_size = SHAPE
    return {path.stem: load_clip(path, num_frames=num_frames, img_size=img_size) for path in CLIPS}


def random_frames(count: int) -> np.ndarray:
    """Noise of every coarseness in space and time, brightness and contrast; black and white too."""
    generator, (num_frames, size) = np.random.default_rng(0), SHAPE
    made = []
    for _ in range(count):
        side, steps = generator.choice([1, 2, 4, 8, 16, 64], 2)
        steps = min(steps, num_frames)
        coarse = generator.random((steps, side, side, 3))
        zoom = (num_frames // steps, size // side, size // side)
        noise = np.kron(coarse, np.ones((*zoom, 1)))
        low, high = np.sort(generator.integers(-100, 356, 2))
        made.append((low + (high - low) * noise).clip(0, 255).astype(np.uint8))
    return np.stack(made)


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_clip_gets_the_same_logits_step_sizes_and_states(name, clips):
    assert len(clips) == 14
    model = load_model(name)
    exact = copy.deepcopy(model).double()
    seqlen, d_inner = model.grid.seqlen, model.config.d_inner
    with Engine(portable(model), compiled=True) as engine, torch.no_grad():
        for clip in clips.values():
            run = engine.run(clip.frames)
            got = engine.get(run, "logits")
            if not name.startswith(model_for(clip)):
                want = exact(tensor_of(clip.frames).double())[0].numpy()
                assert np.abs(got - want).max() < TOLERANCE
                continue
            logits, trace = run_with_trace(model, clip, ["*hook_delta", "*hook_h"])
            assert np.abs(got - logits[0].numpy()).max() < TOLERANCE
            for layer in range(model.config.depth):
                scans = engine.get(engine.layer(run, layer, keep=True), "scans", keep=True)
                for direction in model.config.directions:
                    of = f"layers.{layer}.mixer.ssm_{direction}.hook_"
                    scan = engine.get(scans, direction, keep=True)
                    delta = engine.get(scan, "delta").reshape(seqlen, d_inner)
                    assert apart(delta, trace[of + "delta"][0].T) < TOLERANCE
                    states = engine.method(engine.network, "states", scan, CHANNELS)
                    want = trace[of + "h"][0, CHANNELS].permute(2, 0, 1)
                    assert apart(states, want) < TOLERANCE


def test_two_hundred_random_inputs_get_the_same_logits():
    model, frames = load_model("motion-nano"), random_frames(200)
    with torch.no_grad():
        want = torch.cat([model(tensor_of(each)) for each in frames]).numpy()
    assert np.unique(want.argmax(1)).size > 3, "the inputs are all alike to the model"
    with Engine(portable(model), compiled=True) as engine:
        got = np.stack([engine.logits(each) for each in frames])
    assert np.abs(got - want).max() < TOLERANCE


@pytest.mark.parametrize("name", EDITED)
def test_every_change_of_a_bundled_model_gives_the_same_logits_and_step_sizes(name, clips):
    model = load_model(name)
    clip = next(clip for clip in clips.values() if name.startswith(model_for(clip)))
    last = model.config.depth - 1
    with Engine(portable(model), compiled=True) as engine, torch.no_grad():
        past = engine.past(clip.frames[::-1])
        for what, changes in changes_of(model).items():
            run = engine.run(clip.frames, changes, past)
            with block_of(model, changes, clip.frames):
                want = model(tensor_of(clip.frames))[0].numpy()
                whole = model.kept_tokens is None
                trace = run_with_trace(model, clip, "*hook_delta")[1] if whole else None
            assert np.abs(engine.get(run, "logits") - want).max() < TOLERANCE, what
            if trace is None:
                continue
            for direction, scan in engine.layer(run, last)["scans"].items():
                delta = trace[f"layers.{last}.mixer.ssm_{direction}.hook_delta"][0].T
                assert apart(scan["delta"], delta) < TOLERANCE, what
