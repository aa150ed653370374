"""The numbers of "How it works" are those that the hooks of the Python model see."""

import shutil

import numpy as np
import pytest
import torch

from tests.vmamba_explore.view.live.changed import block_of
from tests.vmamba_explore.view.live.engine import Engine, JavaScriptError
from tests.vmamba_explore.view.live.models import VARIANTS, apart, frames_of, model_of, tensor_of
from vmamba_explore.analysis.logits import logit_parts
from vmamba_explore.app.portable import portable
from vmamba_explore.clips.decode import load_clip
from vmamba_explore.hooks import attached
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.resources import data_dir
from vmamba_explore.trace.record import run_with_trace

BUNDLED = {
    "motion-nano": ("right", [3, 4, 2]),
    "recall-nano": ("recall_red_blue", [5, 0, 7]),
    "camera-nano": ("camera_roll_clockwise", [3, 7, 7]),
}
KINDS = (
    "front", "middle", "directions averaged", "forward only", "spatial", "temporal",
    "temporal, class token", "tables of space and time", "odd sizes", "one state, one tap",
)  # fmt: skip


@pytest.fixture(autouse=True)
def node(require):
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")


def traced(model, frames):
    with torch.no_grad():
        return run_with_trace(model, tensor_of(frames), names_filter=["*"])


def asked(engine, run, frames, question):
    shown = {"network": engine.network, "run": run, "frames": frames, "target": [1, 0]}
    return engine.call("walk_numbers.js", "walkAnswer", shown, {"walk": "numbers", **question})


def scanned(engine, run, frames, question):
    shown = {"network": engine.network, "run": run, "frames": frames, "target": None}
    return engine.call("walk_numbers.js", "walkAnswer", shown, {"walk": "scan", **question})


def check_against_hooks(model, frames, found, trace, logits):
    """Every number of one answer, against the recording of the run it is about."""
    place, config = found["place"], model.config
    layer, direction, channel, n = (
        place[name] for name in ("layer", "direction", "channel", "state")
    )
    at = place["index"]
    order = (
        model.grid.backward_indices(config.backward_order).tolist()
        if direction == "backward"
        else list(range(model.grid.seqlen))
    )
    assert place["step"] == order.index(at) and place["steps"] == len(order)
    mixer = f"layers.{layer}.mixer"

    def seen(name, direction=direction):
        return trace[f"{mixer}.ssm_{direction}.hook_{name}"][0]

    pixels = found["pixels"]
    _, row, col = place["token"]
    size, tubelet = config.patch_size, pixels["clipFrames"]
    patch = frames[tubelet, row * size : (row + 1) * size, col * size : (col + 1) * size]
    assert np.array_equal(pixels["values"].reshape(patch.shape), patch)

    embedding = found["embedding"]
    video = at - (model.grid.cls_index is not None and at > model.grid.cls_index)
    with torch.no_grad():
        projected = model.patch_embed(tensor_of(frames))[0, video]
    assert apart(embedding["projected"], projected) < 1e-4
    assert apart(embedding["token"], trace["layers.0.hook_block_input"][0, at]) < 1e-4
    position = 0 if embedding["position"] is None else embedding["position"]
    assert apart(embedding["projected"] + position, embedding["token"]) < 1e-6

    norm = found["norm"]
    assert apart(norm["input"], trace[f"layers.{layer}.hook_block_input"][0, at]) < 1e-4
    weight = model.layers[layer].norm.weight.detach().numpy()
    assert apart(norm["input"] / norm["rms"] * weight, norm["normed"]) < 1e-5
    assert apart(norm["x"], trace[f"{mixer}.hook_x"][0, :, at]) < 1e-4
    assert apart(norm["z"], trace[f"{mixer}.hook_z"][0, :, at]) < 1e-4

    convolution = found["convolution"]
    taps = convolution["taps"]
    assert len(taps) == min(config.d_conv, place["step"] + 1)
    x = trace[f"{mixer}.hook_x"][0, channel]
    for tap in taps:
        token = order[tap["step"]]
        where = model.grid.position(token)
        assert tap["token"] == (None if where is None else list(where))
        assert abs(tap["x"] - float(x[token])) < 1e-4 * float(x.abs().max())
    total = convolution["bias"] + sum(tap["weight"] * tap["x"] for tap in taps)
    assert convolution["sum"] == pytest.approx(total, abs=1e-6)
    silu = total / (1 + np.exp(-total))
    assert convolution["u"] == pytest.approx(silu, abs=1e-5)
    assert apart(convolution["all"], seen("u")[:, at]) < 1e-4

    selection = found["selection"]
    assert apart(selection["all"], seen("delta")[:, at]) < 1e-4
    assert apart(selection["B"], seen("B")[:, at]) < 1e-4
    assert apart(selection["C"], seen("C")[:, at]) < 1e-4
    assert np.log1p(np.exp(selection["sum"])) == pytest.approx(selection["delta"], abs=1e-5)

    scan = found["scan"]
    h = seen("h")
    top = float(h[channel].abs().max())
    assert abs(scan["after"] - float(h[channel, n, at])) < 1e-4 * top
    if place["step"]:
        before = float(h[channel, n, order[place["step"] - 1]])
        assert abs(scan["before"] - before) < 1e-4 * top
    else:
        assert scan["before"] == 0
    assert scan["kept"] == pytest.approx(float(seen("A_bar")[channel, n, at]), rel=1e-4)
    assert abs(scan["kept"] * scan["before"] + scan["written"] - scan["after"]) < 1e-5 * top
    assert scan["written"] == pytest.approx(scan["delta"] * scan["B"] * scan["u"], abs=1e-6)

    readout = found["readout"]
    for name in config.directions:
        assert apart(readout["ys"][name], seen("y", name)[:, at]) < 1e-4
    span = float(seen("y").abs().max())
    assert abs(readout["made"] - readout["y"]) < 1e-5 * span
    gate = readout["z"] / (1 + np.exp(-readout["z"]))
    ys = sum(readout["ys"][name][channel] for name in config.directions)
    assert readout["gated"] == pytest.approx(gate * ys * readout["scale"], abs=1e-5 * span)
    out = model.layers[layer].mixer.out_proj.weight.detach().numpy() @ readout["all"]
    assert apart(readout["out"], out) < 1e-5
    assert apart(readout["out"], trace[f"{mixer}.hook_out"][0, at]) < 1e-4
    assert apart(readout["input"] + readout["out"], readout["output"]) < 1e-6

    assert np.abs(found["logits"]["logits"] - logits[0].numpy()).max() < 1e-4
    assert np.abs(found["logits"]["shares"] - logits[0].softmax(0).numpy()).max() < 1e-4


def check_parts(found, parts):
    """What the token adds to the logit, against the exact sum of `logit_parts`."""
    place = found["place"]
    for number, direction in enumerate(parts.directions):
        want = parts.tokens[0, place["layer"], number]
        got = found["logits"]["parts"][direction]
        assert abs(got - float(want[place["index"]])) < 1e-4 * float(want.abs().max())


@pytest.mark.parametrize("compiled", [False, True], ids=["JavaScript", "WebAssembly"])
@pytest.mark.parametrize("name", BUNDLED)
def test_every_number_of_a_bundled_model_is_what_the_hooks_see(name, compiled):
    model = load_model(name).eval()
    config, (clip, patch) = model.config, BUNDLED[name]
    path = data_dir() / "clips" / f"{clip}.mp4"
    frames = load_clip(path, num_frames=config.num_frames, img_size=config.img_size).frames
    logits, trace = traced(model, frames)
    with torch.no_grad():
        parts = logit_parts(trace, 1, 0, progress=False)
    with Engine(portable(model), compiled=compiled) as engine:
        run = engine.run(frames)
        for layer in (0, 3, config.depth - 1):
            for direction in config.directions:
                for token in (patch, [0, 0, 0], [model.grid.frames - 1, 7, 7]):
                    question = {"layer": layer, "direction": direction, "token": token}
                    found = asked(engine, run, frames, {**question, "channel": 5, "state": 3})
                    check_against_hooks(model, frames, found, trace, logits)
                    check_parts(found, parts)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_every_kind_of_model_is_what_the_hooks_see(kind):
    model = model_of(**VARIANTS[kind])
    frames = frames_of(model)
    logits, trace = traced(model, frames)
    with torch.no_grad():
        parts = logit_parts(trace, 1, 0, progress=False)
    with Engine(portable(model)) as engine:
        run = engine.run(frames)
        for direction in model.config.directions:
            for token in ([0, 0, 0], [model.grid.frames - 1, 1, 0]):
                question = {"layer": 1, "direction": direction, "token": token}
                found = asked(engine, run, frames, {**question, "channel": None, "state": None})
                check_against_hooks(model, frames, found, trace, logits)
                check_parts(found, parts)


def test_without_a_chosen_state_it_is_the_one_from_which_most_is_read():
    model = model_of()
    frames = frames_of(model)
    _, trace = traced(model, frames)
    with Engine(portable(model)) as engine:
        question = {
            "layer": 1,
            "direction": "backward",
            "token": [1, 0, 1],
            "channel": None,
            "state": None,
        }
        found = asked(engine, engine.run(frames), frames, question)
    of = "layers.1.mixer.ssm_backward.hook_"
    at, place = found["place"]["index"], found["place"]
    read = (trace[of + "h"][0, ..., at] * trace[of + "C"][0, :, at]).numpy()
    assert place["channel"] == np.abs(read.sum(1)).argmax()
    assert place["state"] == np.abs(read[place["channel"]]).argmax()


@pytest.mark.parametrize(
    "changes",
    [
        [{"kind": "reset", "frame": 1}],
        [{"kind": "freeze", "patches": [[1, 1, 0]]}],
        [{"kind": "drop", "tokens": [1, 2, 6]}],
    ],
    ids=["reset", "freeze", "drop"],
)
def test_the_numbers_of_a_changed_run_are_those_of_the_changed_model(changes):
    model = model_of()
    frames = frames_of(model)
    names = [f"layers.1.mixer.ssm_{direction}.hook_h" for direction in model.config.directions]
    seen = {}

    def keep(value, hook):
        seen[hook.name] = value[0].clone()
        return value

    with block_of(model, changes, frames), attached(model, [(name, keep) for name in names]):
        with torch.no_grad():
            logits = model(tensor_of(frames))
    kept = [t for t in range(model.grid.seqlen) if t not in changes[0].get("tokens", [])]
    with Engine(portable(model)) as engine:
        run = engine.run(frames, changes)
        for name, direction in zip(names, model.config.directions, strict=True):
            question = {"layer": 1, "direction": direction, "token": [1, 1, 0]}
            found = asked(engine, run, frames, {**question, "channel": 2, "state": 1})
            at = kept.index(found["place"]["index"])
            h, scan = seen[name][2, 1], found["scan"]
            assert found["place"]["steps"] == len(kept) == len(h)
            assert abs(scan["after"] - float(h[at])) < 1e-4 * float(h.abs().max())
            assert abs(scan["kept"] * scan["before"] + scan["written"] - scan["after"]) < 1e-6
            assert found["readout"]["made"] == pytest.approx(found["readout"]["y"], abs=1e-5)
            assert np.abs(found["logits"]["logits"] - logits[0].numpy()).max() < 1e-4


def test_after_a_reset_the_scan_starts_from_nothing_and_nothing_gets_past_it():
    model = model_of(backward_order=None, cls_position=None)
    frames = frames_of(model)
    first_of_frame_1 = {"layer": 0, "direction": "forward", "token": [1, 0, 0]}
    everything = {"layer": 0, "direction": "forward", "channels": "all"}
    with Engine(portable(model)) as engine:
        run = engine.run(frames, [{"kind": "reset", "frame": 1}])
        question = {**first_of_frame_1, "channel": 0, "state": 0}
        scan = asked(engine, run, frames, question)["scan"]
        assert scan["before"] == 0 and scan["handed"] and scan["after"] != 0
        assert scan["after"] == pytest.approx(scan["written"], rel=1e-6)
        whole = scanned(engine, run, frames, everything)
        assert [each["step"] for each in whole["handed"]] == [3]
        untouched = asked(engine, engine.run(frames), frames, question)["scan"]
        assert untouched["before"] != 0 and not untouched["handed"]


def test_a_muted_direction_adds_nothing_and_says_so():
    model = model_of()
    frames = frames_of(model)
    with Engine(portable(model)) as engine:
        run = engine.run(frames, [{"kind": "mute", "direction": "forward"}])
        question = {
            "layer": 1,
            "direction": "forward",
            "token": [0, 1, 1],
            "channel": 0,
            "state": 0,
        }
        found = asked(engine, run, frames, question)
    assert found["readout"]["edited"] and found["readout"]["y"] == 0
    assert found["logits"]["parts"]["forward"] == 0 and found["logits"]["parts"]["backward"] != 0


def test_a_dropped_patch_is_refused_in_a_sentence():
    model = model_of(cls_position=None)
    frames = frames_of(model)
    with Engine(portable(model)) as engine:
        run = engine.run(frames, [{"kind": "drop", "tokens": [2]}])
        question = {
            "layer": 0,
            "direction": "forward",
            "token": [0, 1, 0],
            "channel": 0,
            "state": 0,
        }
        with pytest.raises(
            JavaScriptError, match=r"^.*This patch was dropped .*choose another one\."
        ):
            asked(engine, run, frames, question)


@pytest.mark.parametrize("channels", ["all", "strongest", [7, 2]], ids=str)
def test_a_scan_that_is_read_token_by_token_steps_from_state_to_state(channels):
    model = model_of(backward_order="spatial")
    frames = frames_of(model)
    _, trace = traced(model, frames)
    with Engine(portable(model)) as engine:
        run = engine.run(frames)
        for direction in model.config.directions:
            question = {"layer": 1, "direction": direction, "channels": channels}
            found = scanned(engine, run, frames, question)
            chosen, states = found["channels"], found["states"]
            tokens = len(found["order"])
            h = found["h"].reshape(tokens, len(chosen), states)
            of = f"layers.1.mixer.ssm_{direction}.hook_"
            assert apart(h, trace[of + "h"][0, chosen].permute(2, 0, 1)) < 1e-4
            assert np.array_equal(found["natural"], found["order"])
            delta, u = (found[name].reshape(tokens, -1) for name in ("delta", "u"))
            A, B = found["A"].reshape(-1, states), found["B"].reshape(tokens, states)
            before, writes = np.zeros_like(h[0]), []
            for token in found["order"]:
                kept = np.exp(delta[token, :, None] * A)
                assert apart(kept, trace[of + "A_bar"][0, chosen, :, token]) < 1e-4
                written = (delta[token] * u[token])[:, None] * B[token]
                assert np.abs(kept * before + written - h[token]).max() < 1e-5 * np.abs(h).max()
                before = h[token]
                writes.append(np.abs(written))
            for name, values in (("h", np.abs(h)), ("written", np.stack(writes))):
                share = (values <= found["reach"][name] * (1 + 1e-5)).mean()
                assert 0.955 < share < 0.985  # 97 %
            read = np.einsum("tcn,tn->tc", h, found["C"].reshape(tokens, states))
            assert apart(read + found["D"] * u, found["y"].reshape(tokens, -1)) < 1e-5
    if channels == "strongest":
        y, u = (trace[of + name][0].numpy() for name in ("y", "u"))
        D = model.layers[1].mixer.ssm_backward.D.detach().numpy()
        strength = np.abs(y - D[:, None] * u).sum(1)
        assert chosen == np.argsort(-strength)[: len(chosen)].tolist() and len(chosen) <= 16
