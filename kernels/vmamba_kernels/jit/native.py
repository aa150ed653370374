"""Compile a kernel with llvmlite and run it.

llvmlite is imported at the first compilation, never before.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.jit import cache
from vmamba_kernels.jit.ircode import CACHE_LINE, TABLE, Kernel
from vmamba_kernels.jit.threads import run_on_threads

Arguments = dict[str, int | Tensor | None]

_lock = threading.RLock()
_kernels: dict[Hashable, "Native"] = {}


class Native:
    """A compiled kernel. Calling it runs all its tasks and returns when they are done.

    Args:
        kernel: The kernel, written.
        scratch: Floats of private memory each thread needs.
    """

    def __init__(self, kernel: Kernel, scratch: int = 0) -> None:
        self.parameters = kernel.parameters
        self.scratch = -(-scratch // CACHE_LINE) * CACHE_LINE
        self._engine, self._address = _compile(kernel.source())

    def __call__(self, tasks: int, arguments: Arguments) -> None:
        """Run tasks 0 to tasks - 1, in any order, on up to torch.get_num_threads() threads.

        Args:
            tasks: Number of tasks; each writes its own part of the output.
            arguments: One entry a parameter: an integer, or the tensor whose memory starts at the
                address wanted, or None for a null address.
        """
        if not tasks:
            return
        threads = torch.get_num_threads()
        scratch = torch.empty(threads * self.scratch, dtype=torch.float32, device="cpu")
        given = [arguments[name] for name in self.parameters]
        values = [x.data_ptr() if isinstance(x, Tensor) else x or 0 for x in given]
        table = (ctypes.c_int64 * (len(TABLE) + len(values)))(
            0, 0, tasks, scratch.data_ptr(), self.scratch, *values
        )
        holds = table, scratch, given
        run_on_threads(self._address, ctypes.addressof(table), threads, tasks, holds)


def compiled(build: Callable[..., Native], *key: Any) -> Native:
    """`build(*key)`, made once per process."""
    name = (build, *key)
    native = _kernels.get(name)
    if native is None:
        with _lock:
            native = _kernels.get(name)
            if native is None:
                native = _kernels[name] = build(*key)
    return native


if hasattr(os, "register_at_fork"):  # holding the lock, so that no fork cuts a compilation in two
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )


def _processor() -> tuple[str, str]:
    """The name and the features of this very processor, as LLVM calls them."""
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _compile(source: str) -> tuple[Any, int]:
    """Compile LLVM IR for this very processor: (what keeps the code alive, its address)."""
    import llvmlite
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = _processor()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)
    ours = _object_code.__code__  # changes with what it does to the source
    versions = llvmlite.__version__, str(llvm.llvm_version_info), ours.co_code, str(ours.co_consts)
    name = cache.key(source, target.triple, cpu, features, *versions)
    code = cache.load(name)
    if code is None:
        code = _object_code(source, machine)
        cache.store(name, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine, engine.get_function_address("kernel")


def _object_code(source: str, machine: Any) -> bytes:
    """Optimize LLVM IR and translate it to an object file of the machine."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(source)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    llvm.create_pass_builder(machine, options).getModulePassManager().run(
        module, llvm.create_pass_builder(machine, options)
    )
    return machine.emit_object(module)
