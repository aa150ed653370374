"""MambaLRP against the same model written out token by token, and its ledger, in float64."""

import re
from contextlib import nullcontext

import pytest
import torch

from tests.vmamba_explore.attribution.cases import sliced
from tests.vmamba_explore.attribution.written_out import VARIANTS, make_model, write_out
from tests.vmamba_explore.toys import clips_for
from vmamba_explore.analysis.peak_memory import peak_bytes
from vmamba_explore.attribution.lrp import mamba_lrp
from vmamba_explore.attribution.lrp_rules import ALL_RULES, RULES, ModifiedBlock
from vmamba_explore.attribution.methods import attribute, make_problem
from vmamba_explore.attribution.problem import State
from vmamba_explore.hooks import attached


def lrp(model, clips, target=0, minus=None, **options):
    found = mamba_lrp(make_problem(model, clips, target, minus=minus), **options)
    return found, found.details


@pytest.mark.parametrize("variant", VARIANTS)
def test_tokens_positions_class_token_and_every_bias_add_up_to_the_logit(variant):
    model, clips = make_model(variant), clips_for(make_model(variant))
    _, ledger = lrp(model, clips, target=[1, 3], minus=[0, 2])
    with torch.no_grad():
        logits = model(clips)
    wanted = logits[[0, 1], [1, 3]] - logits[[0, 1], [0, 2]]
    assert (ledger.logit - wanted).abs().max() <= 1e-12
    assert ledger.gap.max() <= 1e-9
    names = [n for n, _ in model.named_parameters() if n.endswith("bias") and "dt_proj" not in n]
    assert sorted(ledger.biases) == sorted(names)
    assert all((value.abs() > 1e-6).all() for value in ledger.entries.values())  # all are live


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_biases_the_inputs_hold_the_whole_logit(variant):
    model = make_model(variant, biases=False)
    _, ledger = lrp(model, clips_for(model), target=2)
    assert (ledger.inputs / ledger.logit - 1).abs().max() <= 1e-9


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_entry_and_every_token_is_that_of_the_model_written_out(variant):
    model, clips = make_model(variant), clips_for(make_model(variant))
    found, ledger = lrp(model, clips, target=[2, 1])
    run = write_out(model, clips)
    with torch.no_grad():
        assert (run.logits - model(clips)).abs().max() <= 1e-12
    number = run.logits[[0, 1], [2, 1]]
    relevance = {name: run.relevance(number, leaf) for name, leaf in run.leaves.items()}
    video, cls = model.grid.split(found.values)
    assert (video.flatten(1) - relevance["tokens"].sum(-1)).abs().max() <= 1e-12
    if cls is not None:
        each = relevance["class token"].sum(2)
        wanted = each if model.config.cls_position == "every_frame" else each[:, 0]
        assert (cls - wanted).abs().max() <= 1e-12
    wanted = {name: value.flatten(1).sum(1) for name, value in relevance.items()}
    if "class position" in wanted:
        wanted["positions"] = wanted["positions"] + wanted.pop("class position")
    assert set(wanted) == set(ledger.entries)
    for name, value in ledger.entries.items():
        assert (value - wanted[name]).abs().max() <= 1e-12, name
    by_layer = [r.sum((1, 2)) for r in run.relevance(number, run.inputs)]
    assert (ledger.by_layer - torch.stack(by_layer, 1)).abs().max() <= 1e-12


@pytest.mark.parametrize("pool_norm", [False, True])
def test_the_number_along_a_direction_over_an_encoders_features_is_handed_back_too(pool_norm):
    model = make_model(num_classes=0, pool_norm=pool_norm)
    clips, direction = clips_for(model), torch.randn(2, 16, dtype=torch.float64)
    found, ledger = lrp(model, clips, target=direction)
    run = write_out(model, clips)
    number = (run.logits * direction).sum(-1)
    assert (ledger.logit - number).abs().max() <= 1e-12
    assert ledger.gap.max() <= 1e-9
    wanted = run.relevance(number, run.leaves["tokens"]).sum(-1)
    video, _ = model.grid.split(found.values)
    assert (video.flatten(1) - wanted).abs().max() <= 1e-12


@pytest.mark.parametrize("off", [*RULES, None])
def test_each_rule_left_out_is_the_same_gradient_with_that_factor_live(off):
    model = make_model("middle, halved")
    rules = ALL_RULES - {off} if off else ()
    clips = clips_for(model)
    found, _ = lrp(model, clips, rules=rules)
    run = write_out(model, clips, rules)
    wanted = run.relevance(run.logits[:, 0], run.leaves["tokens"]).sum(-1)
    got = model.grid.split(found.values)[0].flatten(1)
    assert (got - wanted).abs().max() <= 1e-12
    complete = write_out(model, clips)
    other = complete.relevance(complete.logits[:, 0], complete.leaves["tokens"]).sum(-1)
    assert (other - wanted).abs().max() > 1e-4  # the rule does something


@pytest.mark.parametrize("off", RULES)
def test_a_rule_left_out_breaks_the_sum_and_the_layers_are_named(off):
    model = make_model(biases=False)
    _, complete = lrp(model, clips_for(model))
    _, ledger = lrp(model, clips_for(model), rules=ALL_RULES - {off})
    assert (complete.inputs / complete.logit - 1).abs().max() <= 1e-9
    assert complete.unexplained.abs().max() <= 1e-12
    assert (ledger.inputs / ledger.logit - 1).abs().min() > 1e-3
    assert (ledger.total - ledger.logit + ledger.unexplained.sum(1)).abs().max() <= 1e-12
    worst = ledger.leaks()[0]
    assert off in worst.name and ledger.rules_off == (off,)
    expected = ["layers.0", "layers.1"] + ["norm_f"] * (off == "norm")
    assert {leak.name.split(" ")[0] for leak in ledger.leaks() if leak.share > 1e-6} <= set(
        expected
    )


def test_without_rules_it_is_gradient_times_input():
    model = make_model("spatial")
    problem = make_problem(model, clips_for(model), 1)
    found = mamba_lrp(problem, rules=(), space="pixels")
    _, gradient = problem.gradient(problem.inputs)
    assert (found.values - problem.inputs * gradient).abs().max() <= 1e-12


@pytest.mark.parametrize("order", ["spatiotemporal", "spatial", "temporal", None])
def test_du_only_is_autograd_with_delta_B_and_C_detached(order):
    """Through the same block on the fast kernels, the selection cut from the graph by hand."""
    model = make_model(backward_order=order)
    block = model.layers[0]
    start = torch.randn(2, model.grid.seqlen, model.config.d_model).double().requires_grad_()
    run = ModifiedBlock.run(block, start, ALL_RULES, keep=True)
    for name, ssm in block.mixer.directions.items():
        inputs = ssm.inputs(run.u[name].detach())
        cut = inputs._replace(delta=inputs.delta.detach(), B=inputs.B.detach(), C=inputs.C.detach())
        y = ssm.scan(cut._replace(u=run.u[name]))
        assert (y - run.y[name]).abs().max() <= 1e-12
        upstream = torch.randn_like(y)
        (wanted,) = torch.autograd.grad(y, run.u[name], upstream, retain_graph=True)
        (got,) = torch.autograd.grad(run.y[name], run.u[name], upstream, retain_graph=True)
        assert (got - wanted).abs().max() <= 1e-12 * wanted.abs().max()
    output = start + block.mixer.out_proj(run.mixed)
    assert (output - block(start)).abs().max() <= 1e-12


@pytest.mark.parametrize("variant", ["front", "no class token", "two tables"])
def test_pixels_add_up_to_the_tokens_of_their_tubelets(variant):
    model = make_model(variant)
    clips = clips_for(model)
    tokens = attribute(model, clips, 1, "mamba_lrp", progress=False)
    pixels = attribute(model, clips, 1, "mamba_lrp", space="pixels", progress=False)
    assert pixels.values.shape == clips.shape
    assert (tokens.tokens() - pixels.tokens()).abs().max() <= 1e-12
    held = tokens.details.total - tokens.details.entries["tokens"]
    assert (pixels.convergence_delta + held).abs().max() <= 1e-12


def test_clips_in_groups_are_the_clips_at_once():
    model = make_model()
    clips = clips_for(model, batch=3)
    whole = make_problem(model, clips)
    one_by_one = sliced(make_problem(model, clips), gradient_rows=1, recompute=True)
    a, b = mamba_lrp(whole), mamba_lrp(one_by_one)
    assert (a.values - b.values).abs().max() <= 1e-12
    assert (a.details.by_layer - b.details.by_layer).abs().max() <= 1e-12
    assert a.details.entries.keys() == b.details.entries.keys()
    assert one_by_one.cost.backward == 3


@pytest.mark.parametrize("order", ["spatiotemporal", "spatial", None])
def test_float32_on_the_fast_kernels_is_float64_to_its_rounding(order):
    model = make_model(backward_order=order, d_state=16, img_size=64)
    clips = clips_for(model)
    exact, _ = lrp(model, clips)
    model, clips = model.float(), clips.float()
    found, ledger = lrp(model, clips)
    assert (found.values - exact.values).abs().max() <= 1e-4 * exact.values.abs().max()
    assert ledger.gap.max() <= 1e-5
    with torch.no_grad():
        assert (ledger.logit - model(clips)[:, 0]).abs().max() <= 1e-5 * ledger.absolute.max()


def test_the_graph_of_one_block_is_all_that_is_held():
    peaks = {}
    for depth in (2, 10):
        model = make_model(depth=depth).float()
        clips = clips_for(model, batch=1).float()
        problem = make_problem(model, clips, 0)
        mamba_lrp(problem)  # compiles
        peaks[depth] = peak_bytes(lambda problem=problem: mamba_lrp(problem))
    residual = 4 * model.grid.seqlen * model.config.d_model
    assert peaks[10] - peaks[2] <= 8 * residual + 8 * 1024  # block inputs, and the ledger's numbers


def test_what_it_cannot_explain_is_refused_in_a_sentence(unchecked):
    model = make_model()
    clips = clips_for(model)
    problem = make_problem(model, clips, 0)
    state = make_problem(model, clips, State(0, "forward", 3, 0, 0))
    name, ssm = "layers.1.mixer.ssm_backward.hook_u", model.layers[0].mixer.ssm_forward
    hook = attached(model, [(name, lambda value, _: value * 2)])
    for asked, options, around, message in (
        (problem, {"rules": ["gates"]}, nullcontext(), "no rule 'gates'; the rules are norm, conv"),
        (problem, {"space": "frames"}, nullcontext(), "must be tokens or pixels, got 'frames'"),
        (state, {}, nullcontext(), "the target is a State"),
        (problem, {}, hook, f"attached to {re.escape(name)}"),
        (problem, {}, ssm.at_handover(4, print), r"attached to layers\.0\.mixer\.ssm_forward"),
    ):
        with around, pytest.raises(ValueError, match=message):
            mamba_lrp(asked, **options)
    assert mamba_lrp(problem).details.gap.max() <= 1e-9


def test_one_rule_may_be_given_by_its_name_alone():
    model = make_model()
    clips = clips_for(model)
    one, listed = lrp(model, clips, rules="norm")[0], lrp(model, clips, rules=["norm"])[0]
    assert torch.equal(one.values, listed.values)
