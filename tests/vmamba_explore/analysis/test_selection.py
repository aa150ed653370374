"""The 2 x 2 swap against swaps by hand, and the fixed filter against edited inputs."""

import numpy as np
import pytest
import torch

from tests.vmamba_explore.trace.toys import clips, toy
from vmamba_explore.analysis.patching import logit_difference
from vmamba_explore.analysis.selection import ALL, SELECTION, selection_swap, time_invariant
from vmamba_explore.trace.record import TraceBudgetError, run_with_hooks, run_with_trace


def by_hand(model, u, selection, places):
    """Run clip with its scan inputs at some places from other traces: what goes in is what is."""
    hooks = []
    for place in places:
        for name, source in {"u": u, **dict.fromkeys(SELECTION, selection)}.items():
            hook = f"{place}.hook_{name}"
            hooks.append((hook, lambda value, point, source=source: source[point.name].clone()))
    return run_with_hooks(model, clips(1, seed=1), hooks)


@pytest.mark.parametrize(
    "changes", [{}, {"backward_order": "spatial"}, {"backward_order": None, "cls_position": None}]
)
def test_all_four_ways_equal_the_swap_by_hand(changes):
    model, metric = toy(**changes), logit_difference(0, 1)
    swap = selection_swap(model, clips(1, seed=1), clips(1, seed=2), 0, 1)
    traces = {
        "own": run_with_trace(model, clips(1, seed=1))[1],
        "twin": run_with_trace(model, clips(1, seed=2))[1],
    }
    known = model.config.directions
    everywhere = [f"layers.{n}.mixer.ssm_{d}" for n in (0, 1) for d in known]
    together = "both" if len(known) > 1 else "forward"
    cases = [(1, known[-1], [f"layers.1.mixer.ssm_{known[-1]}"]), (ALL, together, everywhere)]
    for layer, direction, places in cases:
        for u in traces:
            for selection in traces:
                wanted = metric(by_hand(model, traces[u], traces[selection], places))
                found = swap.values.sel(layer=layer, direction=direction, u=u, selection=selection)
                assert np.allclose(found, wanted, atol=1e-6)
    assert swap.residual == 0.0


def test_the_two_shares_sum_to_what_both_bring_and_use_all_pairs():
    model = toy()
    swap = selection_swap(model, clips(2, seed=1), clips(2, seed=2), [0, 2], [1, 3])
    m = swap.values.sum("clip", skipna=False)
    whole = float((swap.clip - swap.twin).sum())
    wanted = (m.sel(u="own", selection="own") - m.sel(u="twin", selection="twin")) / whole
    assert np.allclose(swap.both, wanted, equal_nan=True)
    alone = (m.sel(u="own", selection="own") - m.sel(u="twin", selection="own")) / whole
    assert np.allclose(swap.by_u, alone + swap.interaction / 2, equal_nan=True)
    assert np.isnan(swap.both.sel(layer=0, direction="both"))
    assert np.isfinite(swap.both.sel(layer=ALL, direction="both"))


def test_a_twin_that_is_the_clip_brings_nothing():
    swap = selection_swap(toy(), clips(1), clips(1), 0, 1)
    own = swap.values.sel(u="own", selection="own", drop=True)
    assert np.allclose((swap.values - own).fillna(0.0), 0.0)


@pytest.mark.parametrize("cls_position", ["front", "middle", None])
def test_a_time_invariant_scan_has_the_clip_s_mean_at_every_video_token(cls_position):
    model, metric = toy(cls_position=cls_position), logit_difference(0, 1)
    cls_index = model.grid.cls_index
    video = [t for t in range(model.grid.seqlen) if t != cls_index]

    def even(value, point):
        value = value.clone()
        value[..., video] = value[..., video].mean(-1, keepdim=True)
        return value

    result = time_invariant(model, clips(), metric, layers=[1])
    assert result.values["quantity"].values.tolist() == ["delta", "B", "C", "all"]
    hooks = [(f"layers.1.mixer.ssm_backward.hook_{name}", even) for name in SELECTION]
    cases = {"B": hooks[1:2], "all": hooks}
    for quantity, edits in cases.items():
        found = result.values.sel(layer=1, direction="backward", quantity=quantity)
        assert np.allclose(found, metric(run_with_hooks(model, clips(), edits)), atol=1e-6)
    everything = [(f"*.hook_{name}", even) for name in SELECTION]
    found = result.values.sel(layer=ALL, direction="both", quantity="all")
    assert np.allclose(found, metric(run_with_hooks(model, clips(), everything)), atol=1e-6)
    kept = result.kept.sel(layer=ALL, direction="both", quantity="all")
    assert np.isclose(kept, float(found.sum() / result.plain.sum()))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"twins": clips(2)}, ValueError, "selection_swap: got 1 clips and 2 twins"),
        ({"layers": [2]}, ValueError, "There is no layer 2; the model has 0 to 1"),
        ({"labels": 7}, ValueError, "selection_swap: labels is 7"),
        ({"twin_labels": -1}, ValueError, "selection_swap: twin_labels is -1"),
        ({"budget_gib": 1e-9}, TraceBudgetError, "the budget is 0.00 GiB"),
    ],
)
def test_bad_input_gets_its_sentence(given, error, message):
    given = {"clips": clips(1), "twins": clips(1), "labels": 0, "twin_labels": 1} | given
    with pytest.raises(error, match=message):
        selection_swap(toy(), **given)


def test_a_fixed_filter_needs_its_layers():
    with pytest.raises(ValueError, match="There is no layer 7"):
        time_invariant(toy(), clips(1), logit_difference(0, 1), layers=[7])


def test_a_swap_of_a_float64_model_is_not_rounded_and_nan_is_not_hidden():
    model = toy().double()
    swap = selection_swap(model, clips(1, 1).double(), clips(1, 2).double(), 0, 1, layers=[1])
    own = swap.values.sel(u="own", selection="own")
    assert float(abs(own - swap.clip).max()) < 1e-12
    model.head.weight.fill_(torch.nan)
    swap = selection_swap(model, clips(1, 1).double(), clips(1, 2).double(), 0, 1, layers=1)
    assert np.isnan(swap.residual)
