import itertools

import pytest

from vmamba_explore.training.recipe import PAPER_EPOCHS, Recipe, paper_recipe


def test_the_learning_rate_warms_up_and_falls_to_zero():
    recipe = Recipe(steps=100, learning_rate=1.0, warmup=0.1)
    rates = [recipe.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] < 0.001


def test_a_warm_up_of_no_whole_number_of_steps_goes_no_higher():
    recipe = Recipe(steps=60, learning_rate=1.0, warmup=0.02)
    assert max(recipe.learning_rate_at(step) for step in range(60)) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"learning_rate": -1.0}, {"learning_rate": float("nan")}, {"beta2": 1.0},
     {"label_smoothing": 3.0}, {"warmup": -0.1}, {"checkpoint_every": 0}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"Recipe: {next(iter(wrong))} cannot be"):
        Recipe(**wrong)


def test_the_token_loss_fades():
    recipe = Recipe(steps=10, token_loss=0.8, token_until=0.5)
    assert [recipe.token_loss_at(s) for s in (0, 5, 9)] == [0.8, 0.0, 0.0]


def test_the_paper_warms_up_for_one_epoch_and_a_field_can_be_replaced():
    recipe = paper_recipe(PAPER_EPOCHS["hmdb51"], steps_per_epoch=56)
    assert recipe.steps == 50 * 56
    rates = [recipe.learning_rate_at(step) for step in range(recipe.steps)]
    assert rates.index(max(rates)) in (55, 56) and max(rates) == pytest.approx(3e-4)
    assert recipe.label_smoothing == 0.1
    assert paper_recipe(2, 10, learning_rate=1e-3).learning_rate == 1e-3
