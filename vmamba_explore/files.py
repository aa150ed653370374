"""Read text, and write files whole or not at all, after a look at whether that can be done."""

from __future__ import annotations

import codecs
import contextlib
import errno
import glob
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from vmamba_explore.errors import one_line

AnyPath = str | os.PathLike[str]


def atomic_write(
    path: AnyPath,
    content: str | bytes | Callable[[BinaryIO], object],
    *,
    fsync: bool = False,
) -> None:
    """Write a file whole or not at all; a failure keeps what was there before.

    The content goes to a file beside it, which then replaces it. Missing folders are created, a
    link stays a link, and an existing file keeps its permissions; one that may not be written to
    is not replaced. What is not a regular file, such as a pipe, is written to directly.

    Args:
        path: The file.
        content: Text (written as UTF-8; a lone surrogate as its escape), bytes, or a function that
            writes to an open binary file.
        fsync: Wait until the content is on the disk, so that it survives a power cut.
    Raises:
        OSError: the file cannot be written; the error is of the kind that the system reports.
    """
    direct = os.path.exists(path) and not os.path.isfile(path)  # a pipe has no path of its own
    target = Path(path) if direct else _real(path)
    unfinished = target if direct else _beside(target)
    try:
        if not direct:
            if not _folder_above(target).is_dir():
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if target.is_file() and not os.access(target, os.W_OK):  # replacing needs no permission
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(target)
        with unfinished.open("wb") as file:
            if callable(content):
                content(file)
            elif isinstance(content, str):
                file.write(content.encode(errors="backslashreplace"))
            else:
                file.write(content)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        if not direct:
            if target.exists():
                _take_over(unfinished, target.stat())
            os.replace(unfinished, target)
    except BaseException as error:
        if not direct:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
        refused = _refused(error, "file", path)
        if refused is error:
            raise
        raise refused from None


def atomic_folder(path: AnyPath, write: Callable[[Path], object], *, replace: bool = True) -> None:
    """Write a folder whole or not at all; a failure keeps what was there before.

    It is written beside the old one, and the two are then renamed. A process that is killed between
    the two renames leaves both beside `path`, the old one as `NAME....before`.

    Args:
        path: The folder.
        write: Writes the content into the new folder that it is given.
        replace: Whether a folder that is there is replaced; else it must be empty.
    Raises:
        OSError: the folder cannot be written; the error is of the kind that the system reports.
    """
    target = _real(path)
    unfinished = _beside(target)
    before = unfinished.with_suffix(".before")
    try:
        _remove_leftovers(target)
        unfinished.mkdir(parents=True)
        write(unfinished)
        if target.exists() and replace:
            shutil.copymode(target, unfinished)
            os.rename(target, before)
        os.rename(unfinished, target)
    except BaseException as error:
        if before.exists() and not target.exists():
            os.rename(before, target)
        shutil.rmtree(unfinished, ignore_errors=True)
        refused = _refused(error, "folder", path)
        if refused is error:
            raise
        raise refused from None
    shutil.rmtree(before, ignore_errors=True)


def _take_over(path: Path, before: os.stat_result) -> None:
    """Give a new file the permissions of an earlier one and, as far as allowed, its owners."""
    for owner in (before.st_uid, -1):
        with contextlib.suppress(OSError, AttributeError):  # Windows has none
            os.chown(path, owner, before.st_gid)
            break
    path.chmod(before.st_mode)


def _refused(error: BaseException, what: str, path: AnyPath) -> BaseException:
    """The error to raise: one that names the path where the system refused to write."""
    cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch.save's own
    if isinstance(cause, OSError) and cause.errno is not None:
        message = f"cannot write the {what} ({cause.strerror}); what was there before is kept"
        return OSError(cause.errno, message, one_line(path))
    return error


def _real(path: AnyPath) -> Path:
    """A path without links."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:
        raise ValueError(
            f"{one_line(path)} holds a character that no file name can have."
        ) from None


def _beside(target: Path) -> Path:
    """Where the content goes first: a name that fits wherever the target's does."""
    name = f"{target.name[:_KEPT]}.{os.getpid()}-{threading.get_native_id()}.part"
    return target.with_name(name)


_KEPT = 50
"""Characters of the target's name in that of its unfinished file, of 255 bytes in all."""


def _remove_leftovers(target: Path) -> None:
    """Remove unfinished files that a process left behind when it was killed an hour ago or more."""
    for old in target.parent.glob(f"{glob.escape(target.name[:_KEPT])}.*-*.part"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > 3600:
                shutil.rmtree(old) if old.is_dir() else old.unlink()


def write_json(path: AnyPath, content: Any) -> None:
    """Write a JSON file as `atomic_write` does; numpy's numbers become plain ones."""
    atomic_write(path, json_text(content) + "\n")


def json_text(content: Any) -> str:
    """Return JSON with one value a line; numpy's numbers become plain ones."""
    return json.dumps(content, indent=1, default=lambda value: value.item())


def output_paths(
    outputs: Iterable[AnyPath | None],
    call: str,
    clips: Iterable[AnyPath],
    *,
    parents: bool = False,
) -> None:
    """Check that files can be written before anything runs, each once; see `output_path`.

    Args:
        outputs: The files to write; None stands for none.
        call: Begins the message of an error.
        clips: Files that are read, clips or others.
        parents: Whether missing folders above them will be created.

    Raises:
        ValueError: two outputs are the same file.
    """
    seen: set[Path] = set()
    for output in outputs:
        if output is None:
            continue
        path = output_path(output, call, clips, parents=parents).resolve()
        if path in seen:
            raise ValueError(
                f"{call}: {one_line(output)} is to be written twice; name another output file."
            )
        seen.add(path)


def output_path(
    output: AnyPath,
    call: str,
    clips: Iterable[AnyPath] = (),
    *,
    overwrite: bool = True,
    folder: bool = False,
    parents: bool = False,
) -> Path:
    """Return where something can be written. Whatever is there stays as it is.

    Args:
        output: Where to.
        call: Begins the message of an error.
        clips: Files that are read, clips or others.
        overwrite: Whether what is there may be replaced.
        folder: Whether a folder will be written, or one file.
        parents: Whether missing folders above it will be created.

    Raises:
        FileNotFoundError: its folder does not exist.
        IsADirectoryError: a folder is in the place of the file.
        NotADirectoryError: a file is in the place of its folder.
        FileExistsError: it is one of `clips`, something is there that must not be replaced, or a
            file is in the place of the folder.
        PermissionError: it, or its folder, may not be written to.
        OSError: the system refuses it for another reason, such as the length of its name.
        ValueError: a file cannot have such a name.
    """
    path = Path(output)
    begin = f"{call}: cannot write {one_line(output) or 'a file without a name'}"
    exists = os.path.exists(path)
    special = exists and not path.is_file() and not path.is_dir()  # a pipe, a device
    try:
        real = path.absolute() if special else _real(path)
        above = _folder_above(real)
    except ValueError as error:
        raise ValueError(f"{call}: {error}") from None
    except OSError as error:
        raise type(error)(f"{begin}: {error.strerror}.") from None
    if not above.is_dir():
        raise NotADirectoryError(f"{begin}: {one_line(above)} is a file, not a folder.")
    if above != real.parent and not parents:
        raise FileNotFoundError(f"{begin}: the folder {one_line(real.parent)} does not exist.")
    if path.is_dir() and not folder:
        raise IsADirectoryError(f"{begin}: it is a folder; name a file in it.")
    if exists and not overwrite:
        raise FileExistsError(
            f"{call}: {one_line(output)} exists already; overwrite=True replaces it."
        )
    if exists and folder and not path.is_dir():
        raise FileExistsError(f"{begin}: it is a file; name a folder.")
    if exists and any(os.path.exists(clip) and path.samefile(clip) for clip in clips):
        raise FileExistsError(
            f"{call}: {one_line(output)} is the input itself; name another output file."
        )
    if exists and not os.access(path, os.W_OK):
        raise PermissionError(f"{begin}: it may not be written to; name another one.")
    try:
        if not special:
            tempfile.TemporaryFile(dir=real if real.is_dir() else above).close()
    except OSError as error:
        raise type(error)(
            f"{begin}: {one_line(above)} takes no new file ({error.strerror}); name another folder."
        ) from None
    return path


def _folder_above(path: Path) -> Path:
    """The nearest folder above a path that exists; OSError or ValueError for an impossible name."""
    above = next(folder for folder in path.parents if os.path.lexists(folder))
    for name in path.relative_to(above).parts:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (above / name).lstat()
    if path.is_symlink():  # `realpath` came back to it
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return above


def lock(file: int, *, wait: bool = True) -> bool:
    """Keep others from locking an open file until it is closed, or its process ends.

    Args:
        file: Its descriptor, open for writing.
        wait: Whether to wait for another one to let go of it.
    Returns:
        Whether no other one holds it. True, too, where the system has no locks: on Windows, and in
        some network folders.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def read_text(path: AnyPath, call: str, *, whole: bool = True) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark.

    Args:
        path: The file.
        call: Begins the message of an error.
        whole: Whether the file is complete; else a character that is cut off at its end is left
            out.

    Raises:
        ValueError: there is no such file, or it is not such text.
    """
    found = Path(os.path.expanduser(path))
    if not os.path.isfile(found):
        raise ValueError(f"{call}: {one_line(path)} is not a file (looked from {os.getcwd()}).")
    data = found.read_bytes()
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if marked else "utf-8-sig")()
    try:
        text = decoder.decode(data, final=whole)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{call}: {one_line(path)} is not text in UTF-8 ({error.reason} at byte "
            f"{error.start}); save it as UTF-8."
        ) from None
    if "\0" in text:
        raise ValueError(
            f"{call}: {one_line(path)} is not a text file: it holds a NUL at character "
            f"{text.index(chr(0))}."
        )
    return text


def read_json(path: AnyPath, kind: type, call: str) -> Any:
    """Return what a JSON file holds.

    Args:
        path: The file.
        kind: What it must be: dict or list.
        call: Begins the message of an error.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    return parsed_json(read_text(path, call), kind, f"{call}: {one_line(path)}")


def parsed_json(text: str, kind: type, where: str) -> Any:
    """Return what a JSON text holds, which must be a `kind`; `where` begins an error's message."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON ({error}).") from None
    except (RecursionError, ValueError) as error:
        reason = "is nested too deeply"
        if isinstance(error, ValueError):  # Python's limit against integers that take forever
            reason = f"has an integer of more than {sys.get_int_max_str_digits():,} digits"
        raise ValueError(f"{where} {reason}.") from None
    if not isinstance(found, kind):
        raise ValueError(
            f"{where} holds a JSON {type(found).__name__}, expected a {kind.__name__}."
        )
    return found
