"""One verb, every method."""

import inspect

import pytest
import torch

from tests.vmamba_explore.toys import clips_for, toy
from vmamba_explore.attribution import gradients
from vmamba_explore.attribution.budget import Limits
from vmamba_explore.attribution.methods import METHODS, attribute, method_function
from vmamba_explore.attribution.problem import State
from vmamba_explore.edits import current
from vmamba_explore.model.checkpoints import fingerprint

CHEAP = {
    "integrated_gradients": {"n_steps": 3},
    "gradient_shap": {"n_samples": 3},
    "noise_tunnel": {"nt_samples": 2},
    "layer_integrated_gradients": {"n_steps": 3},
    "occlusion": {"sliding_window_shapes": (2, 16, 16)},
    "feature_ablation": {"unit": "frames"},
    "shapley_value_sampling": {"unit": "frames", "n_samples": 2},
    "kernel_shap": {"unit": "frames", "n_samples": 5},
    "drop_tokens": {"unit": "frames"},
    "extremal_perturbation": {"areas": (0.3,), "n_steps": 2},
}


@pytest.fixture
def model():
    model = toy().train()
    model.class_names = ("a", "b", "c", "d", "e")
    return model


def untouched(model):
    return model.training and all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.filterwarnings("ignore:deep_lift")
@pytest.mark.parametrize("method", METHODS)
def test_a_method_maps_every_clip_and_repeats_itself(model, clips, method):
    before = fingerprint(model)
    first = attribute(model, clips, method=method, progress=False, **CHEAP.get(method, {}))
    assert untouched(model) and first.model_id == before
    assert not current().blocks
    assert first.tokens().shape == (2, 2, 2, 2)
    assert first.cost.seconds > 0
    torch.testing.assert_close(first.output, model(clips).amax(1).detach())
    torch.manual_seed(7)  # what else was random must not matter
    again = attribute(model, clips, **first.call)
    assert torch.equal(first.values, again.values)
    assert fingerprint(model) == before


@pytest.mark.filterwarnings("ignore:deep_lift")
@pytest.mark.parametrize(
    "changes",
    [{"pool_norm": True}, {"cls_position": "every_frame"}, {"scan_variant": "videomambapro"}],
    ids=str,
)
@pytest.mark.parametrize("method", METHODS)
def test_a_class_is_explained_like_its_direction_over_the_features_of_the_encoder(method, changes):
    """The head's bias is all that a class has more."""
    model = toy(dtype=torch.float64, **changes)
    clips, options = clips_for(model), {**CHEAP.get(method, {}), "progress": False}
    of_class = attribute(model, clips, [2, 0], method, minus=1, **options)
    head = model.head.weight.detach()
    direction = head[[2, 0]] - head[1]
    of_direction = attribute(model.encoder(), clips, direction, method, **options)
    size = float(of_class.values.abs().max())
    assert torch.allclose(of_direction.values, of_class.values, rtol=1e-6, atol=1e-9 * size)
    with torch.no_grad():
        wanted = (model.embed(clips) * direction).sum(-1)
    torch.testing.assert_close(of_direction.output, wanted)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_what_it_is(method):
    function = method_function(method)
    assert function.__doc__
    options = list(inspect.signature(function).parameters.values())[1:]
    for option in options:
        assert option.kind in (option.KEYWORD_ONLY, option.VAR_KEYWORD)
        assert option.kind is option.VAR_KEYWORD or f"{option.name}:" in function.__doc__


@pytest.mark.filterwarnings("ignore:deep_lift")
@pytest.mark.parametrize("method", ["saliency", "occlusion", "mamba_lrp", "feature_ablation"])
def test_a_clip_is_explained_the_same_alone_and_among_others(model, clips, method):
    options = {"progress": False, **CHEAP.get(method, {})}
    both = attribute(model, clips, [1, 3], method, **options)
    alone = attribute(model, clips[1:], 3, method, **options)
    torch.testing.assert_close(both.values[1], alone.values[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    [
        *("integrated_gradients", "layer_grad_cam", "layer_integrated_gradients"),
        *("occlusion", "feature_ablation", "drop_tokens"),
    ],
)
def test_a_small_budget_changes_nothing(method):
    model = toy(dtype=torch.float64)
    clips = clips_for(model)
    whole, small = (
        attribute(model, clips, [1, 3], method, budget_gib=budget).values for budget in (1, 0.008)
    )
    torch.testing.assert_close(whole, small, rtol=1e-9, atol=1e-13)


COMPARING = {
    "integrated_gradients": {"n_steps": 2},
    "deep_lift": {},
    "noise_tunnel": {"of": "integrated_gradients", "nt_samples": 1, "stdevs": 0, "n_steps": 2},
    "layer_integrated_gradients": {"n_steps": 2},
    "occlusion": {"sliding_window_shapes": (2, 16, 16)},
    "feature_ablation": {"unit": "frames"},
    "gradient_shap": {"n_samples": 1},
}


@pytest.mark.filterwarnings("ignore:deep_lift")
@pytest.mark.parametrize("method", COMPARING)
def test_each_clip_has_its_own_baseline_in_every_group_of_clips(model, method, monkeypatch):
    clips, base = torch.randn(2, 3, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(Limits, "within", lambda *a, **o: Limits(2, 2, False, 2**20, 2**20))

    def values(rows):
        given = (base[rows],) if method == "gradient_shap" else base[rows]
        options = {"baselines": given, **COMPARING[method]}
        return attribute(model, clips[rows], 0, method, progress=False, **options).values

    together = values(slice(None))
    for clip in range(3):
        alone = values(slice(clip, clip + 1))
        torch.testing.assert_close(together[clip], alone[0], rtol=1e-4, atol=1e-6)


def test_captum_does_not_lecture(model, clips, recwarn):
    for method in ("saliency", "input_x_gradient"):
        attribute(model, clips, 0, method)
    assert not recwarn.list


def test_inference_mode_is_no_obstacle(model, clips):
    expected = attribute(model, clips, 0, "saliency")
    with torch.inference_mode():
        found = attribute(model, clips * 1, 0, "saliency")
    assert torch.equal(found.values, expected.values)


def test_a_class_can_be_named(model, clips):
    by_name = attribute(model, clips, "c", "saliency", minus=["a", "b"])
    by_number = attribute(model, clips, 2, "saliency", minus=torch.tensor([0, 1]))
    assert torch.equal(by_name.values, by_number.values)
    torch.testing.assert_close(by_name.output, (model(clips)[:, 2] - model(clips)[[0, 1], [0, 1]]))


def test_nothing_stays_changed_after_an_error(model, clips, monkeypatch):
    def interrupted(problem):
        raise KeyboardInterrupt

    monkeypatch.setattr(gradients, "input_x_gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attribute(model, clips, method="input_x_gradient")
    assert untouched(model)


def test_another_model_has_another_fingerprint(model, clips):
    before = attribute(model, clips, 0, "random").model_id
    with torch.no_grad():
        model.head.weight[0, 0] += 1e-3
    assert attribute(model, clips, 0, "random").model_id != before


ERRORS = [
    ({"method": "salience"}, KeyError, "no method 'salience'. Closest: 'saliency'"),
    ({"method": "saliency", "steps": 3}, TypeError, "saliency has no option 'steps'.*abs"),
    ({"method": "input_x_gradient", "abs": 1}, TypeError, "no option 'abs'; it has no options"),
    ({"target": 5}, ValueError, "target is 5; this model's classes are 0 to 4"),
    ({"minus": "z"}, ValueError, "attribute: minus is 'z'; this model knows a, b, c, d, e"),
    ({"target": State(2, "forward", 0, 0, 0)}, ValueError, "no layer 2 'forward'"),
    ({"target": State(0, "forward", 9, 0, 0)}, ValueError, "token is 9; this model has 0 to 8"),
    ({"target": State(0, "forward", 0, 0, 0), "minus": 1}, ValueError, "minus goes with a class"),
    ({"target": [1, 2], "minus": 2}, ValueError, "target and minus are the same class"),
    ({"budget_gib": -1}, ValueError, "budget_gib is -1"),
    ({"method": "integrated_gradients", "n_steps": 0}, ValueError, "n_steps is 0"),
    (
        {"method": "integrated_gradients", "integration": "simpson"},
        ValueError,
        "integration is 'simpson'; expected one of gausslegendre, riemann_left",
    ),
    ({"method": "occlusion", "sliding_window_shapes": 16}, ValueError, "expected .frames, height"),
    ({"method": "feature_ablation", "unit": "pixels"}, ValueError, "unit='pixels' would take"),
    ({"method": "noise_tunnel", "nt_type": "x"}, ValueError, "nt_type must be smoothgrad"),
    ({"method": "noise_tunnel", "n_steps": 3}, TypeError, "saliency has no option 'n_steps'"),
    ({"method": "noise_tunnel", "of": "lrp"}, ValueError, "of must be saliency"),
    ({"method": "layer_grad_cam", "layer": 2}, ValueError, "no layer 2; the model has 0 to 1"),
    (
        {"method": "layer_grad_cam", "target": State(0, "forward", 0, 0, 0)},
        ValueError,
        "reads logits, and the target is a State",
    ),
    ({"clips": torch.zeros(1, 3, 2, 32, 32)}, ValueError, "num_frames 2, this model expects 4"),
    ({"clips": torch.full((1, 3, 4, 32, 32), torch.nan)}, ValueError, "that are not finite"),
]


@pytest.mark.parametrize(("arguments", "kind", "words"), ERRORS)
def test_a_mistake_gets_its_sentence(model, clips, unchecked, arguments, kind, words):
    with pytest.raises(kind, match=words):
        attribute(model, **({"clips": clips} | arguments))


def test_a_model_that_drops_tokens_is_refused(model, clips):
    with model.only_tokens(range(5)), pytest.raises(ValueError, match="tokens are being dropped"):
        attribute(model, clips)
