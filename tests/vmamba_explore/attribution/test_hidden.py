"""Maps from inside the scans, against dense matrices, plain autograd and finite differences."""

import pytest
import torch

from tests.vmamba_explore.analysis.dense import dense
from tests.vmamba_explore.attribution.cases import (
    MINUS,
    QUANTITIES,
    TARGET,
    build,
    by_scan,
    same,
    sliced,
)
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.analysis.rollout import attention_rollout as rollout_of_trace
from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.attribution.hidden import (
    attention_rollout,
    attention_x_gradient,
    delta,
    delta_x_gradient,
    selection_path,
)
from vmamba_explore.attribution.methods import attribute, make_problem
from vmamba_explore.attribution.problem import State
from vmamba_explore.attribution.states import state_gradient, state_x_gradient
from vmamba_explore.hooks import hook_points
from vmamba_explore.trace.record import run_with_hooks, run_with_trace

METHODS = [attention_rollout, attention_x_gradient, delta, delta_x_gradient, selection_path]
ALL = [*METHODS, state_gradient, state_x_gradient]
STATE = State(0, "forward", 4, 0, 0)


def test_attention_x_gradient_is_alpha_times_its_gradient_summed_over_readers(case):
    model, problem, trace, gradients = case

    def attended(at, layer, direction):
        alpha = dense(trace, layer, direction)
        skip = torch.diag_embed(trace.ssm(layer, direction).D.detach()[:, None].expand(
            -1, alpha.shape[-1]
        ))  # fmt: skip
        of_alpha = gradients[at + "y"][..., :, None] * trace[at + "u"].detach()[..., None, :]
        return ((alpha - skip) * of_alpha).sum((1, 2))

    found = attention_x_gradient(problem)
    expected = by_scan(model, attended)
    assert same(found.details.values, expected)
    assert same(found.values, expected.sum((1, 2)))


def test_it_is_what_one_scan_of_the_transposed_operator_gives(case):
    model, problem, trace, gradients = case

    def adjoint(at, layer, direction):
        operator = ScanOperator.from_trace(trace, layer=layer, direction=direction)
        v = gradients[at + "y"]
        D = trace.ssm(layer, direction).D.detach()[:, None]
        return (trace[at + "u"] * (operator.T @ v - D * v)).sum(1)

    found = attention_x_gradient(problem).details.values
    assert same(found, by_scan(model, adjoint))


@pytest.mark.parametrize("of", [("delta",), ("B",), ("C",), ("delta", "B", "C")])
def test_the_selection_path_is_value_times_gradient_of_the_whole_model(case, of):
    model, problem, trace, gradients = case
    expected = by_scan(
        model, lambda at, *_: sum((trace[at + q] * gradients[at + q]).sum(1) for q in of)
    )
    found = selection_path(problem, of=of)
    assert same(found.details.values, expected)
    assert same(found.values, expected.sum((1, 2)))
    if of == ("delta",):
        assert torch.equal(delta_x_gradient(problem).values, found.values)


def test_delta_is_the_mean_step_size_over_channels_layers_and_directions(case):
    model, problem, trace, _ = case
    expected = by_scan(model, lambda at, *_: trace[at + "delta"].mean(1))
    found = delta(problem)
    assert same(found.details.values, expected)
    assert same(found.values, expected.mean((1, 2)))


def test_layers_and_directions_are_those_asked_for(case):
    model, problem, _, _ = case
    last = model.config.directions[-1]
    for method in (attention_x_gradient, delta_x_gradient, selection_path, delta):
        whole = method(problem).details
        one = method(problem, layers=1, direction=last).details
        assert (one.layers, one.directions) == ((1,), (last,))
        assert torch.equal(one.values[:, 0, 0], whole.values[:, 1, -1])


def test_growing_every_step_size_at_a_token_by_a_share_changes_the_logit_by_as_much(case):
    model, problem, _, _ = case
    found, share = delta_x_gradient(problem, layers=1).values, 1e-5

    def number(scale):
        def grown(value, point):
            value = value.clone()
            value[..., 3] *= scale
            return value

        hooks = [("layers.1.mixer.ssm_*.hook_delta", grown)]
        with torch.no_grad():
            return problem.pick(run_with_hooks(model, problem.inputs, hooks))

    slope = (number(1 + share) - number(1 - share)) / (2 * share)
    assert torch.allclose(found[:, 3], slope, rtol=1e-5)


def test_the_roll_out_is_that_of_a_full_recording(case):
    model, problem, _, _ = case
    for kind in ("alpha", "beta"):
        with torch.no_grad():
            _, trace = run_with_trace(model, problem.inputs, ScanOperator.names(None, kind))
        found = attention_rollout(problem, kind=kind)
        assert torch.allclose(found.values, rollout_of_trace(trace, kind=kind).values[:, 0])
        assert torch.allclose(found.values.sum(1), torch.ones(2, dtype=torch.float64))


def test_positive_keeps_what_adds_in_each_layer_and_direction():
    problem = make_problem(*build(), TARGET)
    signed = attention_x_gradient(problem).details.values
    found = attention_x_gradient(problem, positive=True)
    assert (signed < 0).any()
    assert torch.equal(found.values, signed.clamp_min(0).sum((1, 2)))


@pytest.mark.parametrize("method", ALL)
def test_clips_in_groups_get_the_maps_that_they_get_together(method):
    problem = make_problem(*build(), TARGET, minus=MINUS)
    one_by_one = sliced(problem, forward_rows=1, gradient_rows=1, recompute=True)
    together, apart = method(problem), method(one_by_one)
    assert torch.allclose(together.values, apart.values, rtol=1e-10)
    name = "products" if method is state_gradient else "values"
    details = [getattr(found.details, name) for found in (apart, together)]
    assert details[0].shape == details[1].shape and torch.allclose(*details, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_found_by_its_name_and_counts_what_it_takes(method):
    model, clips = build()
    found = attribute(model, clips, TARGET, method.__name__, progress=False)
    assert found.tokens().shape == (2, *model.grid.shape)
    assert found.cls.shape == (2,)
    gradients = method not in (attention_rollout, delta)
    assert (found.cost.forward, found.cost.backward) == (4, 2 * gradients)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(
    ("method", "of"),
    [
        (attention_x_gradient, ["B"]),
        (delta_x_gradient, ["delta"]),
        (selection_path, ["delta", "B", "C"]),
    ],
)
def test_a_state_is_explained_by_the_scans_up_to_its_own(method, of, layer):
    model, clips = build(backward_order="spatial")
    state = State(layer, "backward", token=4, channel=3, state=2)
    problem = make_problem(model, clips, state)
    with torch.enable_grad():
        _, trace = run_with_trace(model, clips, [*QUANTITIES, "*.hook_h"])
        number = trace[state.hook][:, 3, 2, 4].sum()
        gradients = torch.autograd.grad(number, list(trace.values()), materialize_grads=True)
    gradients = dict(zip(trace, gradients, strict=True))
    expected = by_scan(
        model, lambda at, *_: sum((trace[at + q] * gradients[at + q]).sum(1) for q in of)
    )
    found = method(problem)
    assert found.details.layers == tuple(range(layer + 1))
    assert same(found.details.values, expected[:, : layer + 1])
    assert found.values.abs().max() > 0
    if method is attention_x_gradient:  # all that a state holds was written, decay frozen
        assert torch.allclose(found.details.values[:, layer].sum((1, 2)), problem(clips))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (attention_x_gradient, {"layers": 7}, "no layer 7; the model has 0 to 1"),
        (delta, {"direction": "up"}, "no direction 'up'; expected 'forward' or 'backward'"),
        (selection_path, {"of": ("u",)}, "one or more of delta, B, C, got"),
        (selection_path, {"of": "delta"}, "a list of one or more of delta, B, C, got 'delta'"),
        (selection_path, {"of": ()}, "one or more of delta, B, C, got"),
        (attention_rollout, {"kind": "gamma"}, "kind must be alpha or beta, got 'gamma'"),
        (attention_rollout, {"sampled": 0}, "sampled must be at least 1, got 0"),
        (attention_rollout, {"target": STATE}, "what the logits read, and the target is a State"),
        (delta, {"target": STATE, "layers": 1}, "layer 0, which no later layer changes"),
        (selection_path, {"target": STATE, "layers": 1}, "layer 0, which no later layer changes"),
        (state_gradient, {"layer": 2}, "no layer 2; the model has 0 to 1"),
        (state_gradient, {"layer": -3}, "no layer -3; the model has 0 to 1"),
        (state_gradient, {"direction": "up"}, "no direction 'up'"),
        (state_gradient, {"tokens": 99}, "there is no token 99"),
        (state_gradient, {"tokens": []}, "tokens is empty, expected at least one natural index"),
    ],
)
def test_a_wrong_option_gets_its_sentence(method, options, message):
    options = {"target": TARGET} | options
    problem = make_problem(*build(), options.pop("target"))
    with pytest.raises(ValueError, match=message):
        method(problem, **options)


@pytest.mark.parametrize("method", ALL)
def test_no_hook_survives_an_interruption(method, monkeypatch):
    model, clips = build()
    problem = make_problem(model, clips, TARGET)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(model.layers[1].mixer, "_gated", interrupted)
    with pytest.raises(KeyboardInterrupt):
        method(problem)
    assert not any(point.functions for point in hook_points(model).values())


@pytest.mark.parametrize("method", METHODS)
def test_memory_does_not_grow_with_the_depth_but_by_the_inputs_of_blocks(method):
    peaks = []
    for depth in (2, 8):
        model, clips = build(torch.float32, depth=depth, d_model=24, num_frames=32)
        problem = make_problem(model, clips, TARGET)
        peaks.append(peak_bytes(lambda problem=problem: method(problem)))
    entering = 6 * 2 * model.grid.seqlen * 24 * 4
    assert peaks[1] - peaks[0] < 1.5 * entering


@pytest.mark.parametrize("variant", ["mamba", "videomambapro"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_what_was_written_at_every_token_is_all_that_a_state_of_the_same_scan_holds(
    variant, direction
):
    model, clips = build(scan_variant=variant)
    for token in (0, 5, model.grid.seqlen - 1):
        state = State(1, direction, token, 2, 1)
        problem = make_problem(model, clips, state)
        found = attention_x_gradient(problem, layers=1, direction=direction)
        assert same(found.values.sum(1), problem(problem.inputs))
        carried = state_x_gradient(problem, layers=1, direction=direction).values
        assert same(carried[:, token], problem(problem.inputs))
