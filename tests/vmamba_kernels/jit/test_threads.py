"""Tests of vmamba_kernels.jit.threads: torch's threads, and the pool in their place."""

import ctypes
import sys
import threading

import pytest
import torch

from vmamba_kernels import selective_scan
from vmamba_kernels.jit import threads


def test_each_thread_of_the_team_calls_once():
    seen, meet = [], threading.Barrier(3, timeout=60)

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def function(argument):
        meet.wait()
        seen.append((argument, threading.get_native_id()))

    address = ctypes.cast(function, ctypes.c_void_p).value
    threads.run_on_threads(address, 7, 3, 9, None)
    assert [argument for argument, _ in seen] == [7, 7, 7]
    assert len({thread for _, thread in seen}) == 3


def test_without_torchs_threads_a_pool_gives_the_same_bits(monkeypatch, scan_inputs):
    inputs = scan_inputs(3, 200, 40, 16)
    torchs = selective_scan(**inputs, delta_softplus=True, backend="cpu")
    monkeypatch.setattr(threads, "_openmp", lambda: None)
    pooled = selective_scan(**inputs, delta_softplus=True, backend="cpu")
    assert torch.equal(torchs, pooled)


def test_torch_lends_its_threads_on_linux():
    if sys.platform != "linux" or "OpenMP" not in torch.__config__.parallel_info():
        pytest.skip("torch has no GNU-compatible OpenMP here")
    assert threads._openmp() is not None
