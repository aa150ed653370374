"""State times gradient, against a loop over tokens, finite differences, and Captum's neurons."""

import pytest
import torch
from captum.attr import NeuronGradient, NeuronIntegratedGradients
from torch import nn

from tests.vmamba_explore.attribution.cases import TARGET, build, by_scan, same
from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.attribution.hidden import attention_x_gradient
from vmamba_explore.attribution.methods import attribute, make_problem
from vmamba_explore.attribution.problem import State
from vmamba_explore.attribution.states import state_gradient, state_x_gradient
from vmamba_explore.trace.record import run_with_hooks


@pytest.fixture(scope="module")
def states(case):
    """Return by layer and direction all states and their gradients."""
    model, _, trace, gradients = case
    found = {}
    for layer in range(2):
        for direction in model.config.directions:
            at = f"layers.{layer}.mixer.ssm_{direction}.hook_"
            inputs = [trace[at + q].detach() for q in ("u", "delta", "B", "C")]
            found[layer, direction] = by_hand(
                trace.ssm(layer, direction), *inputs, gradients[at + "y"]
            )
    return found


def by_hand(ssm, u, delta, B, C, v):
    """Every state and the gradient for it, (batch, d_inner, d_state, seqlen), by a loop."""
    h, states, y = torch.zeros(*u.shape[:2], B.shape[1], dtype=u.dtype), {}, 0
    order = ssm.steps(u.shape[-1]).tolist()
    if ssm.starts_from_first:
        h = u[..., order[0], None].expand_as(h)
    for t in order:
        step = delta[..., t, None]
        wrote = step * B[:, None, :, t] * u[..., t, None]
        h = torch.exp(step * ssm.A.detach()) * h + wrote
        states[t] = h = h.requires_grad_()
        read = (h - wrote) * (t != order[0]) if ssm.leaves_out_own else h
        y = y + ((read * C[:, None, :, t]).sum(-1) * v[..., t]).sum()
    gradients = torch.autograd.grad(y, [states[t] for t in range(u.shape[-1])])
    both = [states[t] for t in range(u.shape[-1])], gradients
    return tuple(torch.stack(list(side), -1).detach() for side in both)


def test_state_x_gradient_is_the_sum_over_channels_and_states(case, states):
    model, problem, *_ = case
    found = state_x_gradient(problem)
    expected = by_scan(model, lambda _, *place: torch.mul(*states[place]).sum((1, 2)))
    assert same(found.details.values, expected)
    assert same(found.values, expected.sum((1, 2)))


def test_state_gradient_has_every_number_of_the_state(case, states):
    _, problem, *_ = case
    tokens = [0, 3, 7]
    for (layer, direction), (h, g) in states.items():
        found = state_gradient(problem, layer=layer, direction=direction, tokens=tokens)
        details = found.details
        assert same(details.states, h[..., tokens])
        assert same(details.gradients, g[..., tokens])
        assert same(found.values[:, tokens], (h * g)[..., tokens].abs().sum((1, 2)))
        others = [token for token in range(h.shape[-1]) if token not in tokens]
        assert not found.values[:, others].any()


def test_by_default_the_states_are_those_handed_on_from_frame_to_frame(case, states):
    model, problem, *_ = case
    direction = model.config.directions[-1]
    found = state_gradient(problem, layer=-1, direction=direction).details
    ends = frame_ends(model, direction)[1].sort().values
    assert (found.layer, found.tokens) == (1, tuple(ends.tolist()))
    assert same(found.products, torch.mul(*states[1, direction])[..., ends])


def test_growing_a_whole_state_by_a_share_changes_the_logit_by_as_much(case):
    model, problem, *_ = case
    share, direction = 1e-5, model.config.directions[-1]
    found = state_x_gradient(problem, layers=0, direction=direction).values

    def number(scale):
        def grown(h, point):
            h = h.clone()
            h[..., 5] *= scale
            return h

        hooks = [(f"layers.0.mixer.ssm_{direction}.hook_h", grown)]
        with torch.no_grad():
            return problem.pick(run_with_hooks(model, problem.inputs, hooks))

    slope = (number(1 + share) - number(1 - share)) / (2 * share)
    assert torch.allclose(found[:, 5], slope, rtol=1e-5)


def test_at_the_last_token_of_a_scan_only_its_own_reading_is_left(case, states):
    _, problem, *_ = case
    found = state_x_gradient(problem).details
    for (layer, direction), (h, g) in states.items():
        steps = problem.model.layers[layer].mixer.directions[direction].steps(h.shape[-1])
        mine = found.values[:, layer, found.directions.index(direction)]
        assert same(mine[:, steps[-1]], (h * g)[..., steps[-1]].sum((1, 2)))
        first = attention_x_gradient(problem, layers=layer, direction=direction).values
        written = first[:, steps[0]]  # all there is at the first token
        assert torch.allclose(mine[:, steps[0]], written, atol=1e-12 * float(first.abs().max()))


def test_nobody_reads_the_last_forward_states_where_the_class_token_stands_in_front():
    problem = make_problem(*build(), TARGET)
    assert not state_gradient(problem, layer=-1, tokens=[5]).values.any()
    assert state_gradient(problem, layer=-1, direction="backward", tokens=[5]).values[:, 5].all()
    assert state_gradient(problem, tokens=[5]).values[:, 5].all()


def test_the_scale_of_the_states_changes_their_gradients_and_no_product():
    model, clips = build()
    problem = make_problem(model, clips, TARGET)
    before, one = state_x_gradient(problem), state_gradient(problem, layer=1).details
    with torch.no_grad():
        ssm = model.layers[1].mixer.ssm_forward
        rank, states, _ = ssm.split_sizes
        ssm.x_proj.weight[rank : rank + states] *= 8
        ssm.x_proj.weight[rank + states :] /= 8
    after, other = state_x_gradient(problem), state_gradient(problem, layer=1).details
    assert same(after.values, before.values)
    assert same(other.products, one.products)
    assert same(other.gradients * 8, one.gradients)


def test_in_float32_it_keeps_five_digits_of_what_passes():
    model, clips = build(num_frames=32)
    exact = state_x_gradient(make_problem(model, clips, TARGET)).values
    found = state_x_gradient(make_problem(model.float(), clips.float(), TARGET)).values
    assert (found - exact).abs().max() < 1e-5 * exact.abs().max()


def test_state_x_gradient_takes_no_more_memory_where_there_are_more_states():
    peaks = []
    for d_state in (4, 16):
        model, clips = build(torch.float32, d_state=d_state, num_frames=16, d_model=96)
        problem = make_problem(model, clips, TARGET)
        peaks.append(peak_bytes(lambda problem=problem: state_x_gradient(problem)))
    more_states = 4 * 2 * model.config.d_inner * 12 * model.grid.seqlen
    assert peaks[1] - peaks[0] < 0.2 * more_states


def test_the_strongest_numbers_are_targets_themselves():
    model, clips = build()
    problem = make_problem(model, clips, TARGET)
    details = state_gradient(problem, layer=1, direction="backward").details
    ranked = details.strongest(clip=1, count=3)
    sizes = [abs(product) for _, product in ranked]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == float(details.products[1].abs().max())
    state, product = ranked[0]
    place = (1, state.channel, state.state, details.tokens.index(state.token))
    assert float(details.products[place]) == product
    explained = attribute(model, clips[1:], state, "attention_x_gradient", progress=False)
    assert torch.allclose(explained.output, details.states[place])


def test_the_array_names_tokens_channels_and_states():
    problem = make_problem(*build(), TARGET)
    details = state_gradient(problem, tokens=[0, 4]).details
    array = details.array(1)
    assert array.dims == ("token", "channel", "state")
    assert array["token"].values.tolist() == [0, 4]
    assert array["frame"].values.tolist() == [-1, 0]
    assert float(array[1, 2, 3]) == pytest.approx(float(details.products[1, 2, 3, 1]), rel=1e-6)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_states_are_explained_by_earlier_states_of_their_own_scan_too(direction):
    model, clips = build(backward_order="temporal")
    state = State(1, direction, token=4, channel=3, state=2)
    problem = make_problem(model, clips, state)
    found = state_x_gradient(problem)
    assert found.details.layers == (0, 1)

    steps = model.layers[1].mixer.directions[direction].steps(model.grid.seqlen).tolist()
    before = steps[: steps.index(4) + 1]
    numbers = problem(clips)
    mine = found.details.values[:, 1, found.details.directions.index(direction)]
    everywhere = list(range(model.grid.seqlen))
    details = state_gradient(problem, layer=1, direction=direction, tokens=everywhere).details
    assert same(mine, details.products.sum((1, 2)))
    left = details.gradients[:, 3, 2]  # what is left of an earlier state by then
    assert ((left[:, before] > 0) & (left[:, before] <= 1)).all()
    assert details.gradients.count_nonzero() == 2 * len(before)
    assert torch.allclose(mine[:, 4], numbers)


# ------------------------------------------------------------- hidden-state targets


class Observed(nn.Module):
    """The model as Captum's neuron methods want it: the states pass a module they can hook."""

    def __init__(self, model, state):
        super().__init__()
        self.model = model
        self.name = state.hook
        self.h = model.get_submodule(state.hook)

    def forward(self, clips):
        return run_with_hooks(self.model, clips, [(self.name, lambda h, point: None)])


STATES = [
    State(0, "forward", token=6, channel=3, state=2),
    State(1, "backward", token=2, channel=0, state=0),
]


@pytest.mark.parametrize("state", STATES, ids=["layer 0", "layer 1"])
@pytest.mark.parametrize("cls_position", ["front", "middle", None])
def test_saliency_of_a_state_is_captum_s_neuron_gradient(state, cls_position):
    model, clips = build(cls_position=cls_position)
    found = attribute(model, clips, state, "saliency", abs=False, progress=False)
    wrapped = Observed(model, state)
    place = (state.channel, state.state, state.token)
    expected = NeuronGradient(wrapped, wrapped.h).attribute(clips.requires_grad_(), place)
    assert same(found.values, expected.detach())
    assert found.values.abs().max() > 0
    times = attribute(model, clips.detach(), state, "input_x_gradient", progress=False)
    assert same(times.values, (clips * expected).detach())


@pytest.mark.parametrize("state", STATES, ids=["layer 0", "layer 1"])
def test_integrated_gradients_of_a_state_are_captum_s_of_a_neuron(state):
    model, clips = build()
    baselines = torch.randn(clips.shape, dtype=clips.dtype)
    found = attribute(
        model, clips, state, "integrated_gradients", baselines=baselines, n_steps=20,
        progress=False,
    )  # fmt: skip
    wrapped = Observed(model, state)
    expected = NeuronIntegratedGradients(wrapped, wrapped.h).attribute(
        clips, (state.channel, state.state, state.token), baselines, n_steps=20
    )
    assert same(found.values, expected.detach())
    change = found.output - found.baseline_output
    assert torch.allclose(found.values.flatten(1).sum(1) - change, found.convergence_delta)


def test_occlusion_of_a_state_is_a_loop_over_tubelets():
    model, clips = build()
    state = STATES[0]
    found = attribute(model, clips, state, "occlusion", baselines="mean", progress=False)
    problem = make_problem(model, clips, state)
    expected = torch.zeros(2, *model.grid.shape, dtype=clips.dtype)
    size = (model.config.tubelet_size, 4, 4)
    output = problem(clips)
    for frame, row, col in torch.cartesian_prod(*map(torch.arange, model.grid.shape)).tolist():
        covered = clips.clone()
        window = [slice(i * s, (i + 1) * s) for i, s in zip((frame, row, col), size, strict=True)]
        covered[:, :, window[0], window[1], window[2]] = 0
        expected[:, frame, row, col] = output - problem(covered)
    # every pixel and color of a tubelet has the fall; Captum divides in float32
    each = found.values.unflatten(2, (-1, size[0])).unflatten(4, (-1, 4)).unflatten(6, (-1, 4))
    fall = expected[:, None, :, None, :, None, :, None].expand_as(each)
    assert torch.allclose(each.double(), fall, rtol=1e-5, atol=1e-6 * float(fall.abs().max()))


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "occlusion"])
def test_a_state_does_not_depend_on_what_its_scan_reads_later(method):
    model, clips = build(backward_order=None, cls_position=None)
    state = State(0, "forward", token=9, channel=1, state=1)  # the first token of frame 1
    found = attribute(model, clips, state, method, progress=False).tokens("abs")
    assert (found[:, 0].amax((1, 2)) > 0).all()
    assert (found[:, 1].flatten(1)[:, 0] > 0).all()
    assert not found[:, 1].flatten(1)[:, 1:].any()
