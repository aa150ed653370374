"""Tests of vmamba_kernels.scan.naive: the definition itself."""

import math

import pytest
import torch

from vmamba_kernels import selective_scan, selective_scan_with_states

OPTIONAL = ("D", "z", "delta_bias", "initial_state")


def in_float64(inputs):
    return {name: None if x is None else x.double().requires_grad_() for name, x in inputs.items()}


def test_the_scan_is_the_recurrence_written_out_by_hand():
    u, delta, A, B, C = 2.0, [0.5, 0.25], -1.0, [1.5, -1.0], [2.0, 3.0]
    h0 = 0.5 * 1.5 * u
    h1 = math.exp(0.25 * A) * h0 + 0.25 * -1.0 * u
    y, last_state = selective_scan(
        torch.full((1, 1, 2), u), torch.tensor([[delta]]), torch.tensor([[A]]),
        torch.tensor([[B]]), torch.tensor([[C]]), None, None, None, False, True, backend="naive",
    )  # fmt: skip
    torch.testing.assert_close(y, torch.tensor([[[2.0 * h0, 3.0 * h1]]]))
    torch.testing.assert_close(last_state, torch.tensor([[[h1]]]))


def test_skip_gate_bias_and_softplus_do_what_the_formula_says(scan_inputs):
    inputs = scan_inputs(seqlen=5)
    plain = {name: x for name, x in inputs.items() if name not in ("D", "z", "delta_bias")}
    plain["delta"] = torch.log1p(torch.exp(inputs["delta"] + inputs["delta_bias"][:, None]))
    y = selective_scan(**plain, backend="naive") + inputs["D"][:, None] * inputs["u"]
    gated = y * inputs["z"] * torch.sigmoid(inputs["z"])
    ours = selective_scan(**inputs, delta_softplus=True, backend="naive")
    torch.testing.assert_close(ours, gated)


@pytest.mark.parametrize("without", [(), OPTIONAL])
@pytest.mark.parametrize("reverse", [False, True])
def test_it_is_differentiable_twice(scan_inputs, without, reverse):
    inputs = in_float64(
        {k: v for k, v in scan_inputs(1, 2, 3, 2, 1, without).items() if v is not None}
    )

    def run(*tensors):
        named = dict(zip(inputs, tensors, strict=True))
        y, last = selective_scan(
            **named, delta_softplus=True, return_last_state=True, reverse=reverse
        )
        states = selective_scan_with_states(**named, delta_softplus=True, reverse=reverse).states
        return y, last, states

    assert torch.autograd.gradcheck(run, tuple(inputs.values()), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, tuple(inputs.values()), fast_mode=True)


@pytest.mark.parametrize("reverse", [False, True])
def test_states_are_what_y_reads_and_the_last_one_is_the_last_state(scan_inputs, reverse):
    inputs = scan_inputs(without=("D", "z"))
    options = {"delta_softplus": True, "reverse": reverse, "backend": "naive"}
    y, states = selective_scan_with_states(**inputs, **options)
    _, last = selective_scan(**inputs, return_last_state=True, **options)
    assert states.shape == (2, 40, 4, 37)
    read = torch.einsum("bdnl,bnl->bdl", states, inputs["C"][:, 0])
    torch.testing.assert_close(read, y)
    assert torch.equal(states[..., 0 if reverse else -1], last)


def test_groups_give_each_share_of_the_channels_its_own_B_and_C(scan_inputs):
    inputs = scan_inputs(d_inner=12, groups=(3, 2))
    y = selective_scan(**inputs, delta_softplus=True, backend="naive")
    for channel in range(12):
        one = {
            name: x[:, channel // size].unsqueeze(1) if name in "BC" else x
            for (name, x), size in zip(inputs.items(), [0, 0, 0, 4, 6, 0, 0, 0, 0], strict=True)
        }
        alone = selective_scan(**one, delta_softplus=True, backend="naive")
        torch.testing.assert_close(alone[:, channel], y[:, channel])


def test_one_float64_argument_makes_the_states_float64_and_y_keeps_the_type_of_u(scan_inputs):
    inputs = scan_inputs(dtype=torch.float16) | {"A": -torch.ones(40, 4, dtype=torch.float64)}
    y, last = selective_scan(**inputs, delta_softplus=True, return_last_state=True)
    assert (y.dtype, last.dtype) == (torch.float16, torch.float64)
