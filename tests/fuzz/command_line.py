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

FILES = (
    "film.mp4", "damaged.mp4", "notes.txt", "absent.mp4", "model", ".", "", "a\0b", "/dev/null",
    "list.csv", "\udcff.mp4", "x" * 5000, "-", "a/b:../x", "http://127.0.0.1/x.mp4",
)  # fmt: skip
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
    "--layout": ("vim", "opengvlab", "x"), "--by-frame": (None,), "--help": (None,),
    "--epochs": ("0", "x"),
    "--no-by-frame": (None,), "--version": (None,), "--unheard-of": ("1",), "--seeds": NUMBERS,
    "--precision": ("bf16", "x"), "--workers": ("0", "-1"), "--": (None,), "--log": ("x",),
}  # fmt: skip
LINES = (
    "report film.mp4 --output out.html --model model --stride 1",
    "explore film.mp4 --output out.html --model model --stride 1",
    "predict film.mp4 --model model --stride 1",
    "watch film.mp4 --output out.html --csv out.csv --model model --stride 1",
    "evaluate --data folders:. --model model --output out.csv --workers 0 --views 1x1 --stride 1",
    "train --data folders:. --output run --model toy --unheard-of 1",
    "experiment width --unheard-of 1",
    "check model",
    "export model --output out.onnx",
    "models k400",
    "info",
)
"""Lines that are right; `train` and `experiment`, which take minutes, get a word that is not."""


def words(folder: Path) -> st.SearchStrategy[list[str]]:
    """Make a strategy for command lines in a folder with a film, a model and lists."""
    option = st.sampled_from(sorted(OPTIONS)).flatmap(
        lambda name: st.sampled_from(OPTIONS[name]).map(
            lambda value: [name] if value is None else [name, value]
        )
    )

    def line(parts: tuple[str, list[list[str]], tuple[int, str] | None]) -> list[str]:
        right, options, replaced = parts
        result = right.split()
        if replaced is not None:
            result[replaced[0] % len(result)] = replaced[1]
        return result + [word for option in options for word in option]

    replaced = st.one_of(st.none(), st.tuples(st.integers(0, 9), st.sampled_from((*FILES, "x"))))
    parts = st.tuples(st.sampled_from(LINES), st.lists(option, max_size=3), replaced)
    return parts.map(line).filter(_is_quick)


def _is_quick(case: list[str]) -> bool:
    """Whether a line cannot start minutes of training."""
    return not {"train", "experiment"} & {*case[:1]} or "--unheard-of" in case


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
    assert code in (0, 2, None), f"exit code {code}"
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
