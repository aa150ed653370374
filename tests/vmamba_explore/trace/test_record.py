"""Runs: what is recorded, what an edit changes, and a layer run again from its input."""

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from tests.vmamba_explore.toys import KINDS, enliven, record, toy
from vmamba_explore.clips.clip import Clip
from vmamba_explore.hooks import attached, hook_names, hook_points
from vmamba_explore.interventions import ablate, mute
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import (
    TraceBudgetError,
    replay_layer,
    run_with_hooks,
    run_with_trace,
    trace_size,
)


def clips(batch=2):
    return torch.randn(batch, 3, 4, 32, 32, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("changes", KINDS)
def test_recording_everything_changes_no_logit_bitwise(changes):
    model = toy(**changes)
    with torch.no_grad():
        logits, trace = run_with_trace(model, clips(), names_filter=lambda name: True)
        assert torch.equal(logits, model(clips()))
    assert trace.names == hook_names(model)


def test_an_edit_at_any_editable_hook_changes_the_logits():
    model = toy()
    with torch.no_grad():
        plain = model(clips())
        for name, point in hook_points(model).items():
            if point.read_only:
                continue
            edited = run_with_hooks(model, clips(), [(name, lambda v, p: v * 1.5 + 0.1)])
            assert not torch.equal(edited, plain), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("changes", KINDS)
def test_the_dry_run_equals_what_is_recorded_and_kept_alive(changes, dtype):
    model = toy(**changes).to(dtype)
    trace = record(model, lambda name: True, batch=3)
    size = trace_size(model, clips(3), names_filter=lambda name: True)
    assert size.total == trace.nbytes
    assert {n: v.nbytes for n, v in trace.items()} == size.bytes_by_name
    alive = {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in trace.values()}
    assert sum(alive.values()) <= size.total


def test_all_states_of_kaist_small_are_sized_without_building_weights():
    config = VideoMambaConfig.preset("kaist_small")
    with torch.device("meta"):
        model = VideoMamba(config)
    size = trace_size(model, torch.empty(1, 3, 16, 224, 224, device="meta"), "*.hook_h")
    assert size.total == config.state_bytes()
    assert "hook_h at 48 places 3.45" in str(size)


def test_over_budget_is_refused_before_anything_runs():
    model = toy()
    model.encode = None  # would be called
    with pytest.raises(TraceBudgetError, match=r"hook_h.*the budget is 0.00 GiB.*budget_gib=1"):
        run_with_trace(model, clips(), "*.hook_h", budget_gib=1e-6)


def test_filters_are_names_patterns_lists_functions_and_none():
    model = toy()
    name = "layers.1.mixer.ssm_backward.hook_delta"
    for names_filter in (name, [name], lambda n: n == name, "layers.1.*backward.hook_delta"):
        assert run_with_trace(model, clips(), names_filter)[1].names == [name]
    everything = run_with_trace(model, clips())[1].names
    on_demand = ("A_bar", "write", "h_boundaries", "h_over_states", "h_over_channels")
    assert set(hook_names(model)) - set(everything) == {
        f"layers.{n}.mixer.ssm_{d}.hook_{hook}"
        for n in (0, 1)
        for d in ("forward", "backward")
        for hook in on_demand
    }


NEAREST = "^No hook named .* Closest: 'layers.{}'"


@pytest.mark.parametrize(
    ("names_filter", "message"),
    [
        ("layers.1.mixer.hook_h", NEAREST.format("1.mixer.ssm_forward.hook_h")),
        (
            "layers.0.mixer.ssm_backward.hook_dt",
            NEAREST.format("0.mixer.ssm_backward.hook_delta"),
        ),
        (["*.hook_y", "layers.7.hook_block_input"], NEAREST.format("0.hook_block_input")),
        (lambda name: False, "chooses none of the 52 hook points"),
        ([], "chooses none of the 52 hook points"),
    ],
)
@pytest.mark.parametrize("call", [run_with_trace, trace_size])
def test_a_name_that_matches_nothing_is_an_error_with_the_nearest_name(call, names_filter, message):
    with pytest.raises(KeyError, match=message):
        call(toy(), clips(), names_filter)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("clip.mp4", TypeError, r"clips is str.*load_clip\(path\)"),
        (np.zeros((1, 3, 4, 32, 32)), TypeError, "clips is ndarray"),
        ([], ValueError, "empty list"),
        (torch.zeros(3, 4, 32, 32), ValueError, "clips has 4 axes"),
        (torch.zeros(1, 3, 8, 32, 32), ValueError, "num_frames 8"),
    ],
)
@pytest.mark.parametrize("call", [run_with_trace, trace_size, run_with_hooks])
def test_what_is_no_clip_is_refused_before_the_budget(call, wrong, error, message, unchecked):
    extra = ([],) if call is run_with_hooks else ()
    with pytest.raises(error, match=message):
        call(toy(), wrong, *extra)


def test_a_float64_model_computes_in_float64():
    model = toy().double()
    x = clips(1).double()
    with torch.no_grad():
        moved = x.clone()
        moved[0, 0, 1, 5, 5] += 1e-9
        step = (model(moved) - model(x)) / 1e-9
    x.requires_grad_()
    (grad,) = torch.autograd.grad(model(x)[0, 2], x)
    assert abs(step[0, 2] - grad[0, 0, 1, 5, 5]) < 1e-4 * grad.abs().max()


def test_an_edit_of_one_clip_leaves_the_bits_of_the_others():
    model = toy()

    def wipe_first(h, point):
        h = h.clone()
        h[0, ..., 3] = 0
        return h

    with torch.no_grad():
        plain = model(clips())
        edited = run_with_hooks(model, clips(), [("layers.*.hook_h", wipe_first)])
    assert not torch.equal(edited[0], plain[0])
    assert torch.equal(edited[1], plain[1])


def test_gradients_are_kept_where_they_are_on_and_not_where_they_are_off():
    model = toy()
    logits, trace = run_with_trace(model, clips(), "layers.0.*hook_delta")
    delta = trace["layers.0.mixer.ssm_forward.hook_delta"]
    (grad,) = torch.autograd.grad(logits[:, 0].sum(), delta)
    assert grad.abs().max() > 0
    with torch.no_grad():
        _, trace = run_with_trace(model, clips(), "layers.0.*hook_delta")
    assert not trace["layers.0.mixer.ssm_forward.hook_delta"].requires_grad


def test_clips_may_be_a_tensor_a_clip_or_a_list():
    model = toy()
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    clip = Clip(frames, np.arange(4) / 8, "x.mp4", np.arange(4))
    with torch.no_grad():
        from_clip, trace = run_with_trace(model, clip, "*.hook_out")
        from_list, _ = run_with_trace(model, [clip, clip], "*.hook_out")
        from_tensor = model(clip.tensor().unsqueeze(0))
        edited = run_with_hooks(model, clip, [("*.hook_out", lambda v, p: v * 0)])
    assert torch.equal(from_clip, from_tensor)
    assert from_list.shape == (2, 5)
    assert edited.shape == (1, 5) and not torch.equal(edited, from_clip)
    assert trace.sel(quantity="out").seconds.values.tolist() == [0.0, 0.25]


def test_a_layer_replayed_from_its_input_gives_the_bits_of_the_run():
    model = toy()
    small, full = record(model, "*.hook_block_input"), record(model)
    with torch.no_grad():
        for layer in (0, 1):
            again = replay_layer(small, layer)
            assert all(torch.equal(value, full[name]) for name, value in again.items())
            assert f"layers.{layer}.mixer.ssm_backward.hook_h" in again


@pytest.mark.parametrize("layer", [0, 1])
def test_an_edited_run_cannot_be_replayed(layer):
    model = toy()
    names = ["*.hook_block_input", "layers.1.mixer.hook_out"]
    edit = attached(model, [(f"layers.{layer}.mixer.hook_z", lambda z, hook: z + 1)])
    with torch.no_grad():
        with edit:
            _, trace = run_with_trace(model, clips(), names)
        with pytest.raises(ValueError, match=f"layer {layer} gives something else than in the"):
            replay_layer(trace, layer)


def test_an_intact_run_cannot_be_replayed_while_the_model_is_edited():
    model = toy()
    trace = record(model, ["*.hook_block_input", "*.hook_out"])
    with torch.no_grad():
        with attached(model, [("layers.1.mixer.hook_z", lambda z, hook: z + 1)]):
            with pytest.raises(ValueError, match="leave `with` blocks that edit the model"):
                replay_layer(trace, 1)
        with (
            model.only_tokens(range(5)),
            pytest.raises(ValueError, match="tokens are being dropped"),
        ):
            replay_layer(trace, 1)


def test_what_a_replay_cannot_give_is_named(unchecked):
    trace = record(toy(), "*.hook_block_input")
    with pytest.raises(ValueError, match="There is no layer 2"):
        replay_layer(trace, 2)
    with pytest.raises(KeyError, match="chooses nothing in layer 1"):
        replay_layer(trace, 1, "layers.0.*")


def test_no_hook_survives_a_failing_run():
    model = toy()
    with pytest.raises(ValueError, match="num_frames"):
        run_with_hooks(model, torch.zeros(1, 3, 2, 32, 32), [("*.hook_y", lambda y, point: None)])
    assert not any(point.is_active for point in hook_points(model).values())


@torch.no_grad()
def test_a_compiled_model_is_recorded_and_edited_as_it_was_before(unchecked):
    model = toy()
    compiled = torch.compile(model, backend="eager")
    logits, trace = run_with_trace(compiled, clips())
    wanted, other = run_with_trace(model, clips())
    assert torch.equal(logits, wanted) and trace.names == other.names
    assert all(torch.equal(value, other[name]) for name, value in trace.items())
    assert trace.model is model
    hooks = [("layers.0.mixer.hook_x", lambda value, point: value * 0)]
    edited = run_with_hooks(compiled, clips(), hooks)
    assert torch.equal(edited, run_with_hooks(model, clips(), hooks))
    assert trace_size(compiled, clips()) == trace_size(model, clips())


@pytest.mark.parametrize("stop", [0, 1, -1, 2, -2])
@torch.no_grad()
def test_a_run_that_stops_at_a_layer_gives_what_enters_it_and_runs_no_more(stop):
    model = toy()
    _, full = run_with_trace(model, clips())
    last = model.encode(clips())
    entering = [full["layers.0.hook_block_input"], full["layers.1.hook_block_input"], last]
    wanted, count = entering[stop if stop >= 0 else stop + 2], stop % 2 if stop != 2 else 2
    for layer in model.layers[count:]:
        layer.forward = None  # would be called
    assert torch.equal(model.encode(clips(), stop), wanted)
    assert torch.equal(run_with_hooks(model, clips(), [], stop_at_layer=stop), wanted)
    if count:
        residual, trace = run_with_trace(model, clips(), "*.hook_y", stop_at_layer=stop)
        assert torch.equal(residual, wanted)
        assert trace.names == [n for n in hook_names(model, "*.hook_y") if int(n[7]) < count]
        assert set(run_with_trace(model, clips(), stop_at_layer=stop)[1].names) <= set(full.names)


@torch.no_grad()
def test_an_edit_before_the_stop_is_in_what_enters_the_layer():
    model, hooks = toy(), [("layers.0.mixer.hook_z", lambda z, point: z * 0)]
    edited = run_with_hooks(model, clips(), hooks, stop_at_layer=1)
    assert torch.equal(edited, run_with_trace(model, clips(), "layers.0.hook_block_input")[1][
        "layers.0.hook_block_input"])  # fmt: skip


@pytest.mark.parametrize(
    ("names", "stop", "error", "message"),
    [
        ("*.hook_y", 3, ValueError, "stop_at_layer is 3; this model has layers 0 to 1, expected"),
        ("*.hook_y", -3, ValueError, "stop_at_layer is -3; .* expected -2 to 2"),
        ("*.hook_y", True, ValueError, "stop_at_layer is True; "),
        (
            "*.hook_y",
            0,
            KeyError,
            r"'\*.hook_y' chooses hook points of layer 0 and later ones only",
        ),
        (["*.hook_y", "layers.1.*"], -1, KeyError, "'layers.1.*.* of layer 1 and later ones only"),
        ("layers.1.hook_nope", 1, KeyError, "No hook named"),
    ],
)
def test_what_a_stop_does_not_reach_is_an_error(names, stop, error, message):
    with pytest.raises(error, match=message):
        run_with_trace(toy(), clips(), names, stop_at_layer=stop)
    with pytest.raises(error, match=message):
        entries = [names] if isinstance(names, str) else names
        hooks = [(name, lambda value, point: None) for name in entries]
        run_with_hooks(toy(), clips(), hooks, stop_at_layer=stop)


NAMES = ("*.hook_delta", "layers.0.*", ["*hook_block_input", "*ssm_backward.hook_h"], None)


def test_forty_recordings_in_four_threads_are_those_of_one_thread():
    model = toy(change=enliven)

    @torch.no_grad()
    def record_one(number):
        clip = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(number))
        edited = number % 3 == 1
        with mute(model, "backward", 0) if edited else nullcontext():
            with ablate(model, "layers.1.mixer.hook_z", 0.5) if edited else nullcontext():
                logits, trace = run_with_trace(model, clip, NAMES[number % len(NAMES)])
        return {"logits": logits, **trace}

    alone = [record_one(number) for number in range(40)]
    assert len({tuple(values) for values in alone}) == len(NAMES)
    assert len({float(values["logits"][0, 0]) for values in alone}) == 40
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(record_one, range(40)))
    finally:
        sys.setswitchinterval(interval)
    for mine, wanted in zip(together, alone, strict=True):
        assert list(mine) == list(wanted)
        assert all(torch.equal(mine[name], value) for name, value in wanted.items())
    assert not any(point.is_active for point in hook_points(model).values())
