"""A door with every fault that a door can have, to see that each is found."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from hypothesis import strategies as st

from tests.fuzz.door import Door
from tests.fuzz.worker import Sender

KEPT: list[Any] = []
WAIT = threading.Event()


def _raise(error: BaseException) -> NoReturn:
    raise error


def _leave_thread() -> None:
    threading.Thread(target=WAIT.wait, args=(5,), name="left", daemon=True).start()


def _connect() -> None:
    import socket

    with socket.socket() as connection:
        connection.settimeout(0.1)
        connection.connect_ex(("127.0.0.1", 9))


def _assert(condition: bool) -> None:
    assert condition, "another result"


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "nothing": (lambda: None, ""),
    "allowed": (lambda: _raise(FileNotFoundError("the file is not there")), ""),
    "wrong error": (lambda: _raise(LookupError("a sentence")), "LookupError in"),
    "exit": (lambda: sys.exit(3), "SystemExit in"),
    "empty": (lambda: _raise(FileNotFoundError()), "FileNotFoundError with empty message"),
    "lines": (
        lambda: _raise(FileNotFoundError("a\u2029b")),
        "FileNotFoundError with message of several lines",
    ),
    "long": (
        lambda: _raise(FileNotFoundError("x" * 2000)),
        "FileNotFoundError with message of more than",
    ),
    "surrogates": (
        lambda: _raise(FileNotFoundError("\ud800")),
        "FileNotFoundError with message with lone",
    ),
    "result": (lambda: _assert(False), "another result"),
    "print": (lambda: print("chatter"), "printed chatter"),
    "C print": (lambda: os.write(2, b"chatter of C\n"), "printed chatter of C"),
    "open": (lambda: KEPT.append(open(os.devnull)), "left files open"),
    "thread": (_leave_thread, "left a thread (left)"),
    "temporary": (lambda: os.close(tempfile.mkstemp()[0]), "left temporary files"),
    "work": (lambda: Path("left").touch(), "left files in the current folder"),
    "outside": (lambda: Path("../outside").write_text(""), "wrote outside its folder"),
    "removed": (lambda: shutil.rmtree("../absent", True), "shutil.rmtree outside its folder"),
    "environment": (lambda: os.environ.__setitem__("X", str(time.time())), "changed the env"),
    "folder": (lambda: os.chdir("/"), ""),  # the worker goes back itself
    "random": (lambda: torch.rand(1), "changed torch's random numbers"),
    "NumPy": (lambda: np.random.rand(), "changed NumPy's random numbers"),
    "gradients": (lambda: torch.set_grad_enabled(not torch.is_grad_enabled()), "changed grad"),
    "slow": (lambda: time.sleep(0.8), "took more than N.N s"),
    "memory": (lambda: bytearray(300 * 2**20), "MemoryError in"),
    "network": (_connect, "used the network"),
    "program": (lambda: subprocess.run(["true"]), "started a program"),
}
"""By name: what is done, and what is said of it."""


def _call(case: str, folder: Path) -> None:
    FAULTS[case][0]()


LIMITS = {"seconds": 0.7, "memory_mib": 100}
FAULTY = Door(
    "faulty", lambda folder: st.sampled_from(sorted(FAULTS)), _call, (FileNotFoundError,), **LIMITS
)
CRASHES = Door(
    "crashes", lambda folder: st.just(b"x"), lambda case, folder: ctypes.string_at(0), (), **LIMITS,
    files=lambda case: {"sent": case},
)  # fmt: skip
HANGS = Door(
    "hangs", lambda folder: st.just(b"x"), lambda case, folder: time.sleep(999), (), seconds=0.2,
    files=lambda case: {"sent": case},
)  # fmt: skip


def main() -> None:
    """Send every fault once; write what was said of each to a file in the folder that is named."""
    folder = Path(sys.argv[1])
    sender, said = Sender(FAULTY, folder), {}
    for name in FAULTS:
        finding = sender.send(name)[1]
        said[name] = finding.signature if finding else ""
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
