"""Probes on states with a known content: they find it, and nothing where there is nothing."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.vmamba_explore.analysis.planted_states import PICTURES, planted, reader
from vmamba_explore.analysis import probes
from vmamba_explore.analysis.frame_states import collect
from vmamba_explore.analysis.probes import (
    SOURCES,
    Job,
    fit_ridge,
    held_out_r2,
    inner_products,
    probe,
    read_class,
)
from vmamba_explore.clips.motion import MotionClips


@pytest.fixture(scope="module")
def scores():
    """Return the scores of planted states, all targets."""
    return probe(planted(120, seed=1), planted(80, seed=2), resamples=200)


def test_a_probe_finds_what_is_there_where_it_is(scores):
    for target in ("position", "angle"):
        found = scores.array(target).sel(source="state", layer=0)
        assert (found.sel(direction="forward") > 0.7).all()
        assert (found.sel(direction="backward") < 0.1).all()
        assert (found.low <= found).all() and (found <= found.high).all()


def test_a_probe_finds_nothing_that_is_not_there(scores):
    for target in ("size", "opacity"):
        found = scores.array(target).sel(source="state", layer=0)
        assert (found < 0.1).all() and (found.low < 0.05).all()
    label = scores.array("label").sel(source="state", layer=0, direction="backward")
    assert (label.low < 0.1).all() and label.mean() < 0.2


def test_shuffled_answers_are_not_found(scores):
    for target in set(scores.targets) - {"label"}:
        shuffled = scores.array(target).sel(source="shuffled").values
        assert (shuffled[np.isfinite(shuffled)] < 0.15).all()
    assert scores.array("label").sel(source="shuffled").mean() < 0.2


def test_input_tokens_are_read_frame_by_frame_and_together(scores):
    size = scores.array("size").sel(layer=0)
    assert (size.sel(source="input tokens") > 0.8).all()
    together = size.sel(source="all tokens read")
    # the first frame that a direction reads is all that it has read by then
    for direction, first in (("forward", 0), ("backward", 7)):
        alone = size.sel(source="input tokens", direction=direction, frame=first)
        both = together.sel(direction=direction, frame=first)
        assert float(both) == pytest.approx(float(alone), abs=1e-9)
    assert (together.sel(direction="forward") != together.sel(direction="backward")).any()
    position = scores.array("position").sel(source="input tokens")
    assert (position < 0.1).all()


def test_a_velocity_is_scored_where_something_moves_and_nowhere_else(scores):
    velocity = scores.array("velocity").sel(source="state", layer=0, direction="forward")
    at = scores.targets.index("velocity")
    enough = np.minimum(scores.train[at], scores.test[at]) >= probes.FEWEST
    assert (np.isfinite(velocity.values) == enough).all()
    assert not enough[0] and not enough[7] and enough[4]


def test_no_test_clip_takes_part_in_a_fit(monkeypatch):
    """Other test clips: the same strengths, the same coefficients, other scores."""
    fits, fit_ridge = [], probes.fit_ridge

    def remember(*args, **kwargs):
        fits.append(fit_ridge(*args, **kwargs))
        return fits[-1]

    monkeypatch.setattr(probes, "fit_ridge", remember)
    train = planted(60, seed=1)
    first = probe(train, planted(40, seed=2), ["position", "label"], resamples=20)
    half = len(fits)
    second = probe(train, planted(50, seed=3), ["position", "label"], resamples=20)
    assert half and len(fits) == 2 * half
    for one, other in zip(fits[:half], fits[half:], strict=True):
        assert one.strengths == other.strengths and one.left_out == other.left_out
        assert torch.equal(one.coefficients, other.coefficients)
    assert not np.array_equal(first.values, second.values)


def test_the_scale_of_a_feature_does_not_count():
    train, test = torch.randn(30, 12), torch.randn(10, 12)
    scale = torch.logspace(-3, 3, 12)
    for ours, theirs in zip(
        inner_products(train, test), inner_products(train * scale, test * scale), strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    train[:, 3] = test[:, 3] = 5.0  # a constant: left out, not divided by zero
    assert all(products.isfinite().all() for products in inner_products(train, test))


def test_states_of_a_model_become_scores_of_all_layers_and_directions():
    model = reader()
    lots = [collect(model, MotionClips(seed=seed, **PICTURES), range(40)) for seed in (1, 2)]
    array = probe(*lots, ["position"], resamples=20).array("position")
    assert array.sizes == {"source": len(SOURCES), "layer": 2, "direction": 2, "frame": 4}
    assert np.isfinite(array.values).all()
    without = [dataclasses.replace(lot, inputs={}) for lot in lots]
    array = probe(*without, ["position"], resamples=20).array("position")
    assert np.isnan(array.sel(source="input tokens")).all()
    assert np.isfinite(array.sel(source="state")).all()


def test_what_does_not_exist_gets_a_sentence(scores):
    train, test = planted(20, seed=1), planted(20, seed=2)
    with pytest.raises(ValueError, match="target is 'speed', expected 'position' or 'velocity'"):
        probe(train, test, ["speed"])
    with pytest.raises(ValueError, match="target is 'speed', expected 'position' or 'velocity'"):
        scores.array("speed")
    other = dataclasses.replace(test, states={(0, "forward"): test.states[0, "forward"]})
    with pytest.raises(ValueError, match="collect the same for both"):
        probe(train, other)
    stops = {"forward": (4,), "backward": (29,)}
    with pytest.raises(ValueError, match="a state for each token frame; collect without stops"):
        probe(*(dataclasses.replace(each, stops=stops) for each in (train, test)))


def test_r2_of_perfect_and_of_mean_predictions():
    answers = np.arange(10.0)[:, None]
    job = Job(answers, answers, False)
    assert (held_out_r2(job, answers, 50, 0) == 1).all()
    assert held_out_r2(job, np.full_like(answers, 4.5), 50, 0)[0] == 0
    same = np.zeros_like(answers)
    assert np.isnan(held_out_r2(Job(same, same, False), same, 50, 0)).all()


def test_a_class_is_read_from_the_states_that_hold_it_and_guessed_from_others(unchecked):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 300)
    mean = generator.normal(size=(4, 3, 5))  # of each class
    holding = torch.tensor(mean[labels] + generator.normal(size=(300, 3, 5)))
    empty = torch.tensor(generator.normal(size=(300, 3, 5)))
    for states, low, high in ((holding, 0.85, 1.0), (empty, 0.1, 0.4)):
        found = read_class(states[:200], labels[:200], states[200:], labels[200:])
        assert found.n == 100 and low <= found.value <= high
        assert found.low <= found.value <= found.high
    learning = holding.clone().requires_grad_()
    again = read_class(learning[:200], labels[:200], learning[200:], labels[200:])
    assert again == read_class(holding[:200], labels[:200], holding[200:], labels[200:])
    moved = read_class(holding[:200], (labels[:200] + 1) % 4, holding[200:], labels[200:])
    assert moved.value < 0.1
    with pytest.raises(ValueError, match="15 clips with 15 labels to fit to and of 100 with 100"):
        read_class(holding[:15], labels[:15], holding[200:], labels[200:])
    with pytest.raises(ValueError, match="200 clips with 199 labels"):
        read_class(holding[:200], labels[:199], holding[200:], labels[200:])


# ---------------------------------------------------------------- the regression


def linear(clips=30, features=50, noise=0.1, seed=0):
    """Return features and two columns of answers that are linear in them, off center."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(clips, features, generator=generator, dtype=torch.float64) + 3
    weights = torch.randn(features, 2, generator=generator, dtype=torch.float64)
    noise = noise * torch.randn(clips, 2, generator=generator, dtype=torch.float64)
    return x, x @ weights + noise - 7


def primal(x, y, strength):
    """The textbook form: weights of features, the intercept not shrunk."""
    mean, offset = x.mean(0), y.mean(0)
    gram = (x - mean).T @ (x - mean) + strength * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(gram, (x - mean).T @ (y - offset))
    return lambda new: (new - mean) @ weights + offset


def test_inner_products_give_the_same_predictions_as_weights_of_features():
    x, y = linear()
    new, _ = linear(seed=1)
    fit = fit_ridge(x @ x.T, y)
    assert torch.allclose(fit.predict(new @ x.T), primal(x, y, fit.strengths[0])(new), atol=1e-9)


@pytest.mark.parametrize("strength", [1e-2, 1.0, 100.0])
def test_the_error_on_clips_left_out_is_that_of_refitting_without_them(strength):
    x, y = linear(noise=5)
    fit = fit_ridge(x @ x.T, y, strengths=[strength])
    left_out = [
        primal(x[keep], y[keep], fit.strengths[0])(x[clip : clip + 1])[0]
        for clip, keep in ((clip, torch.arange(30) != clip) for clip in range(30))
    ]
    means = torch.stack([y[torch.arange(30) != clip].mean(0) for clip in range(30)])
    expected = 1 - (y - torch.stack(left_out)).square().sum() / (y - means).square().sum()
    assert fit.left_out[0] == pytest.approx(float(expected), abs=1e-9)


def test_each_group_of_columns_gets_the_strength_that_suits_it():
    x, y = linear(clips=200)
    noise = torch.randn(200, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fit = fit_ridge(x @ x.T, torch.cat([y, noise], 1), [slice(0, 2), slice(2, 3)])
    assert fit.strengths[0] < 1e-2 * fit.strengths[1]
    assert fit.left_out[0] > 0.99 > 0.1 > fit.left_out[1]
    alone = fit_ridge(x @ x.T, y)
    assert torch.allclose(alone.coefficients, fit.coefficients[:, :2])


def test_constant_features_and_answers_are_answered_with_the_mean():
    fit = fit_ridge(torch.ones(5, 5).double(), torch.full((5, 1), 4.0).double())
    assert torch.allclose(fit.predict(torch.ones(2, 5).double()), torch.full((2, 1), 4.0).double())
    assert np.isnan(fit.left_out[0])


@pytest.mark.parametrize(
    ("products", "answers", "message"),
    [
        (torch.eye(2), torch.zeros(2, 1), "at least 3 clips"),
        (torch.eye(4), torch.zeros(5, 1), r"targets \(5, 1\)"),
        (torch.full((3, 3), float("nan")), torch.zeros(3, 1), "finite"),
    ],
)
def test_what_cannot_be_fitted_gets_a_sentence(products, answers, message):
    with pytest.raises(ValueError, match=message):
        fit_ridge(products.double(), answers.double())
