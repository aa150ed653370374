"""Tests of vmamba_kernels.jit.vectormath, through kernels of a few lines."""

import pytest
import torch

from vmamba_kernels.jit.ircode import Kernel
from vmamba_kernels.jit.native import Native
from vmamba_kernels.jit.vectormath import (
    exp2,
    logistic,
    silu,
    silu_and_slope,
    softplus_and_slope,
    sum_lanes,
)

LANES = 16


def run(function, x):
    """Apply a function of one Vec to every number of x, one task a row of LANES."""
    k = Kernel(LANES, ("x", "out"))
    with k.tasks() as row:
        value = (k.ptr("x") + row * LANES).load()
        (k.ptr("out") + row * LANES).store(function(value))
    padded = torch.nn.functional.pad(x, (0, -x.numel() % LANES)).contiguous()
    out = torch.empty_like(padded)
    Native(k)(padded.numel() // LANES, {"x": padded, "out": out})
    return out[: x.numel()]


@pytest.mark.parametrize(
    ("name", "ours", "true", "reach"),
    [
        ("exp2", exp2, torch.exp2, 125),
        ("softplus", lambda v: softplus_and_slope(v)[0], torch.nn.functional.softplus, 20),
        ("logistic", lambda v: softplus_and_slope(v)[1], torch.sigmoid, 20),
        ("logistic", logistic, torch.sigmoid, 20),
    ],
)
def test_it_is_accurate_everywhere(tolerance, name, ours, true, reach):
    x = torch.linspace(-reach, reach, 400_001)
    reference = true(x.double())
    error = ((run(ours, x).double() - reference) / reference).abs().max().item()
    assert error < tolerance[name], error


def test_silu_and_its_slope_are_accurate_everywhere(relative_error, tolerance):
    x = torch.linspace(-100, 100, 400_001)
    doubles = x.double().requires_grad_()
    true = torch.nn.functional.silu(doubles)
    (slope,) = torch.autograd.grad(true.sum(), doubles)
    for ours in (run(silu, x), run(lambda v: silu_and_slope(v)[0], x)):
        assert ((ours - true).abs() / true.abs().clamp_min(1e-6)).max() < tolerance["logistic"]
    assert relative_error(run(lambda v: silu_and_slope(v)[1], x), slope) < tolerance["exp2"]


def test_exp2_reaches_its_limits_exactly():
    inf, nan = torch.inf, torch.nan
    x = torch.tensor([0.0, 1.0, -1.0, 127.0, 128.0, 1e30, inf, -127.0, -1e30, -inf, nan])
    expected = torch.tensor([1.0, 2.0, 0.5, 2.0**127, inf, inf, inf, 0.0, 0.0, 0.0, nan])
    torch.testing.assert_close(run(exp2, x), expected, rtol=0, atol=0, equal_nan=True)


def test_softplus_neither_overflows_nor_loses_nan():
    x = torch.tensor([-1e30, -200.0, 200.0, 1e30, torch.nan])
    value = run(lambda v: softplus_and_slope(v)[0], x)
    slope = run(lambda v: softplus_and_slope(v)[1], x)
    expected = torch.tensor([0.0, 0.0, 200.0, 1e30, torch.nan])
    torch.testing.assert_close(value, expected, equal_nan=True, rtol=0, atol=0)
    expected = torch.tensor([0.0, 0.0, 1.0, 1.0, torch.nan])
    torch.testing.assert_close(slope, expected, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("lanes", [16, 32])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16])
def test_sum_lanes_puts_the_sum_of_vector_i_in_lane_i(lanes, count):
    k = Kernel(lanes, ("x", "out"))
    with k.tasks():
        sums = sum_lanes([(k.ptr("x") + lanes * i).load() for i in range(count)])
        k.ptr("out").store(sums)
    x, out = torch.arange(float(count * lanes)).reshape(count, lanes), torch.empty(16)
    Native(k)(1, {"x": x, "out": out})
    assert torch.equal(out[:count], x.sum(1))
