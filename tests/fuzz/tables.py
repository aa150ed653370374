"""Text files that people write, edit and damage: timelines of `watch`, lists of data sets."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.door import Door
from tests.fuzz.mutants import Mutant, mutants
from tests.fuzz.worker import is_ours
from vmamba_explore.datasets.lists import read_list
from vmamba_explore.row_file import RowFile

COLUMNS = ("window", "start", "end", "top1", "probability", "reason")
SETTINGS = {"stride": 2, "hop": None, "model": "3f9a", "data": {"seed": 0}}
ROWS = [
    f"{n},{n * 0.5},{n * 0.5 + 2},{name},{0.5 + n / 100},"
    for n, name in enumerate(("right", '"a, b"', "nan", "été", "=1+1", "NA"))
]
TEXT = "\r\n".join([",".join(COLUMNS), *ROWS, ""])


def _respelled() -> dict[str, bytes]:
    """Return the table as spreadsheets and people write it, all of them with its six rows."""
    lines = TEXT.split("\r\n")
    return {
        "plain.csv": TEXT.encode(),
        "unix.csv": TEXT.replace("\r\n", "\n").encode(),
        "bom.csv": TEXT.encode("utf-8-sig"),
        "semicolons.csv": TEXT.replace('"a, b"', "ab").replace(",", ";").encode(),
        "tabs.csv": TEXT.replace('"a, b"', "ab").replace(",", "\t").encode(),
        "utf16.csv": TEXT.encode("utf-16"),
        "latin1.csv": TEXT.encode("latin-1"),
        "twice.csv": (TEXT + TEXT).encode(),
        "header_only.csv": (lines[0] + "\r\n").encode(),
        "header_without_end.csv": lines[0].encode(),
        "empty.csv": b"",
        "quoted.csv": "\r\n".join(
            ",".join(f'"{cell}"' for cell in line.replace('"a, b"', "ab").split(","))
            for line in lines[:-1]
        ).encode()
        + b"\r\n",
        "another_order.csv": "\r\n".join([",".join(COLUMNS[::-1]), "", ""]).encode(),
        "long_cell.csv": (TEXT + f"6,3,5,{'x' * 200_000},0.5,\r\n").encode(),
        "nul.csv": (TEXT + "6,3,5,a\0b,0.5,\r\n").encode(),
        "huge_number.csv": (TEXT + f"{'9' * 5000},3,5,a,0.5,\r\n").encode(),
        "half_a_row.csv": (TEXT + "6,3,5").encode(),
    }


def tables(folder: Path) -> st.SearchStrategy[tuple[Mutant, Mutant]]:
    """Make a strategy for a table and the settings beside it, either of them changed."""
    files = _respelled()
    beside = {"table.json": json.dumps({"settings": SETTINGS}).encode()}
    whole = st.sampled_from(sorted(files)).map(lambda name: Mutant(name, (), files[name]))
    good = st.just(Mutant("table.json", (), beside["table.json"]))
    odd = st.sampled_from((
        b"", b"null", b"[]", b'{"settings": null}', b'{"settings": {}}', b"\xff", b"[" * 100_000,
        b'{"settings": {"stride": 1' + b"0" * 5000 + b"}}",
    )).map(lambda data: Mutant("table.json", ("replaced",), data))  # fmt: skip
    changed = mutants({"plain.csv": files["plain.csv"], "bom.csv": files["bom.csv"]})
    settings = st.one_of(good, good, good, mutants(beside), odd)
    return st.tuples(st.one_of(whole, changed, changed), settings)


def _resume(case: tuple[Mutant, Mutant], folder: Path) -> None:
    table, beside = case
    path = folder / "table.csv"
    before = {path: table.data, path.with_suffix(".json"): beside.data}
    for file, data in before.items():
        file.write_bytes(data)
    try:
        rows = RowFile(path, COLUMNS, ("top1", "reason"))
        try:
            found = rows.start(SETTINGS)
        except ValueError:
            after = {file: file.read_bytes() for file in before}
            assert after == before, "a table that was refused was changed"
            raise
        text = table.data.decode("utf-8", "replace")
        if not table.changes and "right" in text:
            assert {0, 1, 2, 3, 4, 5} <= set(found["window"]), "rows were lost"
            assert list(found["top1"][:1]) == ["right"], "a cell was changed"
        with rows:
            rows.append(window=10**6, top1="last")
        again = rows.read()
        assert len(again) == len(found) + 1, "a row that was appended is not there"
        assert sorted(p.name for p in folder.iterdir()) == ["table.csv", "table.json"], "leftovers"
    finally:
        for file in folder.iterdir():
            file.unlink()


LISTS_OF = {
    "kinetics.csv": b"label,youtube_id,time_start,time_end,split\nup,abc,1,11,train\n",
    "paths.csv": b"path,label\na/1.mp4,up\na/2.mp4,down\n",
    "numbers.txt": b"a/1.mp4 0\na/2.mp4 1\n",
    "spaces.txt": b"a/1.mp4\t0\r\na/2.mp4\t1\r\n",
    "train.json": b'[{"id": "1", "template": "Moving [something] up"}]',
    "labels.json": b'{"Moving something up": "0", "Moving something down": "1"}',
    "up_test_split1.txt": b"1.mp4 1\n2.mp4 2\n",
}
ODD = (
    b"", b"\n\n", b"\xff\xfe\0", b'"', b"a/1.mp4 " + b"9" * 5000, b"[" * 100_000,
    b"a/1.mp4 \xc2\xb2", b"a/1.mp4 " + "\u2029".encode() + b"x",
    b"a/1.mp4," + b"x" * 200_000, b"../../etc/passwd,up",
    b"\0.mp4 1", b"{}", b"[[]]", b'{"a": 1e400}', b'{"a": "\\ud800"}',
    b"a/" + b"b" * 5000 + b".mp4 1",
)  # fmt: skip


def lists(folder: Path) -> st.SearchStrategy[Mutant]:
    """Make a strategy for files of data sets, one of them changed."""
    odd = st.tuples(st.sampled_from(sorted(LISTS_OF)), st.sampled_from(ODD)).map(
        lambda pair: Mutant(pair[0], ("replaced",), pair[1])
    )
    return st.one_of(mutants(LISTS_OF, most=3), mutants(LISTS_OF, most=3), odd)


def _read(case: Mutant, folder: Path) -> None:
    for name, data in {**LISTS_OF, case.origin: case.data}.items():
        (folder / name).write_bytes(data)
    for name in ("a/1.mp4", "a/2.mp4", "up/1.mp4", "up/2.mp4", "abc.mp4", "1.webm"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    description = {
        "train.json": f"ssv2:{folder}/train.json,{folder}/labels.json,{folder}",
        "labels.json": f"ssv2:{folder}/train.json,{folder}/labels.json,{folder}",
        "up_test_split1.txt": f"hmdb51:{folder},{folder}",
    }.get(case.origin, f"kinetics:{folder}/{case.origin},{folder}")
    found = read_list(description)
    assert found.videos, "a list without videos"
    for video in found.videos:
        assert 0 <= video.label < len(found.class_names), "a label without a name"
        assert folder in video.path.resolve().parents or case.changes, "a file outside the root"


def _ours(error: BaseException) -> bool:
    return type(error) is ValueError and is_ours(error)


TABLES = Door(
    "tables",
    tables,
    _resume,
    (),
    ours=_ours,
    files=lambda case: {"table.csv": case[0].data, "table.json": case[1].data},
)
LISTS = Door(
    "lists", lists, _read, (), ours=_ours, writes=True, files=lambda case: {case.origin: case.data}
)
