"""Which states carry: half-lives and effects against their definitions, surgery by share."""

import numpy as np
import pytest
import torch
import xarray as xr

from tests.vmamba_explore.toys import SMALL, clips_for, enliven, recorded, toy, vary_steps
from vmamba_explore.analysis.decay import decay, frame_tokens
from vmamba_explore.analysis.slow_states import (
    OPERATIONS,
    state_effects,
    state_half_lives,
    state_surgery,
    top_states,
)
from vmamba_explore.trace.past import record_past, reset_state, swap_state

SIZES = {"dtype": torch.float64, "num_frames": 6, **SMALL}  # 3 token frames of 2 x 2 tokens


def make(**changes):
    """Return a toy whose states move its logits, and forget at paces of their own."""
    model = toy(change=enliven, **SIZES | changes)
    with torch.no_grad():
        vary_steps(model, 0.0)
        model.head.weight.mul_(30)
        for layer in model.layers:
            for ssm in layer.mixer.directions.values():
                ssm.x_proj.weight.mul_(4)
                ssm.A_log.sub_(2)
    return model


def pair(model, batch=3):
    """Clips, other clips, classes."""
    numbers = torch.arange(batch) % 3
    return clips_for(model, batch, 1), clips_for(model, batch, 2), numbers, (numbers + 1) % 3


@pytest.mark.parametrize("frames", [(0, 2), (1, 1), (1, 2)])
def test_after_its_half_life_half_of_a_state_is_left(frames):
    """Half a state is left when the part of the clip is repeated or cut to last that long."""
    trace = recorded("*.hook_delta", change=vary_steps, cls_position=None, num_frames=6)
    found = state_half_lives(trace, frames)
    assert found.dims == ("layer", "direction", "channel", "state")
    count = frames[1] - frames[0] + 1
    for layer, direction in ((0, "forward"), (1, "backward")):
        fading = decay(trace, layer, direction)
        read = frame_tokens(trace.grid, fading.steps)[frames[0] : frames[1] + 1]
        tokens = torch.cat(read)
        delta = trace[f"layers.{layer}.mixer.ssm_{direction}.hook_delta"].double().mean(0)
        left = torch.exp(fading.A * delta[:, tokens].sum(-1, keepdim=True))
        lasting = torch.tensor(found.sel(layer=layer, direction=direction).values)
        assert torch.allclose(left ** (lasting / count), torch.tensor(0.5).double(), atol=1e-9)


def test_frames_that_do_not_exist_get_a_sentence():
    trace = recorded("*.hook_delta", num_frames=6)
    for frames in ((-1, 1), (2, 1), (0, 3)):
        with pytest.raises(ValueError, match="expected a first and a last of 0 to 2"):
            state_half_lives(trace, frames)


@pytest.mark.parametrize(
    "kind",
    [{}, {"backward_order": None, "cls_position": None}, {"cls_position": "middle"}],
    ids=str,
)
def test_effects_sum_to_what_the_donors_states_do(kind):
    model = make(**kind)
    clips, donors, labels, theirs = pair(model)
    found = state_effects(model, clips, donors, labels, theirs, 1, steps=20, batch_size=2)
    past, rows = record_past(model, donors), torch.arange(3)

    def margin(logits):
        return (logits[rows, theirs] - logits[rows, labels]).tolist()

    with swap_state(model, 1, past):
        assert found.swapped.values.tolist() == pytest.approx(margin(model(clips)), abs=1e-12)
    assert found.plain.values.tolist() == pytest.approx(margin(model(clips)), abs=1e-12)
    whole = float((found.swapped - found.plain).mean())
    assert abs(whole) > 1e-2
    assert float(found.values.sum()) == pytest.approx(whole, rel=1e-6)
    assert found.residual == pytest.approx(abs(float(found.values.sum()) - whole) / abs(whole))


def test_an_effect_is_the_slope_along_the_line_times_the_way():
    """A few states of every scan against central differences of interpolated swaps."""
    model = make()
    clips, donors, labels, theirs = pair(model, 1)
    found = state_effects(model, clips, donors, labels, theirs, 2, steps=2)
    own, other = record_past(model, clips, 2), record_past(model, donors, 2)
    places = (np.polynomial.legendre.leggauss(2)[0] + 1) / 2

    def moved(place, key, index, step):
        states = {k: own.states[k] + place * (other.states[k] - own.states[k]) for k in own.states}
        states[key][0, *index] += step
        with swap_state(model, 2, type(own)(states, own.tails, own.frames)):
            logits = model(clips)[0]
        return float(logits[theirs[0]] - logits[labels[0]])

    for key in own.states:
        for index in ((0, 0), (5, 2), (15, 1)):
            slopes = [moved(p, key, index, 1e-5) - moved(p, key, index, -1e-5) for p in places]
            way = (other.states[key] - own.states[key])[0, *index]
            wanted = np.mean(slopes) / 2e-5 * float(way)
            got = found.values.sel(layer=key[0], direction=key[1]).values[index]
            assert got == pytest.approx(wanted, rel=1e-4, abs=1e-8)


def test_channels_that_nothing_reads_have_no_effect():
    model = make(depth=1)
    silent = torch.arange(16) % 3 > 0
    with torch.no_grad():
        model.layers[0].mixer.out_proj.weight[:, silent] = 0
    clips, donors, labels, theirs = pair(model)
    values = state_effects(model, clips, donors, labels, theirs, 1).values
    assert (values.isel(channel=silent.numpy()) == 0).all()
    assert (values.isel(channel=~silent.numpy()) != 0).any(["direction", "channel", "state"]).all()


def test_each_clip_has_its_boundary_and_only_chosen_scans_count():
    model = make()
    clips, donors, labels, theirs = pair(model)
    where = {"direction": "backward", "layers": [1]}
    together = state_effects(model, clips, donors, labels, theirs, [1, 2, 1], batch_size=2, **where)
    assert together.values.sizes == {"layer": 1, "direction": 1, "channel": 16, "state": 3}
    alone = [
        state_effects(model, clips[[i]], donors[[i]], labels[[i]], theirs[[i]], k, **where).values
        for i, k in enumerate([1, 2, 1])
    ]
    assert np.allclose(together.values, sum(alone) / 3, atol=1e-12)


def test_effects_leave_model_and_gradients_as_they_were():
    model = make()
    before = [weight.requires_grad for weight in model.parameters()]
    with torch.no_grad():
        found = state_effects(model, *pair(model), 1)
    assert (found.values != 0).any() and not torch.is_inference_mode_enabled()
    assert [weight.requires_grad for weight in model.parameters()] == before
    assert all(weight.grad is None for weight in model.parameters())


def test_top_states_are_the_largest_of_all_scans_together():
    values = xr.DataArray(
        np.arange(24.0).reshape(2, 1, 3, 4)[::-1],
        {"layer": [0, 3], "direction": ["forward"]},
        ("layer", "direction", "channel", "state"),
        attrs={"unit": "logits"},
    )
    chosen = top_states(values, 0.25)
    assert chosen.dtype == bool and int(chosen.sum()) == 6 and (values.where(chosen) > 17).any()
    assert float(values.where(chosen).min()) == 18
    assert not top_states(values, 0).any() and top_states(values, 1).all()
    with pytest.raises(ValueError, match="share is 25, expected 0 to 1"):
        top_states(values, 25)
    with pytest.raises(ValueError, match="NaN"):
        top_states(values.where(values > 3), 0.5)


def test_surgery_counts_what_resets_and_swaps_of_the_marked_states_do():
    model = make()
    clips, donors, _, _ = pair(model, 12)
    labels, past = model(clips).argmax(1), record_past(model, donors, 2)
    with swap_state(model, 2, past):
        theirs = model(clips).argmax(1)
    assert (labels != theirs).any()
    order = state_effects(model, clips, donors, labels, theirs, 2).values
    found = state_surgery(
        model, clips, labels, 2, {"a": order, "b": -order}, [0, 0.4, 1], donors, theirs,
        batch_size=5,
    )  # fmt: skip
    assert found.right.sizes == {"operation": 3, "order": 2, "share": 3, "clip": 12}
    assert found.plain.all()
    kept, reset, swapped = (found.right.sel(operation=name) for name in OPERATIONS)
    for name, values in (("a", order), ("b", -order)):
        states = top_states(values, 0.4)
        blocks = (
            (kept, reset_state(model, 2, states=~states, tail=True), labels),
            (reset, reset_state(model, 2, states=states, tail=True), labels),
            (swapped, swap_state(model, 2, past, states=states), theirs),
        )
        for right, block, truth in blocks:
            with block:
                wanted = model(clips).argmax(1) == truth
            assert right.sel(order=name, share=0.4).values.tolist() == wanted.tolist()
    with reset_state(model, 2, tail=True):
        wanted = (model(clips).argmax(1) == labels).tolist()
    assert kept.sel(order="a", share=0).values.tolist() == wanted
    assert reset.sel(order="b", share=1).values.tolist() == wanted
    assert swapped.sel(share=1).all()
    accuracy = found.accuracy
    assert np.allclose(accuracy, found.right.mean("clip"))
    assert ((accuracy.low <= accuracy) & (accuracy <= accuracy.high)).all()
    assert (accuracy.high - accuracy.low > 0.1).all()


def test_surgery_without_donors_has_no_swap_and_half_of_a_swap_is_refused():
    model = make()
    clips, donors, labels, theirs = pair(model)
    order = state_effects(model, clips, donors, labels, theirs, 1).values
    found = state_surgery(model, clips, labels, [1, 2, 1], {"a": order}, [0.5])
    assert found.right["operation"].values.tolist() == list(OPERATIONS[:2])
    with pytest.raises(ValueError, match="3 clips, 3 donors and no donor_labels"):
        state_surgery(model, clips, labels, 1, {"a": order}, [0.5], donors)
    with pytest.raises(ValueError, match="got 3 clips, 2 donors and donor_labels"):
        state_surgery(model, clips, labels, 1, {"a": order}, [0.5], donors[:2], theirs)
    with pytest.raises(ValueError, match="0 orders and 1 shares"):
        state_surgery(model, clips, labels, 1, {}, [0.5])
    with pytest.raises(ValueError, match="3 clips and 2 donors"):
        state_effects(model, clips, donors[:2], labels, theirs, 1)
    with pytest.raises(ValueError, match="steps is 0"):
        state_effects(model, clips, donors, labels, theirs, 1, steps=0)
