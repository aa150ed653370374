"""Tests of vmamba_kernels.jit.native: compiling, threads, forks."""

import platform
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vmamba_kernels import selective_scan
from vmamba_kernels.jit import native


def test_a_forked_data_loader_worker_does_not_hang_and_agrees(run_python):
    if sys.platform == "win32":
        pytest.skip("Windows has no fork")
    code = """
import torch
from vmamba_kernels import selective_scan
from vmamba_kernels.jit import native, threads

class Scans(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        torch.set_num_threads(2)  # a worker is given one: ask for the pool
        x = torch.randn(2, 200, 64, generator=torch.Generator().manual_seed(i))
        return selective_scan(x, x, -torch.ones(200, 4), x[:, :4], x[:, :4], delta_softplus=True)

torch.set_num_threads(2)
here = torch.stack([Scans()[i] for i in range(4)])  # the parent's pool is running
loader = torch.utils.data.DataLoader(Scans(), 4, num_workers=2, multiprocessing_context="fork")
with threads._threads()._shutdown_lock:  # as if another thread were handing work to the pool
    batches = iter(loader)
(there,) = batches
assert torch.equal(here, there)
print("same")
"""
    assert run_python(code).strip() == "same"


def test_many_threads_asking_for_one_kernel_compile_it_once(monkeypatch):
    monkeypatch.setattr(native, "_kernels", {})
    built = []

    def build(number):
        built.append(number)
        return f"kernel {number}"

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: native.compiled(build, 7), range(32)))
    assert built == [7] and got == ["kernel 7"] * 32


@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_the_kernels_need_no_newer_processor(
    monkeypatch, scan_inputs, relative_error, tolerance, processor
):
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("names processors of the x86-64 family")
    monkeypatch.setattr(native, "_kernels", {})
    monkeypatch.setattr(native, "_processor", lambda: (processor, ""))
    inputs = {n: x.requires_grad_() for n, x in scan_inputs(d_state=5).items()}
    doubles = {n: x.detach().double().requires_grad_() for n, x in inputs.items()}
    ours, true = (selective_scan(**x, delta_softplus=True) for x in (inputs, doubles))
    assert relative_error(ours, true) < tolerance["scan y"]
    grads = (torch.autograd.grad(y.sum(), list(x.values())) for y, x in
             ((ours, inputs), (true, doubles)))  # fmt: skip
    for found, reference in zip(*grads, strict=True):
        assert relative_error(found, reference) < tolerance["scan gradient"]


def test_another_default_type_leaves_the_scratch_memory_as_large_as_it_must_be(run_python):
    code = """
import torch
from vmamba_kernels import selective_scan

def gradient():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 40, 70, dtype=torch.float32, generator=g).requires_grad_()
    A, B = -torch.ones(40, 16, dtype=torch.float32), x[:, :16]
    return torch.autograd.grad(selective_scan(x, x, A, B, B, delta_softplus=True).sum(), x)[0]

expected = gradient()
torch.set_default_dtype(torch.bfloat16)
assert all(torch.equal(gradient(), expected) for _ in range(5))
print("same")
"""  # in a process of its own: half the memory is a crash
    assert run_python(code).strip() == "same"


def test_a_scan_still_runs_while_python_is_ending(run_python):
    code = """
import atexit
import torch
from vmamba_kernels import selective_scan

torch.set_num_threads(2)
x = torch.randn(2, 200, 64)
scan = lambda: selective_scan(x, x, -torch.ones(200, 4), x[:, :4], x[:, :4], delta_softplus=True)
y = scan()
atexit.register(lambda: print("same" if torch.equal(scan(), y) else "different"))
"""
    assert run_python(code).strip() == "same"
    on_the_pool = "from vmamba_kernels.jit import threads; threads._openmp = lambda: None"
    assert run_python(on_the_pool + code).strip() == "same"
