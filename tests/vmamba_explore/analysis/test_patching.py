"""Sweeps and twin patching agree with surgery done by hand, one place after the other."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tqdm.auto import tqdm

from tests.vmamba_explore.trace.toys import clips, toy
from vmamba_explore.analysis import patching, selection
from vmamba_explore.analysis.evidence import prefix_curve
from vmamba_explore.analysis.frame_states import collect
from vmamba_explore.analysis.patching import (
    largest_share,
    logit_difference,
    logits_from,
    sweep,
    twin_patching,
)
from vmamba_explore.clips.motion import MotionClips
from vmamba_explore.edits import current
from vmamba_explore.interventions import mute, record_past, reset_state, transplant
from vmamba_explore.trace.record import TraceBudgetError, run_with_trace


def forget(model, layer, direction, frame):
    return reset_state(model, frame, direction=direction, layers=layer)


def test_a_logit_difference_is_taken_clip_by_clip():
    logits = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    assert logit_difference(0, 1)(logits).tolist() == [-1.0, -8.0]
    assert logit_difference([2, 0], torch.tensor([1, 2]))(logits).tolist() == [2.0, -24.0]


@pytest.mark.parametrize("layer", [0, 1])
def test_running_from_a_block_s_input_gives_the_logits_bitwise(layer):
    model, name = toy(), f"layers.{layer}.hook_block_input"
    logits, trace = run_with_trace(model, clips(), name)
    assert torch.equal(logits_from(model, layer, trace[name]), logits)


@pytest.mark.parametrize("changes", [{}, {"backward_order": None}, {"backward_order": "temporal"}])
def test_a_sweep_is_the_surgery_done_at_each_place(changes):
    model, metric = toy(**changes), logit_difference(0, 1)
    result = sweep(model, clips(), forget, metric)
    assert result.values.dims == ("layer", "direction", "frame", "clip")
    assert result.values["frame"].values.tolist() == [1, 2, 3]
    assert result.values["clip_frame"].values.tolist() == [2, 4, 6]
    assert np.allclose(result.plain, metric(model(clips())))
    for direction in model.config.directions:
        with reset_state(model, 2, direction=direction, layers=0):
            wanted = metric(model(clips()))
        found = result.values.sel(layer=0, direction=direction, frame=2)
        assert np.allclose(found, wanted, atol=1e-6)
        changed = result.change.sel(layer=0, direction=direction, frame=2)
        assert np.allclose(changed, wanted - metric(model(clips())), atol=1e-6)


def test_a_sweep_takes_the_places_named_only():
    result = sweep(
        toy(),
        clips(),
        lambda model, layer, direction, frame: mute(model, direction, layer),
        logit_difference(0, 1),
        layers=[1],
        directions=["backward"],
        frames=[0],
    )
    assert dict(result.values.sizes) == {"layer": 1, "direction": 1, "frame": 1, "clip": 2}


@pytest.mark.parametrize("changes", [{}, {"backward_order": "spatial"}, {"cls_position": "middle"}])
def test_twin_patching_is_a_transplant_at_each_place(changes):
    """Batched over pairs and boundaries, and started at the patched layer, it is the same."""
    model = toy(**changes)
    ours, theirs, labels, others = clips(seed=1), clips(seed=2), [0, 3], [1, 2]
    result = twin_patching(model, ours, theirs, labels, others, windows=[(2, 5), (1, 6)])
    metric, past = logit_difference(labels, others), record_past(model, ours)
    assert np.allclose(result.clip, metric(model(ours)), atol=1e-6)
    assert np.allclose(result.twin, metric(model(theirs)), atol=1e-6)
    for layer in (0, 1):
        for direction in ("forward", "backward"):
            for frame in (1, 3):
                with transplant(model, past, frame, direction=direction, layers=layer):
                    wanted = metric(model(theirs))
                place = {"layer": layer, "direction": direction, "frame": frame}
                assert np.allclose(result.patched.sel(place), wanted, atol=1e-6)
                share = (wanted - metric(model(theirs))) / (
                    metric(model(ours)) - metric(model(theirs))
                )
                assert np.allclose(result.restored.sel(place), share, atol=1e-4)
    assert result.windows.tolist() == [[2, 5], [1, 6]]
    assert result.residual < 1e-4


def test_all_layers_together_are_one_layer_of_the_result():
    model = toy()
    ours, theirs = clips(1, seed=1), clips(1, seed=2)
    result = twin_patching(model, ours, theirs, 0, 1, together=True)
    assert result.patched["layer"].values.tolist() == [-1]
    with transplant(model, record_past(model, ours), 2, direction="backward"):
        wanted = logit_difference(0, 1)(model(theirs))
    found = result.patched.sel(layer=-1, direction="backward", frame=2)
    assert np.allclose(found, wanted, atol=1e-6)


def test_a_clip_patched_into_a_twin_that_is_itself_moves_nothing():
    """clip - twin is zero then, so the shares are not defined, but no logit may move."""
    model = toy()
    result = twin_patching(model, clips(), clips(), 0, 1)
    assert np.allclose(result.patched, result.twin, atol=1e-6)


def test_the_last_forward_scan_restores_nothing_where_the_class_token_stands_in_front():
    result = twin_patching(toy(), clips(seed=1), clips(seed=2), 0, 1)
    moved = result.patched - result.twin
    assert abs(moved.sel(layer=1, direction="forward")).max() == 0
    assert abs(moved.sel(layer=1, direction="backward")).min() > 0


def test_the_overall_share_weighs_pairs_by_their_difference():
    result = twin_patching(toy(), clips(seed=1), clips(seed=2), 0, 1)
    weight = result.clip - result.twin
    wanted = (result.restored * weight).sum("clip") / weight.sum("clip")
    assert np.allclose(result.restored_overall, wanted)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: sweep(model, clips(), forget, logit_difference(0, 1)),
        lambda model: twin_patching(model, clips(), clips(), 0, 1),
        lambda model: selection.selection_swap(model, clips(), clips(), 0, 1),
        lambda model: selection.time_invariant(model, clips(), logit_difference(0, 1)),
        lambda model: prefix_curve(model, clips(), 0),
        lambda model: collect(model, MotionClips(1, num_frames=8, img_size=32), range(3)),
    ],
)
def test_an_analysis_that_is_interrupted_in_an_edited_run_leaves_nothing_behind(call):
    model = toy()

    def interrupt(*_):
        if current().blocks:
            raise KeyboardInterrupt

    model.norm_f.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        call(model)
    assert not current().blocks


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": [5]}, "There is no layer 5"),
        ({"directions": ["backward"]}, "no direction"),
        ({"frames": [4]}, "no boundary before .* 4"),
        ({"frames": []}, "2 layers, 1 directions and 0 frames"),
        ({"metric": lambda x: x}, r"the metric gave \(2, 5\) for"),
    ],
)
def test_a_sweep_says_what_does_not_fit(given, message):
    given = {"surgery": forget, "metric": logit_difference(0, 1)} | given
    with pytest.raises(ValueError, match=message):
        sweep(toy(backward_order=None), clips(), **given)


def test_results_of_a_float64_model_are_not_rounded():
    model, metric = toy().double(), logit_difference(0, 1)
    nothing = sweep(model, clips().double(), lambda *_: nullcontext(), metric, layers=1)
    assert abs(nothing.change).max() == 0
    same = twin_patching(model, clips().double(), clips().double(), 0, 1)
    assert abs(same.patched - same.twin).max() < 1e-12


def test_logits_that_are_no_numbers_give_a_residual_that_is_none():
    model = toy()
    model.head.weight.fill_(torch.nan)
    assert np.isnan(twin_patching(model, clips(seed=1), clips(seed=2), 0, 1).residual)
    zero, one, nan = torch.zeros(1), torch.ones(1), torch.full((1,), torch.nan)
    assert largest_share(zero, zero) == 0 and largest_share(one, zero) == np.inf
    assert np.isnan(largest_share(torch.cat([nan, zero]), torch.cat([one, zero])))


def test_one_layer_or_frame_and_numbers_of_a_result_choose_places():
    whole = sweep(toy(), clips(), forget, logit_difference(0, 1))
    one = sweep(toy(), clips(), forget, logit_difference(0, 1), layers=1, frames=2)
    assert np.array_equal(one.values, whole.values.sel(layer=[1], frame=[2]))
    layer, frame = whole.values["layer"].values[1], whole.values["frame"].values[1:2]
    again = sweep(toy(), clips(), forget, logit_difference(0, 1), layers=layer, frames=frame)
    assert np.array_equal(again.values, one.values)
    twins = twin_patching(toy(), clips(seed=1), clips(seed=2), 0, 1, layers=layer)
    assert twins.patched["layer"].values.tolist() == [1]


def test_the_recording_of_the_twins_keeps_to_its_budget():
    with pytest.raises(TraceBudgetError, match="the budget is 0.00 GiB"):
        twin_patching(toy(), clips(), clips(), 0, 1, budget_gib=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": 7}, "twin_patching: labels is 7; this model's classes are 0 to 4"),
        ({"twin_labels": -1}, "twin_patching: twin_labels is -1"),
        ({"layers": []}, "got no layer, expected at least one"),
        ({"layers": [9]}, "There is no layer 9"),
        ({"twins": clips(1)}, "got 2 clips and 1 twins"),
        ({"windows": [(1, 2)]}, r"windows are \(1, 2\), expected \(2, 2\)"),
        ({"windows": [(1, 2), (3,)]}, "pairs of different lengths, expected"),
    ],
)
def test_twin_patching_says_what_does_not_fit(given, message, unchecked):
    with pytest.raises(ValueError, match=message):
        twin_patching(toy(), clips(), **{"twins": clips(), "labels": 0, "twin_labels": 1} | given)


def test_a_model_of_one_token_frame_has_no_boundary_to_patch():
    model, one = toy(num_frames=2), clips()[:, :, :2]
    with pytest.raises(ValueError, match="this model has one token frame"):
        twin_patching(model, one, one, 0, 1)
    with pytest.raises(ValueError, match="2 layers, 2 directions and 0 frames"):
        sweep(model, one, lambda *_: nullcontext(), logit_difference(0, 1))


@pytest.mark.parametrize(
    ("labels", "minus", "message"),
    [
        (0.5, 1, "logit_difference: labels is torch.float32, expected"),
        (0, True, "logit_difference: minus is torch.bool, expected"),
        (7, 1, "labels is 7; this model's classes are 0 to 4"),
        ([0, 1, 2], 1, r"labels has shape \(3,\).* each of the 2 clips"),
    ],
)
def test_a_logit_difference_of_no_classes_is_refused(labels, minus, message, unchecked):
    with pytest.raises(ValueError, match=message):
        logit_difference(labels, minus)(torch.zeros(2, 5))


def test_the_bars_go_when_they_are_full(monkeypatch):
    asked, metric = [], logit_difference(0, 1)

    def bar(*given, **how):
        asked.append(how["leave"])
        return tqdm(*given, **how)

    for module in (patching, selection):
        monkeypatch.setattr(module, "tqdm", bar)
    sweep(toy(), clips(1), lambda *_: nullcontext(), metric, layers=1)
    twin_patching(toy(), clips(1), clips(1), 0, 1, layers=1)
    selection.selection_swap(toy(), clips(1), clips(1), 0, 1, layers=[1])
    selection.time_invariant(toy(), clips(1), metric, layers=[1])
    assert asked == [False] * 4
