"""Every writer of files, killed or out of room: what was there before stays whole."""

from __future__ import annotations

import functools
import json
import os
import pickle
import resource
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import tqdm.auto
import xarray as xr
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from tests.fuzz.checkpoints import model
from tests.fuzz.door import Door, message_fault
from tests.fuzz.messages import _explored, clip
from vmamba_explore.analysis.timeline import Timeline
from vmamba_explore.app.long_video import watch
from vmamba_explore.app.report import report
from vmamba_explore.app.timeline_page import timeline_page
from vmamba_explore.clips import load_clip
from vmamba_explore.clips.encode import write_clip
from vmamba_explore.files import atomic_write, write_json
from vmamba_explore.model.checkpoints import load_model
from vmamba_explore.row_file import RowFile


@dataclass(frozen=True)
class Writer:
    """One writer of a file or folder.

    Args:
        name: Of the file.
        write: Writes the first or the second version there.
        read: Reads all of it and returns which version it is, None where both look alike; raises
            where it is not whole.
        most: About as many bytes as it writes.
        folder: Whether it writes a folder.
    """

    name: str
    write: Callable[[Path, int], object]
    read: Callable[[Path], int | None]
    most: int
    folder: bool = False


def _text(path: Path, version: int) -> None:
    atomic_write(path, "01"[version] * 300_000)


def _read_text(path: Path) -> int:
    text = path.read_text()
    assert len(text) == 300_000, "a file of another length"
    return int(text[0])


def _read_json(path: Path) -> int:
    return json.loads(path.read_text())["version"]


@functools.cache
def _versions() -> tuple:
    versions = []
    for version in range(2):
        one = model()
        with torch.no_grad():
            one.head.bias.fill_(version)
        one.class_names = tuple(f"{version} {n}" for n in range(3))
        versions.append(one)
    return tuple(versions)


def _read_model(path: Path) -> int:
    loaded = load_model(path)
    version = int(loaded.head.bias[0])
    assert loaded.class_names == _versions()[version].class_names, (
        "names of one, weights of another"
    )
    return version


def _read_html(path: Path) -> None:
    assert path.read_text("utf-8").endswith("</html>\n"), "a page that is cut"


def _read_picture(path: Path) -> None:
    with Image.open(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            frame.load()


def _read_csv(path: Path) -> None:
    text = path.read_text()
    assert text.endswith("\n") and len(pd.read_csv(path)) > 10, "a table that is cut"


def _read_zarr(path: Path) -> None:
    with xr.open_zarr(path, consolidated=False) as found:  # as it is written
        found.load()


def _rows(path: Path, version: int) -> None:
    rows = RowFile(path, ("window", "name"), ("name",))
    done = len(rows.start({"stride": 1}))
    with rows:
        for window in range(done, done + 40):
            rows.append(window=window, name="a" * 500)
    rows.join()


def _read_rows(path: Path) -> None:
    found = RowFile(path, ("window", "name"), ("name",)).start({"stride": 1})
    assert list(found["window"]) == list(range(len(found))), "rows are missing"
    assert len(found) >= 40, "rows of the first run are lost"
    assert (found["name"] == "a" * 500).all(), "a cell was changed"


def _explorer_to(kind: str) -> Callable[[Path, int], object]:
    def write(path: Path, version: int) -> object:
        explorer = _explored(None if version else "reversed")
        return getattr(explorer, f"to_{kind}")(path, overwrite=True)

    return write


_PLACE: list[Path] = []
"""The folder that stays, with a film in it."""


def _film() -> Path:
    path = _PLACE[0] / "film.mp4"
    if not path.exists():
        frames = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
        write_clip(path, frames)
    return path


@functools.cache
def _timeline() -> Timeline:
    return watch(_film(), model(), stride=1, progress=False)


def _report(path: Path, version: int) -> object:
    return report(_film(), path, model=_versions()[version], stride=1)


def _timeline_page(path: Path, version: int) -> object:
    return timeline_page(_timeline(), path, f"model {version}")


def _video(path: Path, version: int) -> None:
    write_clip(path, np.repeat(np.repeat(clip().frames, 8, 1), 8, 2))


WRITERS = {
    writer.name: writer
    for writer in (
        Writer("atomic.txt", _text, _read_text, 300_000),
        Writer("settings.json", lambda p, n: write_json(p, {"version": n}), _read_json, 30),
        Writer("model", lambda p, n: _versions()[n].save_pretrained(p), _read_model, 15_000, True),
        Writer("explorer.html", _explorer_to("html"), _read_html, 200_000),
        Writer("explorer.png", _explorer_to("png"), _read_picture, 20_000),
        Writer("explorer.gif", _explorer_to("gif"), _read_picture, 60_000),
        Writer("explorer.csv", _explorer_to("csv"), _read_csv, 50_000),
        Writer("explorer.mp4", _explorer_to("mp4"), lambda p: load_clip(p) and None, 20_000),
        Writer("explorer.zarr", _explorer_to("zarr"), _read_zarr, 5_000, True),
        Writer("rows.csv", _rows, _read_rows, 20_000),
        Writer("report.html", _report, _read_html, 2_000_000),
        Writer("timeline.html", _timeline_page, _read_html, 100_000),
        Writer("written.mp4", _video, lambda p: load_clip(p) and None, 5_000),
    )
}
"""Every writer of files that users keep."""


def _in_child(run: Callable[[], None]) -> tuple[int, int]:
    """Run a function in a copy of this process; return its number and where its error comes."""
    out, into = os.pipe()
    child = os.fork()
    if child:
        os.close(into)
        return child, out
    status = 1
    try:
        os.close(out)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            run()
            status = 0
        except BaseException as error:
            told = type(error).__name__, message_fault(error), traceback.format_exc()[-5000:]
            os.write(into, pickle.dumps(told))
    finally:
        os._exit(status)


def _prepared(name: str, folder: Path) -> tuple[Writer, Path]:
    writer = WRITERS[name]
    path = folder / name
    writer.write(path, 0)
    writer.read(path)
    return writer, path


def _check(writer: Writer, path: Path, *, finished: bool) -> None:
    assert path.exists(), f"{writer.name}: what was there before is gone"
    try:
        version = writer.read(path)
    except Exception as error:
        raise AssertionError(f"{writer.name}: not whole ({type(error).__name__})") from error
    assert version != 0 or not finished, f"{writer.name}: the old version stayed"


def _kill(case: tuple[str, int], folder: Path) -> None:
    name, wait = case
    writer, path = _prepared(name, folder)
    child, out = _in_child(lambda: writer.write(path, 1))
    time.sleep(wait / 1e4)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(out)
    for part in Path(tempfile.gettempdir()).iterdir():  # a killed process cannot tidy up
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    _check(writer, path, finished=status == 0)
    writer.write(path, 1)  # what the killed process left does not stop the next one
    _check(writer, path, finished=True)


def _fill(case: tuple[str, float], folder: Path) -> None:
    name, share = case
    writer, path = _prepared(name, folder)
    before = {p.name for p in folder.iterdir()}
    room = int(share * writer.most)

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        writer.write(path, 1)

    child, out = _in_child(write)
    with open(out, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    assert not os.WIFSIGNALED(status), f"{name}: a full disk ends the process"
    _check(writer, path, finished=status == 0)
    left = {p.name for p in folder.iterdir()} - before
    assert not left, f"{name}: a full disk leaves an unfinished file"
    if told:
        kind, fault, text = pickle.loads(told)
        assert kind == "OSError", f"{name}: a full disk is said by {kind}\n{text}"
        assert fault is None, f"{name}: a full disk is said by a {fault}\n{text}"


def _warmed(folder: Path) -> None:
    """Fill caches, so that a child is killed while it writes."""
    _PLACE.append(folder)
    tqdm.auto.tqdm.set_lock(threading.RLock())  # its own is shared: a killed child would keep it
    (folder / "warm").mkdir()
    for name, writer in WRITERS.items():
        writer.write(folder / "warm" / name, 0)


def _kills(folder: Path) -> st.SearchStrategy[tuple[str, int]]:
    _warmed(folder)
    waits = st.one_of(st.integers(0, 30), st.integers(0, 300), st.integers(0, 3000))
    return st.tuples(st.sampled_from(sorted(WRITERS)), waits)


def _rooms(folder: Path) -> st.SearchStrategy[tuple[str, float]]:
    _warmed(folder)
    return st.tuples(st.sampled_from(sorted(WRITERS)), st.floats(0, 1.2))


LIMITS = {
    "seconds": 20,
    "memory_mib": 2048,
    "draws": True,
    "starts": True,
    "writes": True,
}
KILLS = Door("kills", _kills, _kill, (), **LIMITS)
FULL_DISKS = Door("full_disks", _rooms, _fill, (), **LIMITS)
