"""What a call may not do besides returning: print, leak, write elsewhere, change the process."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import locale
import os
import random
import re
import resource
import signal
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

MIB = 2**20
FORBIDDEN = {
    "os.exec": "started a program",
    "os.fork": "started a process",
    "os.forkpty": "started a process",
    "os.posix_spawn": "started a program",
    "os.system": "started a program",
    "pty.spawn": "started a program",
    "socket.connect": "used the network",
    "socket.getaddrinfo": "used the network",
    "socket.sendto": "used the network",
    "subprocess.Popen": "started a program",
}
STARTS = {name for name, what in FORBIDDEN.items() if "started" in what}
CHANGES = {  # audit events that change the disk -> the places of their paths
    "os.chmod": (0,), "os.link": (0, 1), "os.mkdir": (0,), "os.remove": (0,), "os.rename": (0, 1),
    "os.rmdir": (0,), "os.symlink": (1,), "os.truncate": (0,), "shutil.rmtree": (0,),
}  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Audit:
    """Notes what Python code does to the disk, the network and other processes.

    A hook cannot be removed, so there is one for the process, and it notes while `on`.

    Args:
        places: Folders that may be written to.
    """

    def __init__(self, *places: Path) -> None:
        self.on, self.starts = False, False
        self.places = [os.path.realpath(place) for place in places]
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in FORBIDDEN and not (self.starts and event in STARTS):
            self.seen.append(f"{FORBIDDEN[event]} ({event})")
        elif event == "open" and isinstance(given[2], int) and given[2] & WRITING:
            self._changed("wrote", given[0])
        elif event in CHANGES:
            for place in CHANGES[event]:
                self._changed(event, given[place])

    def _changed(self, what: str, path: Any) -> None:
        if isinstance(path, int) or path is None:  # a descriptor, whose opening was heard
            return
        full = os.path.realpath(os.fsdecode(path))
        if full.startswith("/dev/") or "__pycache__" in full:
            return
        if not any(full == place or full.startswith(place + os.sep) for place in self.places):
            self.seen.append(f"{what} outside its folder: {full}")


def settings() -> dict[str, object]:
    """Return the settings that all code of a process shares, by name."""
    import av.logging

    numpy_state = np.random.get_state()
    state = torch.random.get_rng_state().numpy().tobytes()
    return {
        "the default dtype": torch.get_default_dtype(),
        "the default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's threads": torch.get_num_threads(),
        "torch's random numbers": hashlib.sha256(state).hexdigest(),
        "NumPy's random numbers": (numpy_state[1].tobytes(), *numpy_state[2:]),
        "Python's random numbers": hash(random.getstate()),
        "NumPy's floating-point errors": tuple(sorted(np.geterr().items())),
        "the environment": dict(os.environ),
        "the current folder": os.getcwd(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "the recursion limit": sys.getrecursionlimit(),
        "the integer limit": sys.get_int_max_str_digits(),
        "warnings": tuple(warnings.filters),
        "FFmpeg's log level": av.logging.get_level(),
        "signal handlers": tuple(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)),
        "the search path": tuple(sys.path),
        "the trace function": (sys.gettrace(), sys.getprofile(), tracemalloc.is_tracing()),
        "garbage collection": gc.isenabled(),
        "stdout and stderr": (sys.stdout, sys.stderr),
    }


def open_files() -> set[str]:
    """Return this process's open descriptors and what each leads to."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{number} -> {os.readlink(f'/proc/self/fd/{number}')}")
    return found


def _status(field: str) -> int:
    """Return a field of /proc/self/status, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


class Watch:
    """Watches one call after another in this process.

    Args:
        folder: Holds what the watch needs; its `temporary` becomes the temporary folder.
    """

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "temporary"
        self.work = folder / "work"
        for place in (self.temporary, self.work):
            place.mkdir()
        tempfile.tempdir = os.environ["TMPDIR"] = str(self.temporary)
        self.audit = Audit(self.work, self.temporary)
        self._said = (folder / "said").open("w+b")
        self._out, self._err = os.dup(1), os.dup(2)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Send what C and Python code print to a file."""
        self._flush()
        os.dup2(self._said.fileno(), 1)
        os.dup2(self._said.fileno(), 2)
        try:
            yield
        finally:
            self._flush()
            os.dup2(self._out, 1)
            os.dup2(self._err, 2)

    @staticmethod
    def _flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()

    def said(self) -> str:
        """Return what was printed since it was last asked, progress bars left out."""
        self._said.seek(0)
        text = self._said.read().decode(errors="replace")
        self._said.seek(0)
        self._said.truncate()
        return re.sub(r"[^\r\n]*\d%\|[^\r\n]*", "", text)

    def start(self, *, memory_mib: int, starts: bool) -> None:
        """Note how things are before a call, and limit its memory."""
        gc.collect()
        self._files, self._threads = open_files(), set(threading.enumerate())
        self._settings = settings()
        self.audit.seen.clear()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self._memory, self._limit = _status("VmRSS"), memory_mib * MIB
        limit = _status("VmSize") + self._limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        self.audit.on, self.audit.starts = True, starts
        self._started = time.monotonic()

    def stop(self) -> None:
        """Lift the limits after a call."""
        self.audit.on = False
        self._seconds = time.monotonic() - self._started
        self._peak = _status("VmHWM") - self._memory
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

    def faults(self, *, seconds: float, writes: bool, draws: bool, prints: bool) -> list[str]:
        """Return what the call did that it may not; the arguments are those of a `Door`."""
        found = list(dict.fromkeys(self.audit.seen))
        if self._seconds > seconds:
            found.append(f"took more than {seconds:g} s")
        if self._peak > self._limit:
            found.append(f"took more than {self._limit // MIB} MiB")
        if (said := self.said().strip()) and not prints:
            found.append(f"printed {said.splitlines()[0][:80]}")
        now = settings()
        if draws:
            now["torch's random numbers"] = self._settings["torch's random numbers"]
        found += [f"changed {name}" for name, value in self._settings.items() if value != now[name]]
        found += [f"left a thread ({thread.name})" for thread in self._left_threads()]
        gc.collect()
        if more := open_files() - self._files:
            found.append(f"left files open: {', '.join(sorted(more))[:200]}")
        if any(self.temporary.iterdir()):
            found.append("left temporary files")
        if not writes and any(self.work.iterdir()):
            found.append("left files in the current folder")
        return found

    def _left_threads(self) -> list[threading.Thread]:
        """Return threads that are still there a second after the call."""
        ends = time.monotonic() + 1
        new = [thread for thread in threading.enumerate() if thread not in self._threads]
        for thread in new:
            thread.join(max(0, ends - time.monotonic()))
        return [thread for thread in new if thread.is_alive()]
