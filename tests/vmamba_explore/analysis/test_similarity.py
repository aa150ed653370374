"""Dimensions and likeness of states, on samples whose answer is known."""

import math

import numpy as np
import pytest
import torch

from tests.vmamba_explore.toys import altered, recorded, without
from vmamba_explore.analysis.similarity import (
    debiased_cka,
    participation_ratio,
    scale_free_states,
    state_similarity,
)


def record(names=("*.hook_h", "*.hook_C"), **changes):
    """Return a trace of two random clips of 8 frames of 4 x 4 tokens."""
    return recorded(list(names), **{"num_frames": 16, "img_size": 16} | changes)


def samples(count, features, seed=0):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


def plain_cka(x, y):
    """The estimate that is biased: centered inner products, diagonal and all."""
    a, b = (((z - z.mean(0)) @ (z - z.mean(0)).T) for z in (x, y))
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("count", [16, 196])
def test_unrelated_features_are_not_alike_though_the_plain_measure_says_so(count):
    found = []
    for seed in range(5):
        x, y = samples(count, 12288, seed), samples(count, 12288, seed + 100)
        assert plain_cka(x, y) > 0.98
        found.append(debiased_cka(x, y))
    # the mean of count (count - 3) / 2 products of independent signs, five times
    standard_error = (5 * count * (count - 3) / 2) ** -0.5
    assert abs(np.mean(found)) < 3 * standard_error
    assert np.std(found) < 2 * standard_error * 5**0.5


def test_likeness_ignores_rotation_scale_and_shift_and_nothing_else():
    x = samples(40, 6)
    turn = torch.linalg.qr(samples(6, 6, seed=2)).Q
    assert math.isclose(debiased_cka(x, 3 * x @ turn + 5), 1, rel_tol=1e-6)
    assert debiased_cka(x, x * torch.tensor([10.0, 1, 1, 1, 1, 1])) < 0.8
    assert debiased_cka(x, samples(40, 6, seed=3)) < 0.2


def test_the_estimate_is_the_mean_over_all_quadruples_of_samples():
    """The definition of the unbiased product, over every four different samples."""
    x, y = samples(6, 2).double(), samples(6, 3, seed=1).double()

    def product(a, b):
        k, m, total, count = a @ a.T, b @ b.T, 0.0, 0
        for i in range(6):
            for j in set(range(6)) - {i}:
                for q in set(range(6)) - {i, j}:
                    for r in set(range(6)) - {i, j, q}:
                        total += float(k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]))
                        count += 1
        return total / count

    expected = product(x, y) / math.sqrt(product(x, x) * product(y, y))
    assert math.isclose(debiased_cka(x, y), expected, rel_tol=1e-9)


def test_the_participation_ratio_counts_directions_of_equal_variance():
    corners = torch.cat([torch.eye(3), -torch.eye(3)])
    assert math.isclose(participation_ratio(corners), 3, rel_tol=1e-9)
    assert math.isclose(participation_ratio(corners + 100), 3, rel_tol=1e-9)
    assert math.isclose(participation_ratio(corners @ torch.randn(3, 500)[:1].new_ones(3, 1)), 1)
    assert math.isnan(participation_ratio(torch.ones(5, 2)))


@pytest.mark.parametrize(("count", "features"), [(8, 4000), (4000, 8)])
def test_the_participation_ratio_nears_its_ceiling_for_noise_and_stays_below(count, features):
    found = participation_ratio(samples(count, features))
    ceiling = min(features, count - 1)
    assert 0.9 * ceiling < found <= ceiling


def test_states_that_follow_each_other_in_time_stand_out_of_the_shifted_ones():
    trace = record(depth=1)
    values = dict(trace)
    course = torch.randn(1, 1, 1, trace.grid.seqlen).cumsum(-1)
    for name in values:
        if name.endswith("hook_h"):
            noise = torch.randn(values[name].shape)
            values[name] = noise + 3 * course * torch.randn(1, *values[name].shape[1:3], 1)
    found = state_similarity(altered(trace, values))
    assert float(found.cka[0]) > 0.5 and float(found.p_value[0]) < 0.05
    assert found.null.sizes["shift"] == 127


def test_a_time_shift_is_a_shift_of_the_backward_states():
    trace = record()
    found = state_similarity(trace)
    states = [scale_free_states(trace, 1, d, found.tokens) for d in ("forward", "backward")]
    assert math.isclose(found.cka.sel(layer=1), debiased_cka(*states), rel_tol=1e-6)
    shifted = debiased_cka(states[0], states[1].roll(16, 0))
    assert math.isclose(found.null.sel(layer=1, shift=16), shifted, rel_tol=1e-6)
    assert found.p_value.dims == ("layer",) and (found.p_value > 0).all()


def test_the_scale_that_b_and_c_share_changes_nothing():
    trace = record()
    scale = torch.tensor([1e-2, 1.0, 1e2])
    values = dict(trace)
    for name in values:
        values[name] = (
            values[name] * scale[:, None] if name.endswith("_h") else values[name] / scale[:, None]
        )
    again = state_similarity(altered(trace, values))
    found = state_similarity(trace)
    assert np.allclose(again.participation, found.participation, rtol=1e-4)
    assert np.allclose(again.cka, found.cka, atol=1e-4)
    bare = participation_ratio(trace["layers.0.mixer.ssm_forward.hook_h"][0].flatten(0, 1).T)
    assert not math.isclose(found.participation[0, 0], bare, rel_tol=0.01)


def test_states_made_again_from_a_few_give_the_same_numbers():
    names = ["*.hook_h", "*.hook_h_boundaries", "*.hook_u", "*.hook_delta", "*.hook_B", "*.hook_C"]
    every = record(names)
    again = state_similarity(without(every, "hook_h"))
    found = state_similarity(every)
    assert np.allclose(again.cka, found.cka, rtol=1e-6)
    assert np.allclose(again.participation, found.participation, rtol=1e-6)


def states_at(trace, tokens, clip=0):
    return scale_free_states(trace, 0, "forward", torch.tensor(tokens), clip)


def test_rows_of_states_stand_in_the_order_of_the_tokens():
    names = ["*.hook_h", "*.hook_h_boundaries", "*.hook_u", "*.hook_delta", "*.hook_B", "*.hook_C"]
    every, tokens = record(names), [128, 0, 70, 3, 70]
    found = states_at(every, tokens)
    assert torch.equal(found[0], states_at(every, [128])[0])
    assert torch.allclose(states_at(without(every, "hook_h"), tokens), found, rtol=1e-5)


def test_samples_leave_out_the_class_token_and_are_spread_over_the_clip():
    trace = record(cls_position="middle")
    assert trace.grid.cls_index not in state_similarity(trace).tokens
    few = state_similarity(trace, samples=32)
    assert len(few.tokens) == 32 and few.ceiling == 31
    assert few.null["shift"].values.tolist() == list(range(4, 128, 4))


def test_a_model_with_one_direction_has_dimensions_and_no_likeness():
    found = state_similarity(record(backward_order=None))
    assert found.participation["direction"].values.tolist() == ["forward"]
    assert found.cka is None and found.null is None and found.p_value is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda trace: state_similarity(trace, layer=5), "no layer 5; the model has 0 to 1"),
        (lambda trace: state_similarity(trace, clip=7), "no clip 7 in this batch of 2"),
        (lambda trace: state_similarity(trace, samples=3), "3 samples are too few"),
        (lambda trace: debiased_cka(torch.ones(5, 2), torch.ones(6, 2)), "x has 5 samples and y 6"),
        (lambda trace: debiased_cka(torch.ones(3, 2), torch.ones(3, 2)), "3 samples are too few"),
        (lambda trace: participation_ratio(torch.ones(1, 2)), "at least 2 are needed"),
        (
            lambda trace: participation_ratio(torch.tensor(1.0)),
            r"the shape \(\), expected",
        ),
        (lambda trace: debiased_cka(torch.ones(5, 2), torch.ones(5)), r"debiased_cka: .* \(5,\)"),
        (lambda trace: states_at(trace, [[0, 1]]), r"the shape \(1, 2\), expected one axis"),
        (lambda trace: states_at(trace, [-1]), "indices from 0 to 128"),
        (lambda trace: states_at(trace, [129]), "indices from 0 to 128"),
        (lambda trace: states_at(trace, [0], clip=2), "no clip 2 in this batch of 2"),
    ],
)
def test_a_wrong_argument_gets_its_sentence(call, words, unchecked):
    with pytest.raises(ValueError, match=words):
        call(record())


@pytest.mark.parametrize("layer", [None, 0])
def test_a_trace_without_states_says_what_to_record(layer):
    with pytest.raises(KeyError, match=r"names_filter=\['\*.hook_h', '\*.hook_C'\]"):
        state_similarity(record(["*.hook_C"]), layer)


@pytest.mark.parametrize("count", [4, 70, 100, 128, 500])
def test_as_many_samples_are_taken_as_were_asked_for_or_all(count):
    found = state_similarity(record(depth=1), samples=count)
    assert len(found.tokens.unique()) == min(count, 128)
    assert found.null.sizes["shift"] == min(count, 128) - 1
    gaps = found.tokens.diff()
    assert int(gaps.max() - gaps.min()) <= 1
