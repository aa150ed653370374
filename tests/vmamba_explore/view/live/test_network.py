"""The model in JavaScript gives what the model in Python gives."""

import shutil

import numpy as np
import pytest
import torch

from tests.vmamba_explore.view.live.engine import Engine
from tests.vmamba_explore.view.live.models import VARIANTS, apart, frames_of, model_of, tensor_of
from vmamba_explore.app.portable import portable
from vmamba_explore.trace.record import run_with_trace

QUANTITIES = ("u", "delta", "B", "C", "y")


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


@pytest.mark.parametrize("compiled", [False, True], ids=["JavaScript", "WebAssembly"])
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_kind_of_model_gives_the_logits_and_all_that_a_layer_computes(changes, compiled):
    model = model_of(**changes)
    frames = frames_of(model)
    with torch.no_grad():
        logits, trace = run_with_trace(model, tensor_of(frames))
    with Engine(portable(model), compiled) as engine:
        run = engine.run(frames)
        assert np.abs(engine.get(run, "logits") - logits[0].numpy()).max() < 1e-4
        for index in range(model.config.depth):
            layer = engine.layer(run, index)
            mixer = f"layers.{index}.mixer"
            assert apart(layer["x"], trace[f"{mixer}.hook_x"][0].T) < 1e-4
            assert apart(layer["z"], trace[f"{mixer}.hook_z"][0].T) < 1e-4
            assert apart(layer["out"], trace[f"{mixer}.hook_out"][0]) < 1e-4
            assert list(layer["scans"]) == list(model.config.directions)
            for direction, scan in layer["scans"].items():
                of = f"{mixer}.ssm_{direction}.hook_"
                for name in QUANTITIES:
                    assert apart(scan[name], trace[of + name][0].T) < 1e-4, name
                states = engine.method(engine.network, "states", scan)
                assert apart(states, trace[of + "h"][0].permute(2, 0, 1)) < 1e-4
