"""Changes of a model do in JavaScript what they do in Python."""

import shutil

import numpy as np
import pytest
import torch

from tests.vmamba_explore.view.live.changed import block_of, changes_of
from tests.vmamba_explore.view.live.engine import Engine, JavaScriptError
from tests.vmamba_explore.view.live.models import VARIANTS, apart, frames_of, model_of, tensor_of
from vmamba_explore.app.portable import portable
from vmamba_explore.trace.record import run_with_trace

EDITED = (
    "front", "middle", "mean pooling", "directions averaged", "forward only", "spatial", "temporal",
    "tables of space and time", "long tubelets", "odd sizes",
)  # fmt: skip


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


@pytest.mark.parametrize("compiled", [False, True], ids=["JavaScript", "WebAssembly"])
@pytest.mark.parametrize("variant", EDITED)
def test_every_change_gives_the_logits_and_states_that_it_gives_in_python(variant, compiled):
    model = model_of(**VARIANTS[variant])
    frames = frames_of(model)
    layer = model.config.depth - 1
    with Engine(portable(model), compiled) as engine, torch.no_grad():
        past = engine.past(frames[::-1])
        plain = engine.logits(frames)
        for name, changes in changes_of(model).items():
            run = engine.run(frames, changes, past)
            with block_of(model, changes, frames):
                want = model(tensor_of(frames))[0].numpy()
                dropped = model.kept_tokens is not None
                trace = None if dropped else run_with_trace(model, tensor_of(frames))[1]
            got = engine.get(run, "logits")
            effect = np.abs(want - plain).max()
            assert np.abs(got - want).max() < min(1e-4, effect / 100), name
            if trace is None:
                continue
            made = engine.layer(run, layer)
            assert apart(made["out"], trace[f"layers.{layer}.mixer.hook_out"][0]) < 1e-4, name
            for direction, scan in made["scans"].items():
                of = f"layers.{layer}.mixer.ssm_{direction}.hook_"
                assert apart(scan["delta"], trace[of + "delta"][0].T) < 1e-4, name
                assert apart(scan["y"], trace[of + "y"][0].T) < 1e-4, name
                states = engine.method(engine.network, "states", scan)
                assert apart(states, trace[of + "h"][0].permute(2, 0, 1)) < 1e-4, name


def test_states_of_some_channels_are_those_of_all_also_where_states_are_handed_over():
    model = model_of()
    frames = frames_of(model)
    with Engine(portable(model)) as engine:
        changes = [{"kind": "swap", "frame": 1}]
        run = engine.run(frames, changes, engine.past(frames[::-1]))
        layer = engine.layer(run, 1)
        for scan in layer["scans"].values():
            size = (model.grid.seqlen, model.config.d_inner, model.config.d_state)
            every = engine.method(engine.network, "states", scan).reshape(size)
            some = engine.method(engine.network, "states", scan, [5, 0, 33])
            assert np.array_equal(some.reshape(size[0], 3, size[2]), every[:, [5, 0, 33]])


def test_the_past_of_a_clip_is_its_states_at_the_boundaries():
    model = model_of(num_frames=8, backward_order="temporal")
    frames = frames_of(model)
    with Engine(portable(model)) as engine:
        past, network = engine.past(frames), engine.network
        layer = engine.layer(engine.run(frames), 1)
        for direction, scan in layer["scans"].items():
            states = engine.method(network, "states", scan).reshape(model.grid.seqlen, -1)
            frame_of = model.grid.frame_of_tokens()[scan["order"]]
            for frame in (1, 2, 3):
                near = frame_of < frame if direction == "forward" else frame_of >= frame
                last = scan["order"][int(near.nonzero().max())]
                handed = engine.method(past, "state", 1, direction, frame)
                assert np.array_equal(handed, states[last]), (direction, frame)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "reset", "frame": 0},
        {"kind": "swap", "frame": 2},
        {"kind": "mute", "layer": 2},
        {"kind": "mute", "direction": "forward", "layer": -1},
        {"kind": "mute", "direction": "sideways"},
        {"kind": "mute"},
        {"kind": "freeze", "frame": 2},
        {"kind": "freeze", "patches": []},
        {"kind": "cut", "sources": [0], "targets": [9]},
        {"kind": "drop", "tokens": [9]},
        {"kind": "drop", "tokens": [0]},
        {"kind": "drop", "tokens": [1, 2, 3, 4, 5, 6, 7, 8, 0]},
    ],
    ids=str,
)
def test_a_change_that_the_model_does_not_allow_is_refused_in_both(change):
    model = model_of()
    with Engine(portable(model)) as engine:
        frames = frames_of(model)
        past = engine.past(frames)
        with pytest.raises(JavaScriptError, match=r"\w[.;,]"):
            engine.run(frames, [change], past)
    with pytest.raises(ValueError), torch.no_grad(), block_of(model, [change], frames):
        model(tensor_of(frames))


def test_cuts_and_replaced_states_in_one_scan_are_refused_in_both():
    model = model_of()
    changes = [
        {"kind": "reset", "frame": 1},
        {"kind": "cut", "sources": [1], "targets": [2]},
    ]
    frames = frames_of(model)
    with Engine(portable(model)) as engine, pytest.raises(JavaScriptError, match="Do one of the"):
        engine.run(frames, changes)
    with pytest.raises(ValueError, match="Do one of the"), block_of(model, changes, frames):
        model(tensor_of(frames))
