"""An attribution's values on pixels and tokens."""

from dataclasses import replace

import pytest
import torch

from vmamba_explore.attribution.conservation import Conservation
from vmamba_explore.attribution.result import Attribution, Cost, Found, finite, joined
from vmamba_explore.tokens import TokenGrid
from vmamba_explore.trace.trace import TokenLabels

GRID = TokenGrid(2, 3, 3, "middle")


def attribution(values, seconds=None):
    zeros = torch.zeros(len(values))
    labels = TokenLabels(GRID, 2, seconds)
    return Attribution(values, "made up", {}, None, zeros, None, None, Cost(), labels)


@pytest.fixture
def on_pixels():
    return attribution(torch.randn(2, 3, 4, 12, 12))


@pytest.fixture
def on_tokens():
    return attribution(torch.randn(2, 19))


def test_a_token_holds_the_sum_of_its_tubelet(on_pixels):
    tokens = on_pixels.tokens()
    by_hand = on_pixels.values[1, :, 2:4, 4:8, 8:12].sum()
    torch.testing.assert_close(tokens[1, 1, 1, 2], by_hand)
    torch.testing.assert_close(tokens.flatten(1).sum(1), on_pixels.values.flatten(1).sum(1))


def test_positive_parts_are_taken_before_a_tubelet_is_summed(on_pixels):
    pixels = on_pixels.values.sum(1)
    positive = on_pixels.tokens("positive")
    torch.testing.assert_close(positive[0, 0, 0, 0], pixels[0, :2, :4, :4].clamp_min(0).sum())
    torch.testing.assert_close(on_pixels.tokens("abs") - positive, positive - on_pixels.tokens())


def test_the_class_token_is_kept_apart(on_tokens):
    assert torch.equal(on_tokens.cls, on_tokens.values[:, GRID.cls_index])
    torch.testing.assert_close(
        on_tokens.tokens().flatten(1).sum(1) + on_tokens.cls, on_tokens.values.sum(1)
    )
    torch.testing.assert_close(on_tokens.frames(), on_tokens.tokens().sum((2, 3)))


def test_an_array_says_when_and_what(on_tokens):
    timed = attribution(on_tokens.values, [[0.0, 0.1, 0.2, 0.3], [1.0, 1.1, 1.2, 1.3]])
    array = timed.array(1, "abs")
    assert array.dims == ("frame", "row", "col")
    assert array.seconds.values.tolist() == [1.0, 1.2]
    assert array.attrs["method"] == "made up" and array.attrs["part"] == "abs"
    assert float(array.min()) >= 0


def test_questions_that_have_no_answer_are_refused(on_tokens, unchecked):
    with pytest.raises(ValueError, match="made up attributes to tokens.*use tokens"):
        on_tokens.pixels()
    with pytest.raises(ValueError, match="signed, positive or abs, got 'negative'"):
        on_tokens.tokens("negative")
    with pytest.raises(ValueError, match="made up keeps no ledger.*mamba_lrp"):
        on_tokens.conservation  # noqa: B018


def test_relevance_has_a_ledger(on_tokens):
    zeros = torch.zeros(2)
    ledger = Conservation({"tokens": zeros}, zeros, zeros, zeros.view(2, 1))
    assert replace(on_tokens, details=ledger).conservation is ledger


def test_groups_of_clips_are_joined_in_order():
    parts = [Found(torch.full((n, 4), float(n)), details={"a": torch.ones(n)}) for n in (2, 1)]
    found = joined(parts)
    assert found.values[:, 0].tolist() == [2.0, 2.0, 1.0]
    assert found.baseline_output is None and found.details["a"].shape == (3,)


def test_values_that_are_not_finite_are_an_error():
    with pytest.raises(FloatingPointError, match="made up gave values that are not finite"):
        finite(torch.tensor([1.0, torch.nan]), "made up")
