"""The classes that a caller chooses, checked once, and the number that they read from logits."""

import numpy as np
import pytest
import torch

from vmamba_explore.model.contrast import Contrast, name_of

LOGITS = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])


@pytest.fixture
def model(untrained_model):
    untrained_model.class_names = ("right", "left", "up")
    return untrained_model


@pytest.mark.parametrize(
    ("target", "minus", "expected"),
    [
        (2, None, [4, 32]),
        ("left", None, [2, 16]),
        ([0, 2], "left", [-1, 16]),
        (["up", 0], torch.tensor([1, 2]), [2, -24]),
        (torch.tensor(0), ("up", "up"), [-3, -24]),
        (Contrast(torch.tensor([2, 1]), torch.tensor([1, 0])), None, [2, 8]),
        (Contrast(torch.tensor([2, 1])), 0, [3, 8]),
        (None, 0, [3, 24]),  # the class that the logits name
    ],
    ids=str,
)
def test_classes_by_number_or_name_for_all_clips_or_each(model, target, minus, expected):
    contrast = Contrast.of(model, 2, target, minus, logits=LOGITS)
    assert contrast.of_logits(LOGITS).tolist() == expected
    assert contrast.target.shape == (2,)


def test_repeated_rows_keep_their_clips_classes(model):
    contrast = Contrast.of(model, 2, [0, 2], [1, 1]).take(torch.tensor([1, 0, 1]))
    assert contrast.of_logits(LOGITS[[1, 0, 1]]).tolist() == [16, -1, 16]
    assert Contrast.of(model, 2, [0, 2]).take(slice(1, 2)).minus is None


def test_half_precision_logits_are_subtracted_in_float32(model):
    logits = torch.tensor([[256.0, 1.0, 0.0]], dtype=torch.bfloat16)
    assert Contrast.of(model, 1, 0, 1).of_logits(logits).item() == 255


@pytest.mark.parametrize(
    ("target", "minus", "words"),
    [
        (3, None, "call: target is 3; this model's classes are 0 to 2"),
        ([0, -1], None, "call: target is -1; this model's classes are 0 to 2"),
        (0, [0, 1, 2], r"call: minus has shape \(3,\), expected one class, .* each of the 2 clips"),
        (torch.zeros(1, 1).long(), None, r"call: target has shape \(1, 1\)"),
        (0.5, None, "call: target is torch.float32, expected class numbers, whole numbers"),
        (0, True, "call: minus is torch.bool, expected class numbers"),
        (0, "down", "call: minus is 'down'; this model knows right, left, up. A class number"),
        (None, 0, "call: target is None, expected a class"),
        ([0, 1], 1, r"call: target and minus are the same class \(left\) for at least one clip"),
    ],
)
def test_what_is_no_class_is_named_with_its_call_and_argument(
    model, target, minus, words, unchecked
):
    with pytest.raises(ValueError, match=words):
        Contrast.of(model, 2, target, minus, "call", distinct=True)


def test_without_names_a_class_has_its_number(model, unchecked):
    model.class_names = None
    with pytest.raises(ValueError, match=r"labels and twins are the same class \(class 1\)"):
        Contrast.of(model, 2, 1, 1, names=("labels", "twins"), distinct=True)
    with pytest.raises(ValueError, match="'left'; it has no class names. A class number works"):
        Contrast.of(model, 2, "left")


@pytest.mark.parametrize("of", [torch.Tensor, np.asarray], ids=["tensor", "array"])
def test_a_direction_over_the_output_stands_in_place_of_a_class(model, of):
    target = Contrast.of(model, 2, of(torch.tensor([1.0, -1, 0.5])))
    assert target.of_logits(LOGITS).tolist() == [1, 8] and not target.is_of_classes
    each = Contrast.of(model, 2, of(torch.tensor([[1.0, 0, 0], [0, 0, 1]])), "right")
    assert each.of_logits(LOGITS).tolist() == [0, 24]
    assert each.take([1]).of_logits(LOGITS[1:]).tolist() == [24]
    assert name_of(model, each.target[0]) == "the direction"


def test_a_direction_over_logits_is_one_over_the_features_too(model):
    features = torch.randn(2, 16)
    contrast = Contrast.of(model, 2, torch.randn(2, 3), torch.tensor([2, 0]))
    weight, bias = contrast.of_features(model)
    wanted = contrast.of_logits(model.head(features))
    assert torch.allclose((features * weight).sum(-1) + bias, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            torch.zeros(4),
            r"call: target has shape \(4,\) .* or a direction .*: \(16,\), or \(2, 16\)",
        ),
        (torch.zeros(3, 16), r"shape \(3, 16\)"),
        (torch.full((16,), torch.nan), "numbers that are not finite"),
        (1, "call: target is a class, and this model is an encoder.* 16 floating-point numbers"),
        ("right", "call: target is a class, and this model is an encoder"),
        (
            None,
            "target is None, expected a direction over the features .* 16 floating-point",
        ),
    ],
    ids=str,
)
def test_an_encoder_wants_a_direction_over_its_features(model, target, words):
    with pytest.raises(ValueError, match=words):
        Contrast.of(model.encoder(), 2, target, call="call", logits=torch.zeros(2, 16))


def test_the_same_direction_twice_leaves_nothing_to_explain(model):
    direction = torch.randn(16)
    with pytest.raises(ValueError, match="the same direction for at least one clip"):
        Contrast.of(model.encoder(), 2, direction, direction, "call", distinct=True)
