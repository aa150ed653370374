"""Tests of vmamba_kernels.jit.memory: large pages, sums in a fixed order."""

import pytest
import torch

from vmamba_kernels.jit import memory


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 4, 130), (2, 1, 1), (9, 300), (2, 40, 16, 3)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_total_adds_one_term_after_the_other(shape, axis):
    parts = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros_like(parts.select(axis, 0))
    for part in parts.unbind(axis):
        expected = expected + part
    assert torch.equal(memory.total(parts, axis), expected)


def test_the_total_of_nothing_is_zero():
    assert torch.equal(memory.total(torch.empty(0, 3), 0), torch.zeros(3))
    assert memory.total(torch.empty(2, 5, 0), 1).shape == (2, 0)


def test_asking_for_large_pages_leaves_the_numbers_alone():
    x = torch.arange(float(1 << 21))
    inside = x[3:-5]
    memory.ask_for_large_pages(x, None, inside, x[:2])
    assert torch.equal(x, torch.arange(float(1 << 21)))


def test_large_pages_are_asked_for_inside_the_tensor_only(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "_madvise", lambda: lambda *given: asked.append(given))
    monkeypatch.setattr(memory.mmap, "MADV_HUGEPAGE", 14, raising=False)
    x = torch.empty(1 << 21)[5:]
    memory.ask_for_large_pages(x, torch.empty(100))
    ((start, length, advice),) = asked
    assert x.data_ptr() <= start.value < x.data_ptr() + memory.mmap.PAGESIZE
    assert start.value % memory.mmap.PAGESIZE == 0 and length.value % memory.mmap.PAGESIZE == 0
    assert 0 <= x.data_ptr() + x.nbytes - (start.value + length.value) < memory.mmap.PAGESIZE
    assert advice == 14


def test_a_system_without_the_call_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_madvise", lambda: None)
    memory.ask_for_large_pages(torch.empty(1 << 21))
