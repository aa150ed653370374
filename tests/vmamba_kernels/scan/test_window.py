"""Tests of vmamba_kernels.scan.window against the whole scan."""

import pytest
import torch

import vmamba_kernels as vk
from tests.vmamba_kernels.scan.runs import HOW
from vmamba_kernels import selective_scan_with_states


@pytest.mark.parametrize("backend", ["naive", "cpu"])  # gpu: test_gpu*.py
@pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
@pytest.mark.parametrize("channels", [None, slice(5, 21), [3, 30, 7]], ids=str)
@pytest.mark.parametrize(("start", "stop"), [(0, 3), (8, 9), (10, 31), (36, 37), (0, 37)])
def test_a_window_is_that_part_of_the_whole_scan(scan_inputs, backend, how, channels, start, stop):
    inputs, tokens = scan_inputs(groups=2), slice(7, None, 8)
    options = {"delta_softplus": True, "backend": backend, **how}
    y, h = selective_scan_with_states(**inputs, **options)
    found = vk.scan_window(
        **inputs, **options, states=h[..., tokens], tokens=tokens, start=start, stop=stop,
        channels=channels,
    )  # fmt: skip
    part = slice(None) if channels is None else channels
    expected = y[:, part, start:stop], h[:, part, :, start:stop]
    for ours, true in zip(found, expected, strict=True):
        if backend == "cpu":
            assert torch.equal(ours, true)
        torch.testing.assert_close(ours, true)


def test_a_window_reads_from_the_nearest_kept_state_only(scan_inputs):
    inputs, tokens = scan_inputs(without=("delta_bias",)), [7, 15, 23]
    states = torch.randn(2, 40, 4, 3)
    window = {"states": states, "tokens": tokens, "start": 18, "stop": 22}
    inputs["delta"] = vk.step_size(inputs["delta"])
    plain = vk.scan_window(**inputs, **window)
    for name in ("u", "delta", "B", "C"):
        inputs[name] = inputs[name].clone()
        inputs[name][..., :16] = torch.nan
        inputs[name][..., 22:] = torch.nan
    again = vk.scan_window(**inputs, **window)
    assert torch.equal(plain.states, again.states) and torch.equal(plain.y, again.y)


def test_a_default_device_of_the_callers_changes_nothing(scan_inputs):
    inputs, options = scan_inputs(), {"tokens": [7, 20], "backend": "cpu"}
    plain = selective_scan_with_states(**inputs, **options).states
    window = {"states": plain, "tokens": [7, 20], "start": 9, "stop": 15, "backend": "cpu"}
    expected = vk.scan_window(**inputs, **window)
    with torch.device("meta"):
        found = selective_scan_with_states(**inputs, **options).states
        again = vk.scan_window(**inputs, **window)
    assert torch.equal(found.nan_to_num(), plain.nan_to_num())
    assert torch.equal(again.states.nan_to_num(), expected.states.nan_to_num())
