"""Run native code on several threads: on torch's own where it has some to lend.

torch computes on the threads of an OpenMP library, and between two operations they wait busily for
the next one, for some milliseconds. Threads of ours would have to share the cores with them: each
kernel after a matrix product would run at half speed. So the work goes to those very threads, which
also start at once. Where that cannot be had (torch uses no GNU-compatible OpenMP; or in a forked
child, which has lost its parent's threads) a pool of Python threads does it.
"""

import ctypes
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

_lock = threading.RLock()
_pool: ThreadPoolExecutor | None = None
_forked = False

_Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # releases the GIL while it runs


def run_on_threads(address: int, argument: int, threads: int, tasks: int, holds: object) -> None:
    """Call the native function once on each thread; return when all calls have.

    Args:
        address: Of a function that takes one address and returns nothing.
        argument: The address to give it.
        threads: How many; there may also be fewer calls.
        tasks: How many of the calls can find work.
        holds: What must stay in memory until the last call has returned.
    """
    parallel = None if _forked else _openmp()
    if min(threads, tasks) == 1:
        _Function(address)(argument)
    elif parallel is not None:  # all threads: a smaller team would end the others
        parallel(address, argument, threads, 0)
    else:
        _run_on_pool(_Function(address), argument, min(threads, tasks), holds)


@cache
def _openmp() -> Any:
    """OpenMP's function that runs a function on a team of threads, as torch itself calls it."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        parallel = library.GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return parallel


def _run_on_pool(function: Any, argument: int, threads: int, holds: object) -> None:
    futures: list[Future[None]] = []

    def work(_: object) -> None:  # holds the memory: should the caller be interrupted, it stays
        function(argument)

    try:
        for _ in range(threads - 1):
            futures.append(_threads().submit(work, holds))
    except RuntimeError as error:  # Python is ending and its pools are closed: work alone
        if "new futures" not in str(error):
            raise
    function(argument)
    for future in futures:
        if not future.cancel():  # one that has not started has nothing left to do
            future.result()


def _threads() -> ThreadPoolExecutor:
    """The pool; it starts threads only when they are needed."""
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="vmamba_kernels")
        return _pool


def _after_fork() -> None:
    """A child has none of its parent's threads: it must start its own."""
    global _pool, _forked
    _pool, _forked = None, True
    _lock.release()


if hasattr(os, "register_at_fork"):  # holding the lock, so that the child finds it free
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork
    )
