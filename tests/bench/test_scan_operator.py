"""The benchmark of the scan operator, on a model small enough for a test."""

import pytest
import torch


@pytest.fixture(scope="module")
def bench(script):
    return script("scan_operator")


def test_a_row_takes_memory_in_proportion_to_the_tokens(bench):
    with torch.no_grad():
        small, large = (bench.memory(bench.record("toy", frames), 1) for frames in (32, 128))
    # 65 and 257 tokens: 4 times as many; a matrix would take 16 times as much
    for name in ("row", "roll-out"):
        assert large[name] / small[name] < 4.2


def test_the_matrix_that_is_timed_has_the_row(bench):
    with torch.no_grad():
        assert set(bench.times(bench.record("toy", 32), 0)) == {"row", "matrix", "rollout"}
