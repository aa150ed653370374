"""Gradients at hook points against what small changes there do to the logits."""

import pytest
import torch

from tests.vmamba_explore.toys import KINDS, clips_for, enliven, toy
from vmamba_explore.hooks import hook_names, hook_points
from vmamba_explore.interventions import ablate, mute, reset_state
from vmamba_explore.trace.gradients import run_with_gradients
from vmamba_explore.trace.record import TraceBudgetError, run_with_hooks, run_with_trace

EVERYTHING = [
    "*.hook_[xzuBChy]",
    "*.hook_delta",
    "*.hook_write",
    "*.hook_out",
    "*.hook_block_input",
]


def build(**changes):
    return toy(dtype=torch.float64, change=enliven, **changes)


def slope(model, clips, name, token, along, size=1e-6):
    """How the margin of class 1 to class 0 grows with the value at one token."""

    def moved(by):
        def edit(value, point):
            value = value.clone()
            value.select(point.axes.index("seqlen"), token).add_(by * along)
            return value

        with torch.no_grad():
            logits = run_with_hooks(model, clips, [(name, edit)])
        return (logits[:, 1] - logits[:, 0]).sum()

    return (moved(size) - moved(-size)) / (2 * size)


@pytest.mark.parametrize("changes", KINDS)
def test_a_gradient_at_any_place_is_what_a_small_change_there_does(changes):
    model = build(**changes)
    clips, points = clips_for(model), hook_points(model)
    logits, trace, gradients = run_with_gradients(model, clips, EVERYTHING, 1, 0)
    assert torch.equal(logits, model(clips))
    assert gradients.names == trace.names
    assert set(trace.names) == {n for n, point in points.items() if not point.read_only}
    generator = torch.Generator().manual_seed(0)
    for place, name in enumerate(trace.names):
        axis, token = points[name].axes.index("seqlen"), place % model.grid.seqlen
        gradient = gradients[name].select(axis, token)
        along = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        wanted = slope(model, clips, name, token, along)
        found = (gradient * along).sum()
        assert abs(found - wanted) < 1e-8 + 1e-6 * abs(wanted), name


def test_values_are_those_of_a_recording_and_nothing_has_a_graph():
    model = build()
    clips = clips_for(model)
    _, trace, gradients = run_with_gradients(model, clips, EVERYTHING)
    _, wanted = run_with_trace(model, clips, EVERYTHING)
    for name, value in trace.items():
        assert torch.equal(value, wanted[name])
        assert gradients[name].shape == value.shape
        assert not value.requires_grad and not gradients[name].requires_grad
    assert all(weight.grad is None for weight in model.parameters())


def test_logits_keep_their_bits_in_single_precision():
    model = toy(change=enliven)
    clips = clips_for(model)
    logits, _, gradients = run_with_gradients(model, clips, EVERYTHING)
    assert torch.equal(logits, model(clips))
    double = run_with_gradients(model.double(), clips.double(), EVERYTHING)[2]
    for name, gradient in gradients.items():
        assert (gradient - double[name]).abs().max() <= 2e-4 * double[name].abs().max(), name


def test_a_state_and_a_write_have_the_same_gradient_and_labels_for_it():
    model = build()
    _, _, gradients = run_with_gradients(model, clips_for(model), ["*.hook_h", "*.hook_write"], 2)
    states, writes = (gradients.sel(1, "backward", quantity) for quantity in ("h", "write"))
    assert states.dims == ("frame", "row", "col", "channel", "state")
    assert float(abs(states).max()) > 0
    assert (states.values == writes.values).all()


def test_the_number_may_be_any_function_of_the_logits():
    model = build()
    clips, names = clips_for(model), "layers.1.mixer.hook_out"
    labels = torch.tensor([1, 2])

    def loss(logits):
        return torch.nn.functional.cross_entropy(logits, labels)

    _, trace, gradients = run_with_gradients(model, clips, names, loss)
    with torch.enable_grad():
        logits, live = run_with_trace(model.requires_grad_(), clips, names)
        (wanted,) = torch.autograd.grad(loss(logits), live[names])
    assert torch.allclose(gradients[names], wanted, atol=1e-14)
    by_clip = run_with_gradients(model, clips, names, lambda logits: logits[:, 1])[2]
    assert torch.equal(by_clip[names], run_with_gradients(model, clips, names, 1)[2][names])
    answers = run_with_gradients(model, clips, names, logits.argmax(1))[2]
    assert torch.equal(run_with_gradients(model, clips, names)[2][names], answers[names])


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(context):
    model, names = build(), "*.ssm_forward.hook_[hu]"
    wanted = run_with_gradients(model, clips_for(model), names)[2]
    with context():
        found = run_with_gradients(model, clips_for(model), names)[2]
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_gradients_are_those_of_the_edited_run():
    model = build(num_frames=8)
    clips, name = clips_for(model), "layers.0.mixer.ssm_backward.hook_h"
    plain = run_with_gradients(model, clips, name, 1, 0)[2][name]
    for block in (
        ablate(model, "layers.1.mixer.hook_z", 0.5),
        ablate(model, "layers.0.mixer.ssm_backward.hook_C", frames=0),
    ):
        with block:
            _, _, gradients = run_with_gradients(model, clips, name, 1, 0)
            along = torch.randn(gradients[name][..., 5].shape, dtype=torch.float64)
            wanted = slope(model, clips, name, 5, along)
        assert abs((gradients[name][..., 5] * along).sum() - wanted) < 1e-9
        assert not torch.allclose(gradients[name], plain)
    with mute(model, "backward"):
        assert not run_with_gradients(model, clips, name)[2][name].any()


def test_a_write_has_its_gradient_while_writes_are_edited():
    model = build(num_frames=8)
    clips, name = clips_for(model), "layers.0.mixer.ssm_backward.hook_write"
    with ablate(model, name, frames=1):
        gradient = run_with_gradients(model, clips, name, 1, 0)[2][name]
        along = torch.randn(gradient[..., 5].shape, dtype=torch.float64)
        wanted = slope(model, clips, name, 5, along)
    assert abs((gradient[..., 5] * along).sum() - wanted) < 1e-9
    assert not torch.allclose(gradient, run_with_gradients(model, clips, name, 1, 0)[2][name])


def test_states_that_are_replaced_have_no_gradient_and_those_that_are_read_have():
    model = build(num_frames=8)
    clips, name = clips_for(model), "layers.1.mixer.ssm_forward.hook_write"
    plain = run_with_gradients(model, clips, name, 1)[2]
    with reset_state(model, 2, layers=1):
        with pytest.raises(ValueError, match="a gradient is asked for while states are replaced"):
            run_with_gradients(model, clips, name)
    with reset_state(model, 2, layers=0):
        assert not torch.equal(run_with_gradients(model, clips, name, 1)[2][name], plain[name])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"names_filter": "*.hook_A_bar"}, ValueError, "hook_A_bar is computed for reading only"),
        ({"names_filter": "*.hook_nope"}, KeyError, "No hook named"),
        ({"target": 99}, ValueError, "target is 99; this model's classes are 0 to 4"),
        ({"target": lambda logits: 3.0}, ValueError, "target returned float, expected one number"),
        ({"target": lambda logits: logits}, ValueError, r"target returned \(2, 5\), expected one"),
        ({"target": lambda logits: logits.detach().sum()}, ValueError, "leave out detach"),
        ({"target": lambda logits: logits.sum(), "minus": 1}, ValueError, "subtract minus itself"),
        ({"budget_gib": 1e-6}, TraceBudgetError, "and their gradients as much; the budget is"),
    ],
)
def test_what_cannot_be_differentiated_gets_its_sentence(given, error, message):
    model = build()
    with pytest.raises(error, match=message):
        run_with_gradients(model, clips_for(model), **given)


def test_the_gradients_are_not_taken_for_a_recording():
    model = build()
    _, trace, gradients = run_with_gradients(model, clips_for(model), "*.hook_u")
    assert trace.model is model
    with pytest.raises(ValueError, match="does not know its model"):
        gradients.mixer(0)
    assert set(hook_names(model, "*.hook_u")) == set(gradients.names)
