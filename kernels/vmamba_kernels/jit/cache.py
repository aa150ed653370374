"""Machine code of compiled kernels on disk, so that a process need not compile what another did.

The folder is $VMAMBA_CACHE_DIR, else vmamba_kernels in $XDG_CACHE_HOME or ~/.cache; an empty
VMAMBA_CACHE_DIR switches the cache off. What is read here is run: a folder or file that another
user owns or may write to is not used, and neither is a file whose length or checksum is wrong. A
cache that cannot be used costs time, never a result, so nothing here raises.
"""

import hashlib
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

MAGIC = b"vmamba_kernels machine code 1\n"
SUFFIX = ".code"
MOST_BYTES = 64 << 20  # the least recently used files go first
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
OURS = re.compile(r"[0-9a-f]{64}.*\.(code|new)")  # by name; whatever else is there stays


def key(*parts: str | bytes) -> str:
    """A name for what these parts, all of them, compile to."""
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8, "little") + data)
    return hashed.hexdigest()


def load(name: str) -> bytes | None:
    """Return the code stored under a key, or None."""
    folder = _folder()
    if folder is None:
        return None
    path = folder / (name + SUFFIX)
    try:
        with open(path, "rb", opener=_no_links) as file:
            data = file.read(MOST_BYTES) if _safe(os.fstat(file.fileno())) else b""
    except OSError:
        return None
    code = data[len(_head(name, b"")) :]
    if data != _head(name, code) + code:
        return None
    with suppress(OSError):
        os.utime(path)  # used now
    return code


def store(name: str, code: bytes) -> None:
    """Store code under a key: whole or not at all, however many processes do so at once."""
    folder = _folder()
    if folder is None or len(code) > MOST_BYTES // 4:
        return
    with suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=name, suffix=".new")
        try:
            with open(handle, "wb") as file:
                file.write(_head(name, code) + code)
            os.replace(temporary, folder / (name + SUFFIX))
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        _shrink(folder)


def _head(name: str, code: bytes) -> bytes:
    """What a file starts with: its key, and the length and checksum of the code behind it."""
    checksum = hashlib.sha256(code).digest()
    return MAGIC + bytes.fromhex(name) + len(code).to_bytes(8, "little") + checksum


def _folder() -> Path | None:
    """The folder, made where it is missing; None where there is none that is safe to use."""
    chosen = os.environ.get("VMAMBA_CACHE_DIR")
    if chosen == "":
        return None
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(chosen) if chosen else Path(home) / "vmamba_kernels"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _safe(folder.stat()) else None
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None


def _safe(path: os.stat_result) -> bool:
    """Whether only this user may have written this. Windows has no such modes; folders inherit."""
    if not hasattr(os, "getuid"):
        return True
    return path.st_uid == os.getuid() and not path.st_mode & OTHERS_MAY_WRITE


def _no_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _shrink(folder: Path) -> None:
    """Remove the least recently used of the cache's own files until MOST_BYTES are left."""
    files = []
    for path in (path for path in folder.iterdir() if OURS.fullmatch(path.name)):
        with suppress(OSError):  # another process removed it
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    size = sum(bytes for _, bytes, _ in files)
    for _, bytes, path in sorted(files):
        if size <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        size -= bytes
