"""The lenses that come with the bundled models, and what they read from clips of known truth."""

from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr

from tests.vmamba_explore.toys import toy
from vmamba_explore import load_model, resources
from vmamba_explore.analysis.lens import FILES, find_lens, read_lens, state_lens
from vmamba_explore.clips.recall import RecallClips
from vmamba_explore.clips.recall_plan import COLOR_NAMES
from vmamba_explore.model.checkpoints import fingerprint
from vmamba_explore.trace.interventions import mute
from vmamba_explore.trace.past import reset_state
from vmamba_explore.trace.record import run_with_trace

LENSES = sorted(file.parent.name for file in resources.data_dir().glob(f"*/{FILES[0]}"))


@cache
def model_of(name):
    return load_model(name).eval()


def read(model, clip):
    with torch.no_grad():
        trace = run_with_trace(model, clip, "*.hook_block_input")[1]
        return find_lens(model).read(trace)


def test_every_lens_belongs_to_the_weights_of_its_model_and_is_small():
    assert {"motion-nano", "recall-nano", "camera-nano"} <= set(LENSES)
    for name in LENSES:
        assert state_lens(model_of(name)).model == name
        folder = resources.path(name)
        assert sum((folder / file).stat().st_size for file in FILES) <= 300_000


@pytest.fixture(scope="module")
def fresh():
    """Return the reading of 64 fresh recall clips, and their colors and times."""
    clips = RecallClips(99, backgrounds="test")
    model = model_of("recall-nano")
    found = [read(model, clips[index].clip) for index in range(64)]
    plan = clips.plan(np.arange(64))
    probabilities = {
        target: xr.concat([each.probabilities[target] for each in found], "clip")
        for target in found[0].targets
    }
    return found[0], probabilities, plan


@pytest.mark.parametrize("layer", [0, 2, 5])
def test_the_sample_color_is_read_from_forward_states_once_it_was_shown_as_often_as_measured(
    fresh, layer
):
    reading, probabilities, plan = fresh
    where = {"layer": layer, "direction": "forward"}
    values = probabilities["sample color"].sel(**where)
    right = values.argmax("answer").values == plan.sample.colors[:, None]
    shown = np.arange(right.shape[1]) >= plan.sample.frames[:, :1]
    scores = reading.scores["sample color"].sel(**where)
    share = (right & shown).sum(1) / shown.sum(1)
    spread = 2 * share.std() / np.sqrt(len(share))
    assert share.mean() + spread >= float(scores["after low"])
    if layer == 0:  # a forward scan of the frames alone: nothing can be read before
        before = (right & ~shown).sum(1)[(~shown).any(1)] / (~shown).sum(1)[(~shown).any(1)]
        assert abs(before.mean() - 0.25) < 0.12


def test_shuffled_labels_leave_the_probes_at_chance():
    for name in LENSES:
        for scores in state_lens(model_of(name)).scores.values():
            shuffled, chance = scores["shuffled"].values, scores.attrs["chance"]
            assert abs(np.nanmean(shuffled) - chance) < 0.05
            real = scores["after accuracy"].max()
            assert real > 3 * chance or real > 0.9


def test_nothing_is_read_from_a_forward_model_before_it_was_shown_in_any_layer():
    for scores in state_lens(model_of("recall-nano-forward")).scores.values():
        assert (abs(scores["before accuracy"] - 0.25) < 0.06).all()
        assert (scores["after accuracy"].isel(layer=slice(3, None)) > 0.95).all()


def test_probabilities_are_those_of_the_answers_and_say_how_often_they_are_right(fresh):
    _, probabilities, plan = fresh
    for target, truth in (
        ("sample color", plan.sample.colors), ("test color", plan.test.colors),
        ("label", plan.labels),
    ):  # fmt: skip
        values = probabilities[target]
        np.testing.assert_allclose(values.sum("answer").values, 1, atol=1e-5)
        best = values.max("answer").values
        right = values.argmax("answer").values == truth[:, None, None, None]
        for low, high in ((0.3, 0.5), (0.5, 0.8), (0.9, 1.0)):
            inside = (best >= low) & (best < high + 1e-9)
            assert abs(right[inside].mean() - best[inside].mean()) < 0.12, (target, low)


def test_answers_are_the_names_of_the_most_probable(fresh):
    reading, _, plan = fresh
    names = reading.answers("sample color").sel(layer=5, direction="backward").values
    assert names[0] == COLOR_NAMES[plan.sample.colors[0]]
    with pytest.raises(ValueError, match="LensReading: target is 'color', expected"):
        reading.answers("color")


def test_a_state_that_is_reset_holds_nothing_and_a_muted_scan_still_does():
    model, clip = model_of("recall-nano"), RecallClips(99, backgrounds="test")[0].clip
    plain = read(model, clip).probabilities["sample color"]
    where = {"layer": 0, "direction": "forward"}
    with reset_state(model, 15):
        reset = read(model, clip).probabilities["sample color"]
    with mute(model, "backward"):
        muted = read(model, clip).probabilities["sample color"]
    np.testing.assert_allclose(muted.sel(**where), plain.sel(**where), atol=1e-5)
    np.testing.assert_allclose(reset.sel(**where)[:14], plain.sel(**where)[:14], atol=1e-5)
    empty = read_lens(resources.path("recall-nano")).probes["sample color"].bias[0, 0, 14]
    wanted = torch.nn.functional.pad(empty, (0, 1)).softmax(0)
    np.testing.assert_allclose(reset.sel(**where)[14], wanted, atol=1e-5)


def test_only_some_layers_are_read_where_only_those_are_asked_for():
    model, clip = model_of("recall-nano"), RecallClips(99)[1].clip
    with torch.no_grad():
        trace = run_with_trace(model, clip, "*.hook_block_input")[1]
    some, every = (state_lens(model).read(trace, layers) for layers in ([4, 1], None))
    assert some.probabilities["label"]["layer"].values.tolist() == [4, 1]
    assert some.scores["label"]["layer"].values.tolist() == [4, 1]
    np.testing.assert_array_equal(
        some.probabilities["label"].sel(layer=1), every.probabilities["label"].sel(layer=1)
    )


def test_another_model_has_no_lens_and_a_lens_refuses_its_trace():
    other = toy()
    with pytest.raises(ValueError, match="there is no lens for this model"):
        state_lens(other)
    assert find_lens(other) is None
    trained = load_model("recall-nano").eval()
    with torch.no_grad():
        trained.head.bias += 1e-3
        trace = run_with_trace(trained, RecallClips(99)[1].clip, "*.hook_block_input")[1]
    assert find_lens(trained) is None
    lens = state_lens(model_of("recall-nano"))
    assert lens.weights == fingerprint(model_of("recall-nano"))
    with pytest.raises(ValueError, match="other weights than recall-nano"):
        lens.read(trace)


def test_the_note_names_the_direction_only_where_two_scans_can_have_carried_it():
    assert "which direction carried it" in state_lens(model_of("recall-nano")).note
    assert "direction" not in state_lens(model_of("recall-nano-forward")).note
