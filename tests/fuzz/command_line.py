"""Words of the command line: options of all commands with good, wrong and odd values."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.checkpoints import model
from tests.fuzz.door import Door
from vmamba_explore.cli import main
from vmamba_explore.clips.encode import write_clip

FILES = ("film.mp4", "damaged.mp4", "notes.txt", "absent.mp4", "model", ".", "", "a\0b", "/dev/null",
         "list.csv", "\udcff.mp4", "x" * 5000, "-", "a/b:../x", "http://127.0.0.1/x.mp4")  # fmt: skip
NUMBERS = ("0", "1", "2", "-1", "3.5", "nan", "inf", "1e400", "9" * 5000, "x", "", "spread", "²")
OPTIONS = {
    "--model": ("model", "motion-nano", "toy", "absent", "a/b", "a/b:c.pth", *FILES),
    "--output": ("out.html", "out.csv", "film.mp4", "no/out.html", ".", "", "x" * 5000),
    "--stride": NUMBERS, "--start": NUMBERS, "--budget-gib": NUMBERS, "--hop": NUMBERS,
    "--batch-size": NUMBERS, "--k": NUMBERS, "-k": NUMBERS, "--seed": NUMBERS, "--layers": NUMBERS,
    "--target": ("0", "up", "99", *NUMBERS), "--minus": ("1", "down", *NUMBERS),
    "--compare": ("reversed", *FILES), "--gif": ("out.gif", "film.mp4"), "--csv": ("out.csv", "."),
    "--quantities": ("delta", "nope", ""), "--views": ("1x1", "0x1", "x", "1x9", "-1x1", "1x1x1"),
    "--data": ("folders:.", "kinetics:list.csv", "kinetics:", "ssv2:a,b,c", "nope:x", ":", *FILES),
    "--layout": ("vim", "opengvlab", "x"), "--by-frame": (None,), "--help": (None,), "--epochs": ("0", "x"),
    "--no-by-frame": (None,), "--version": (None,), "--unheard-of": ("1",), "--seeds": NUMBERS,
    "--precision": ("bf16", "x"), "--workers": ("0", "-1"), "--": (None,), "--log": ("x",),
}  # fmt: skip
COMMANDS = (
    "report",
    "explore",
    "predict",
    "watch",
    "train",
    "evaluate",
    "experiment",
    "info",
    "x",
    "",
)
SLOW = {"train", "experiment"}
"""Commands that would run for minutes where their words are right: they get one word that is not."""


def words(folder: Path) -> st.SearchStrategy[list[str]]:
    """Make a strategy for command lines in a folder with a film, a model and lists."""
    option = st.sampled_from(sorted(OPTIONS)).flatmap(
        lambda name: st.sampled_from(OPTIONS[name]).map(
            lambda value: [name] if value is None else [name, value]
        )
    )
    likely = st.sampled_from((
        ["--output", "out.html"], ["--model", "model"], ["--stride", "1"], ["--data", "folders:."],
    ))  # fmt: skip
    rest = st.lists(st.one_of(option, option, likely, likely), max_size=5)
    files = st.lists(st.sampled_from(FILES), max_size=2)

    def line(parts: tuple[str, list[str], list[list[str]]]) -> list[str]:
        command, given, options = parts
        flat = [word for option in options for word in option]
        slow = ["--unheard-of", "1"] if command in SLOW and "--help" not in flat else []
        return [command, *given, *flat, *slow]

    return st.tuples(st.sampled_from(COMMANDS), files, rest).map(line)


def _prepare(folder: Path) -> None:
    film = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
    write_clip(folder / "film.mp4", film)
    data = (folder / "film.mp4").read_bytes()
    (folder / "damaged.mp4").write_bytes(data[: len(data) // 2])
    (folder / "notes.txt").write_text("a film\n" * 50)
    (folder / "list.csv").write_text("film.mp4,up\n")
    (folder / "up").mkdir()
    (folder / "up" / "film.mp4").write_bytes(data)
    model().save_pretrained(folder / "model")


def _run(case: list[str], folder: Path) -> None:
    _prepare(folder)
    before = (folder / "film.mp4").read_bytes()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(case)
        except SystemExit as stop:
            code = stop.code
    assert (folder / "film.mp4").read_bytes() == before, "the film was changed"
    said = [line for line in err.getvalue().splitlines() if "it/s]" not in line]
    assert "Traceback" not in err.getvalue(), "a traceback"
    assert code in (0, 2), f"exit code {code}"
    if code == 2:
        ours = [line for line in said if line.startswith("vmamba-explore: ")]
        assert len(ours) == 1, f"{len(ours)} lines about a mistake"
        assert len(ours[0]) <= 1500, "a line of more than 1,500 characters"
        assert len(ours[0].split()) > 3, f"not a sentence: {ours[0]}"


COMMAND_LINE = Door(
    "command_line",
    words,
    _run,
    (),
    seconds=60,
    memory_mib=3072,
    writes=True,
    draws=True,
    files=lambda case: {"words.txt": repr(case).encode()},
)
