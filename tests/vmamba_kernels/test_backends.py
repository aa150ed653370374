"""Tests of vmamba_kernels.backends."""

from importlib import import_module

import pytest
import torch

import vmamba_kernels
from vmamba_kernels.backends import choose_backend

module = import_module("vmamba_kernels.backends")  # the package has a function of this name


def test_importing_the_package_loads_neither_llvmlite_nor_triton(run_python):
    code = "import sys, vmamba_kernels; print(sorted({'llvmlite', 'triton'} & set(sys.modules)))"
    assert run_python(code).strip() == "[]"


def test_without_llvmlite_auto_takes_naive_and_cpu_raises_one_clear_error(run_python):
    code = """
import sys
sys.modules["llvmlite"] = None
import torch, vmamba_kernels
x = torch.rand(1, 2, 3)
args = x, x, -torch.rand(2, 2), torch.rand(1, 2, 3), torch.rand(1, 2, 3)
y = vmamba_kernels.selective_scan(*args)
assert torch.equal(y, vmamba_kernels.selective_scan(*args, backend="naive"))
assert not {b.name: b for b in vmamba_kernels.backends()}["cpu"].available
for run in (lambda: vmamba_kernels.selective_scan(*args, backend="cpu"),
            lambda: vmamba_kernels.causal_conv1d(x, torch.rand(2, 4), backend="cpu")):
    try:
        run()
    except ValueError as error:
        print(error)
"""
    lines = run_python(code).splitlines()
    assert len(lines) == 2
    for call, line in zip(("selective_scan", "causal_conv1d"), lines, strict=True):
        assert line.startswith(f'{call}: backend="cpu" cannot run here: llvmlite is not installed')
        assert "pip install llvmlite" in line


def test_backends_lists_all_three_with_a_reason():
    found = vmamba_kernels.backends()
    assert [b.name for b in found] == ["naive", "cpu", "gpu"]
    assert all(b.reason for b in found)
    assert found[0].available and found[1].available


@pytest.mark.parametrize(
    ("triton", "reason"),
    [(True, "torch sees no GPU"), (False, "triton is not installed: pip install triton")],
)
def test_without_a_gpu_or_triton_gpu_says_why(monkeypatch, triton, reason):
    monkeypatch.setattr(module, "INTERPRETING", False)
    monkeypatch.setattr(module, "HAS_TRITON", triton)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    backend = vmamba_kernels.backends()[2]
    assert not backend.available and reason in backend.reason
    with pytest.raises(ValueError, match=f'call: backend="gpu" cannot run here: {reason}'):
        choose_backend("call", "gpu", [torch.zeros(1)])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float32, "cpu"), (torch.bfloat16, "cpu"), (torch.float64, "naive")],
)
def test_auto_takes_the_compiled_code_unless_an_argument_is_float64(dtype, expected):
    tensors = [torch.zeros(1), torch.zeros(1, dtype=dtype)]
    assert choose_backend("call", "auto", tensors) == expected


@pytest.mark.parametrize(
    ("backend", "tensor", "message"),
    [
        ("fast", torch.zeros(1), "call: no backend named 'fast'. Choose one of \"auto\", "),
        ("gpu", torch.zeros(1), 'call: backend="gpu" needs tensors on a GPU; these are on cpu'),
        ("cpu", torch.zeros(1, device="meta"), 'call: backend="cpu" needs tensors on the CPU; '),
        ("cpu", torch.zeros(1).double(), 'call: backend="cpu" computes in float32 and one '),
    ],
)
def test_a_backend_that_cannot_run_says_why(monkeypatch, backend, tensor, message):
    monkeypatch.setattr(module, "INTERPRETING", False)
    monkeypatch.setattr(module, "HAS_TRITON", True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(ValueError) as error:
        choose_backend("call", backend, [tensor])
    assert str(error.value).startswith(message)


def test_forward_mode_differentiation_is_done_by_naive_and_refused_by_cpu():
    x, tangent = torch.randn(2, 1, 4, 9)
    A, B = -torch.ones(4, 2), torch.ones(1, 2, 9)

    def scan(u, backend="auto"):
        y = vmamba_kernels.selective_scan(u, x.abs(), A, B, B, backend=backend)
        return vmamba_kernels.causal_conv1d(y, torch.ones(4, 2), backend=backend)

    _, found = torch.func.jvp(scan, (x,), (tangent,))  # both are linear in u
    torch.testing.assert_close(found, scan(tangent))
    with pytest.raises(ValueError, match="has no forward-mode gradient"):
        torch.func.jvp(lambda u: scan(u, "cpu"), (x,), (tangent,))
