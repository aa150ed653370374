"""Surgery does what it says, nothing else, and leaves nothing behind."""

import numpy as np
import pytest
import torch

from tests.vmamba_explore.trace.toys import clips, each_kind, toy
from vmamba_explore.analysis.scan_operator import ScanOperator
from vmamba_explore.edits import current
from vmamba_explore.hooks import attached, hook_points
from vmamba_explore.interventions import (
    ablate,
    cut_edges,
    drop_tokens,
    freeze_state,
    mute,
    patch,
    record_past,
    reset_state,
    swap_state,
    transplant,
)
from vmamba_explore.trace.record import run_with_hooks, run_with_trace


def every_surgery(model):
    past = record_past(model, clips(seed=1))
    scan = "layers.1.mixer.ssm_forward"
    return {
        "ablate": lambda: ablate(model, f"{scan}.hook_u"),
        "patch": lambda: patch(model, f"{scan}.hook_delta", torch.ones(1, 64, 17)),
        "mute": lambda: mute(model, "forward"),
        "reset_state": lambda: reset_state(model, 2),
        "swap_state": lambda: swap_state(model, 2, past),
        "transplant": lambda: transplant(model, past, [1, 3]),
        "freeze_state": lambda: freeze_state(model, [1, 2]),
        "drop_tokens": lambda: drop_tokens(model, frames=0),
        "cut_edges": lambda: cut_edges(model, 1, "backward", range(5, 17), [0, 1, 2]),
    }


NAMES = list(every_surgery(toy()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_survives_an_exception_or_an_interrupt(name, error):
    model = toy()
    surgery, stop = every_surgery(model)[name], "layers.1.mixer.hook_out"

    def interrupt(value, point):
        raise error

    with pytest.raises(error), surgery():
        assert current().blocks
        raise error
    assert not current().blocks
    with pytest.raises(error), surgery():
        run_with_hooks(model, clips(), [(stop, interrupt)])
    with pytest.raises(error), attached(model, [(stop, interrupt)]):
        record_past(model, clips())
    assert not current().blocks


@pytest.mark.parametrize("name", NAMES)
def test_each_surgery_changes_the_logits_and_keeps_no_states(name):
    model = toy()
    plain = model(clips())
    with every_surgery(model)[name]():
        assert not any(p.is_active for n, p in hook_points(model).items() if "hook_h" in n)
        assert (model(clips()) - plain).abs().max() > 2e-5
    assert torch.equal(model(clips()), plain)


# those that take the whole sequence left out
@pytest.mark.parametrize("inner", [n for n in NAMES if n not in ("drop_tokens", "patch")])
def test_all_surgeries_can_be_nested_in_dropped_tokens_and_muting(inner):
    model = toy()
    with drop_tokens(model, [6]), mute(model, "backward", 0):
        past = record_past(model, clips(seed=1))
        outer = model(clips())
        surgeries = every_surgery(model) | {
            "swap_state": lambda: swap_state(model, 2, past),
            "transplant": lambda: transplant(model, past, 2),
        }
        with surgeries[inner]():
            both = model(clips())
    assert (outer - both).abs().max() > 1e-5
    assert not current().blocks


# What each one does


@each_kind
def test_patching_a_run_with_its_own_values_changes_no_bit(changes):
    model = toy(**changes)
    plain, trace = run_with_trace(model, clips())
    with patch(model, trace.names, trace):
        assert torch.equal(model(clips()), plain)
    with patch(model, trace.names, trace, frames=[0, 2]):
        assert torch.equal(model(clips()), plain)


def test_a_patch_takes_the_other_runs_values_at_the_frames_named_only():
    model = toy()
    name = "layers.1.mixer.ssm_backward.hook_delta"
    _, other = run_with_trace(model, clips(1, seed=3), name)
    _, own = run_with_trace(model, clips(), name)
    with patch(model, name, other, frames=1):
        _, both = run_with_trace(model, clips(), name)
    chosen = slice(5, 9)  # the tokens of frame 1, after the class token
    assert torch.equal(both[name][..., chosen], other[name][..., chosen].expand(2, -1, -1))
    rest = [0, 1, 2, 3, 4, *range(9, 17)]
    assert torch.equal(both[name][..., rest], own[name][..., rest])


def test_ablating_with_the_mean_keeps_the_class_token_and_evens_out_the_rest():
    model = toy(cls_position="middle")
    name, cls_index = "layers.0.mixer.ssm_forward.hook_delta", 8
    _, own = run_with_trace(model, clips(), name)
    with ablate(model, name, "mean"):
        _, flat = run_with_trace(model, clips(), name)
    video = [t for t in range(17) if t != cls_index]
    mean = own[name][..., video].mean(-1, keepdim=True)
    assert torch.allclose(flat[name][..., video], mean.expand(-1, -1, 16), atol=1e-6)
    assert torch.equal(flat[name][..., cls_index], own[name][..., cls_index])


def written_out(ssm, u, delta, B, C):
    """y of a scan over tokens in the order in which they stand, by its definition."""
    pro, ys = ssm.starts_from_first, []
    h = u[..., :1].expand(-1, -1, B.shape[1]) if pro else 0
    for t in range(u.shape[-1]):
        wrote = delta[..., t, None] * B[:, None, :, t] * u[..., t, None]
        h = torch.exp(delta[..., t, None] * ssm.A) * h + wrote
        read = (h - wrote) * (t > 0) if pro and ssm.leaves_out_own else h
        ys.append((read * C[:, None, :, t]).sum(-1) + ssm.D * u[..., t])
    return torch.stack(ys, -1)


@each_kind
def test_a_frozen_token_is_one_deleted_from_the_scan(changes):
    """y elsewhere is that of the scan over the other tokens' u, delta, B and C."""
    model = toy(**changes)
    for direction in model.config.directions:
        place = f"layers.1.mixer.ssm_{direction}"
        names = [f"{place}.hook_{name}" for name in ("u", "delta", "B", "C", "y")]
        chosen = list(range(5, 9))
        with freeze_state(model, tokens=chosen, direction=direction, layers=1):
            _, trace = run_with_trace(model, clips(), names)
        ssm = trace.ssm(1, direction)
        steps = [t for t in ssm.steps(model.grid.seqlen).tolist() if t not in chosen]
        _, recorded = run_with_trace(model, clips(), names)
        u, delta, B, C = (recorded[name][..., steps] for name in names[:4])
        y = written_out(ssm, u, delta, B, C)
        assert torch.allclose(trace[names[4]][..., steps], y, atol=1e-5)


@pytest.mark.parametrize(
    "ways",
    [
        lambda m: [freeze_state(m, [0, 3]), freeze_state(m, tokens=[*range(1, 5), *range(13, 17)])],
        lambda m: [
            drop_tokens(m, frames=0),
            drop_tokens(m, [1, 2, 3, 4]),
            m.only_tokens([0, *range(5, 17)]),
        ],
        lambda m: [
            freeze_state(m, np.int64(2), layers=[np.int32(1)]),
            freeze_state(m, 2, layers=[1]),
        ],
        lambda m: [reset_state(m, np.int64(2), layers=np.int32(1)), reset_state(m, 2, layers=1)],
        lambda m: [ablate(m, "layers.*.ssm_backward.hook_y"), mute(m, "backward")],
    ],
)
def test_the_same_place_named_in_several_ways_is_the_same_surgery(ways):
    model = toy()
    plain, found = model(clips()), []
    for surgery in ways(model):
        with surgery:
            found.append(model(clips()))
    assert not torch.equal(found[0], plain)
    assert all(torch.equal(each, found[0]) for each in found)


@each_kind
@pytest.mark.parametrize("layer", [0, 1])
def test_cut_edges_carry_nothing_and_all_others_the_same(layer, changes):
    """y at the targets is that of a scan whose sources bring nothing, and elsewhere it stays."""
    model = toy(**changes)
    direction = model.config.directions[-1]
    place = f"layers.{layer}.mixer.ssm_{direction}"
    names = [f"{place}.hook_{name}" for name in ("u", "delta", "B", "C", "y")]
    sources, targets = [2, 3, 9], [0, 3, 4, 12]
    with cut_edges(model, layer, direction, sources, targets):
        _, trace = run_with_trace(model, clips(), names)
    _, plain = run_with_trace(model, clips(), names)
    ssm = trace.ssm(layer, direction)
    u, delta, B, C = (plain[name].clone() for name in names[:4])
    u[..., sources] = 0
    steps = ssm.steps(model.grid.seqlen)
    y = written_out(ssm, *(x[..., steps] for x in (u, delta, B, C)))[..., steps.argsort()]
    elsewhere = [t for t in range(model.grid.seqlen) if t not in targets]
    assert torch.allclose(trace[names[4]][..., targets], y[..., targets], atol=1e-5)
    assert torch.equal(trace[names[4]][..., elsewhere], plain[names[4]][..., elsewhere])
    assert not torch.allclose(y[..., targets], plain[names[4]][..., targets], atol=1e-3)


@pytest.mark.parametrize("edit_first", [True, False])
def test_cut_edges_takes_away_what_the_edited_inputs_bring(edit_first):
    """Whichever `with` block is entered first, u as it was used is what is cut."""
    model = toy()
    name = "layers.0.mixer.ssm_forward.hook_u"
    everything = range(17)
    blocks = [ablate(model, name, 1.0), cut_edges(model, 0, "forward", everything, everything)]
    first, second = blocks if edit_first else blocks[::-1]
    with first, second:
        _, trace = run_with_trace(model, clips(), "layers.0.mixer.ssm_forward.hook_y")
    assert trace["layers.0.mixer.ssm_forward.hook_y"].abs().max() < 1e-5


def test_cut_edges_and_a_replaced_state_of_one_scan_exclude_each_other():
    model = toy()
    through_hook = ablate(model, "layers.0.mixer.ssm_forward.hook_h", frames=0)
    writes = ablate(model, "layers.0.mixer.ssm_forward.hook_write", frames=0)
    for states in (reset_state(model, 2), through_hook, writes):
        with cut_edges(model, 0, "forward", [3], [9]), states:
            with pytest.raises(
                ValueError, match="layers.0.*edges are cut, and states or writes are"
            ):
                model(clips())
    with cut_edges(model, 0, "forward", [3], [9]), reset_state(model, 2, layers=1):
        model(clips())


@pytest.mark.parametrize("order", [0, 1])
def test_edges_that_two_cuts_share_are_cut_once(order):
    model = toy()
    names = ScanOperator.names(0)
    _, plain = run_with_trace(model, clips(), names)
    cuts = [([2, 3, 4], [0, 1, 9]), ([3, 4, 5], [1, 9, 10])]
    first, second = (cut_edges(model, 0, "forward", *cut) for cut in cuts[:: 1 - 2 * order])
    with first, second:
        _, trace = run_with_trace(model, clips(), names)
    op = ScanOperator.from_trace(plain, layer=0, direction="forward")
    wanted = op.cut(*cuts[0]).cut(*cuts[1]).output()
    y = trace["layers.0.mixer.ssm_forward.hook_y"]
    assert torch.allclose(y, wanted, atol=1e-5)
    assert not torch.allclose(y, op.cut(*cuts[0]).output(), atol=1e-4)


@pytest.mark.parametrize("order", [0, 1])
def test_a_muted_direction_is_silent_whatever_is_cut_in_it(order):
    model = toy()
    blocks = [mute(model, "forward", 0), cut_edges(model, 0, "forward", range(1, 9), range(17))]
    with blocks[order], blocks[1 - order]:
        _, trace = run_with_trace(model, clips(), "*.ssm_forward.hook_y")
    assert (trace["layers.0.mixer.ssm_forward.hook_y"] == 0).all()
    assert (trace["layers.1.mixer.ssm_forward.hook_y"] != 0).any()


def test_a_past_can_be_recorded_while_edges_are_cut():
    model = toy()
    plain = record_past(model, clips())
    with cut_edges(model, 0, "forward", range(1, 9), range(17)):
        cut = record_past(model, clips())
    key = (1, "forward", 2)
    assert not torch.allclose(cut.states[key], plain.states[key], atol=1e-6)


def test_what_was_recorded_in_inference_mode_can_be_used_with_gradients():
    model = toy().requires_grad_(True)
    with torch.inference_mode():
        past = record_past(model, clips(seed=1))
        _, trace = run_with_trace(model, clips(seed=1), "layers.0.mixer.ssm_forward.hook_u")
    with transplant(model, past, 2), patch(model, trace.names[0], trace, frames=3):
        model(clips()).sum().backward()
    assert model.head.weight.grad.abs().sum() > 0


# Bad input


def test_what_does_not_exist_gets_its_sentence(unchecked):
    model = toy(backward_order=None)
    past = record_past(model, clips())
    calls = [
        (lambda: mute(model, "backward"), "no direction 'backward'; expected 'forward'"),
        (lambda: mute(model, "forward", 7), "There is no layer 7; the model has 0 to 1"),
        (lambda: freeze_state(model, 4), "There is no token frame 4; this model has 0 to 3"),
        (lambda: freeze_state(model), "freeze_state: name token frames or tokens"),
        (lambda: drop_tokens(model, [40]), "drop_tokens: there is no token 40; .* 0 to 16"),
        (lambda: drop_tokens(model, [0]), "class token, index 0"),
        (lambda: drop_tokens(model, range(17)), "got 0 tokens"),
        (lambda: reset_state(model, 0), "no boundary before token frame 0; .* 1 to 3"),
        (lambda: reset_state(model, [1, 9]), "no boundary before token frame 9"),
        (lambda: transplant(model, past, 4), "no boundary before token frame 4"),
        (lambda: transplant(model, past, 1, layers=-1), "There is no layer -1"),
        (lambda: cut_edges(model, 0, "forward", [17], [0]), "cut_edges, sources: .* no token 17"),
        (lambda: cut_edges(model, 0, "forward", [1], [-1]), "cut_edges, targets: .* no token -1"),
        (lambda: freeze_state(model, tokens=torch.ones(17) > 0), "tokens are torch.bool, expected"),
        (lambda: drop_tokens(model, torch.ones(17) > 0), "tokens are torch.bool, expected"),
        (lambda: drop_tokens(model, [1.5]), "tokens are torch.float32, expected"),
        (lambda: model.only_tokens(torch.ones(17) > 0), "tokens are torch.bool, expected"),
        (lambda: swap_state(model, 1, 0.0), "swap_state: donor is float, expected"),
        (lambda: cut_edges(model, 3, "forward", [1], [2]), "There is no layer 3"),
        (lambda: ablate(model, "*.hook_u", "median"), "value is 'median', expected a number or"),
        (lambda: ablate(model, "*.hook_A_bar"), "ablate: .*hook_A_bar is computed for reading"),
        (lambda: ablate(model, "*.hook_dt"), "No hook named"),
        (lambda: patch(model, "*.hook_h_boundaries", torch.ones(1)), "patch: .* for reading only"),
    ]
    for call, message in calls:
        with pytest.raises((ValueError, KeyError), match=message), call():
            raise AssertionError(f"nothing was raised: {message}")
        assert not current().blocks


def test_a_patch_of_another_shape_or_not_recorded_gets_its_sentence():
    model = toy()
    name = "layers.0.mixer.hook_z"
    _, trace = run_with_trace(model, clips(3), name)
    shape = r"patch: .*hook_z is \(batch, d_inner, seqlen\) = \(2,"
    with pytest.raises(ValueError, match=shape), patch(model, name, trace):
        model(clips(2))
    with pytest.raises(KeyError, match="was not recorded"):
        patch(model, "layers.1.mixer.hook_z", trace)
