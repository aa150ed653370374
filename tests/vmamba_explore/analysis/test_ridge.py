"""Ridge regression by inner products, against the textbook form and against refitting."""

import numpy as np
import pytest
import torch

from vmamba_explore.analysis.ridge import fit_ridge


def planted(clips=30, features=50, noise=0.1, seed=0):
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
    x, y = planted()
    new, _ = planted(seed=1)
    fit = fit_ridge(x @ x.T, y)
    assert torch.allclose(fit.predict(new @ x.T), primal(x, y, fit.strengths[0])(new), atol=1e-9)


@pytest.mark.parametrize("strength", [1e-2, 1.0, 100.0])
def test_the_error_on_clips_left_out_is_that_of_refitting_without_them(strength):
    x, y = planted(noise=5)
    fit = fit_ridge(x @ x.T, y, strengths=[strength])
    left_out = [
        primal(x[keep], y[keep], fit.strengths[0])(x[clip : clip + 1])[0]
        for clip, keep in ((clip, torch.arange(30) != clip) for clip in range(30))
    ]
    means = torch.stack([y[torch.arange(30) != clip].mean(0) for clip in range(30)])
    expected = 1 - (y - torch.stack(left_out)).square().sum() / (y - means).square().sum()
    assert fit.left_out[0] == pytest.approx(float(expected), abs=1e-9)


def test_each_group_of_columns_gets_the_strength_that_suits_it():
    x, y = planted(clips=200)
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
