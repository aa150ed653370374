"""Compile a kernel with llvmlite and run it on the one pool of threads.

llvmlite is imported at the first compilation, never before.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from vmamba_kernels.jit.ircode import Kernel

Arguments = dict[str, int | Tensor | None]

_lock = threading.RLock()
_kernels: dict[Hashable, "Native"] = {}
_pool: ThreadPoolExecutor | None = None


class Native:
    """A compiled kernel. Calling it runs all its tasks and returns when they are done.

    Args:
        kernel: The kernel, written.
        scratch: Floats of private memory each thread needs.
    """

    def __init__(self, kernel: Kernel, scratch: int = 0) -> None:
        self.parameters, self.scratch = kernel.parameters, scratch
        self._engine, address = _compile(kernel.source())
        kinds = [
            ctypes.c_int64 if name.startswith("n_") else ctypes.c_void_p
            for name in kernel.parameters
        ]
        signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, *kinds)
        self._function = signature(address)  # releases the GIL while it runs

    def __call__(self, tasks: int, arguments: Arguments) -> None:
        """Run tasks 0 to tasks - 1, in any order, on up to torch.get_num_threads() threads.

        Args:
            tasks: Number of tasks; each writes its own part of the output.
            arguments: One entry a parameter: an integer, or the tensor whose memory starts at the
                address wanted, or None for a null address.
        """
        counter = ctypes.c_int64(0)

        def work() -> None:  # holds the tensors: should the caller be interrupted, they stay
            given = (arguments[name] for name in self.parameters)
            values = [x.data_ptr() if isinstance(x, Tensor) else x for x in given]
            scratch = torch.empty(self.scratch, dtype=torch.float32, device="cpu")
            self._function(ctypes.addressof(counter), tasks, scratch.data_ptr(), *values)

        helpers = min(torch.get_num_threads(), tasks) - 1
        futures: list[Future[None]] = []
        try:
            for _ in range(helpers):
                futures.append(_threads().submit(work))
        except RuntimeError as error:  # Python is ending and its pools are closed: work alone
            if "new futures" not in str(error):
                raise
        if tasks:
            work()
        for future in futures:
            if not future.cancel():  # one that has not started has nothing left to do
                future.result()


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


def _threads() -> ThreadPoolExecutor:
    """The pool; it starts threads only when they are needed."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="vmamba_kernels")
        return _pool


def _after_fork() -> None:
    """A child has none of its parent's threads: it must start its own."""
    global _pool
    _pool = None
    _lock.release()


if hasattr(os, "register_at_fork"):  # holding the lock, so that no fork cuts a compilation in two
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork
    )


def _processor() -> tuple[str, str]:
    """The name and the features of this very processor, as LLVM calls them."""
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _compile(source: str) -> tuple[Any, int]:
    """Compile LLVM IR for this very processor: (what keeps the code alive, its address)."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = _processor()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=3, jit=True
    )
    module = llvm.parse_assembly(source)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    llvm.create_pass_builder(machine, options).getModulePassManager().run(
        module, llvm.create_pass_builder(machine, options)
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine, engine.get_function_address("kernel")
