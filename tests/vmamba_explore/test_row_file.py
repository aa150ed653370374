import csv
import io
import os

import pytest

from vmamba_explore.row_file import RowFile, different

COLUMNS = ("number", "name", "reason")


class Second:
    """The second of two processes."""

    process_index = 1

    def wait_for_everyone(self):
        pass


def written(tmp_path, *given):
    """A started file with these rows."""
    file = rows(tmp_path)
    file.start({})
    with file:
        for row in given:
            file.append(**row)
    return file


def rows(tmp_path, processes=None, name="rows.csv"):
    return RowFile(tmp_path / name, COLUMNS, ("name", "reason"), processes)


def test_rows_are_there_as_soon_as_they_are_written(tmp_path):
    file = rows(tmp_path)
    assert len(file.start({"seed": 1})) == 0
    with file:
        file.append(number=0, name="a, b")
        assert rows(tmp_path).read()["name"].tolist() == ["a, b"]


def test_a_row_that_was_cut_off_is_left_out_and_written_again(tmp_path):
    written(tmp_path, {"number": 0, "name": "a"}, {"number": 1, "name": "b"})
    path = tmp_path / "rows.csv"
    path.write_text(path.read_text()[:-4])  # killed in the middle of a row
    assert rows(tmp_path).start({})["number"].tolist() == [0]
    with rows(tmp_path) as again:
        again.append(number=1, name="b")
    assert rows(tmp_path).read()["name"].tolist() == ["a", "b"]


def test_rows_of_many_processes_become_one_file_in_order(tmp_path):
    first, second = rows(tmp_path), rows(tmp_path, Second())
    first.start({})
    with first, second:
        second.append(number=1, name="b")
        first.append(number=2, name="c")
        first.append(number=0, name="a", reason="broken")
    first.join()
    found = first.read()
    assert found["name"].tolist() == ["a", "b", "c"]
    assert found["reason"].notna().tolist() == [True, False, False]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.csv", "rows.json"]


def test_a_name_that_looks_like_nothing_stays_a_name(tmp_path):
    file = written(tmp_path, {"number": 0, "name": "nan"}, {"number": 1, "name": "007"})
    assert file.read()["name"].tolist() == ["nan", "007"]


def test_rows_of_other_settings_are_refused(tmp_path):
    rows(tmp_path).start({"model": "a", "views": {"temporal": 4}})
    with pytest.raises(ValueError, match=r"made with other settings \(views.temporal differ\)"):
        rows(tmp_path).start({"model": "a", "views": {"temporal": 2}})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.csv", "my,own,numbers\n", "rows.csv is there already, without the settings"),
        *(("rows.json", text, "rows.json is there already and is not about rows")
          for text in ('{"mine": 1}', "[]", "no json")),
    ],
)  # fmt: skip
def test_a_foreign_file_is_not_touched(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        rows(tmp_path).start({})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: text}


def test_rows_and_settings_cannot_be_the_same_file(tmp_path):
    with pytest.raises(ValueError, match="name it rows.csv"):
        rows(tmp_path, name="rows.json")


def test_a_removed_file_starts_anew_without_what_others_left(tmp_path):
    first = rows(tmp_path)
    first.start({"model": "a"})
    first.finish({"model": "a"}, {"rows": 0})
    with rows(tmp_path, Second()) as second:
        second.append(number=1, name="a")
    (tmp_path / "rows.csv").unlink()
    again = rows(tmp_path)
    assert len(again.start({"model": "b"})) == 0 and not again.finished


def test_a_file_that_came_to_its_end_says_so_and_one_that_was_stopped_too_early_does_not(tmp_path):
    file = rows(tmp_path)
    file.start({})
    assert not file.finished
    file.finish({}, {"rows": 0})
    again = rows(tmp_path)
    again.start({})
    assert again.finished
    (tmp_path / "rows.csv").unlink()  # stopped between the two files
    rows(tmp_path).start({})
    assert (tmp_path / "rows.csv").is_file()


def test_parts_are_found_whatever_the_file_is_called(tmp_path):
    first, second = (rows(tmp_path, of, "run[1].csv") for of in (None, Second()))
    first.start({})
    with second:
        second.append(number=0, name="a")
    first.join()
    assert first.read()["name"].tolist() == ["a"]


def test_of_two_rows_with_a_number_the_later_one_counts(tmp_path):
    file = written(tmp_path, {"number": 0, "reason": "cut off"}, {"number": 0, "name": "a"})
    file.join()
    assert file.read()["name"].tolist() == ["a"]


def test_differences_are_named_where_they_lie():
    before = {"a": 1, "b": {"c": 2, "d": 3}, "gone": None}
    assert different(before, {"a": 1, "b": {"c": 9, "d": 3}, "new": 4}) == ["b.c", "new"]


# ---------------------------------------------------------------- saved by other programs

GIVEN = [
    {"number": 0, "name": "a, b", "share": 0.5},
    {"number": 1, "name": "=1+1", "share": 1.25e-05},
    {"number": 2, "name": "c;d", "share": -3.0, "reason": 'cut "off"'},
]


def shares(tmp_path, finished=False):
    """A file with a column of decimal numbers."""
    file = RowFile(tmp_path / "rows.csv", ("number", "name", "share", "reason"), WORDS)
    file.start({})
    if not finished:
        return file
    with file:
        for row in GIVEN:
            file.append(**row)
    file.join()
    file.finish({}, {"rows": 3})
    return file


WORDS = ("name", "reason")


def saved_again(text, delimiter=",", comma=False, end="\r\n", quoting=csv.QUOTE_MINIMAL):
    """A table as another program saves it."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    for row in csv.reader(io.StringIO(text)):
        writer.writerow([*row[:2], row[2].replace(".", ",") if comma else row[2], *row[3:]])
    return out.getvalue()


def mirrored(text):
    """A table with its columns in the opposite order."""
    rows = [list(reversed(row)) for row in csv.reader(io.StringIO(text))]
    csv.writer(out := io.StringIO()).writerows(rows)
    return out.getvalue()


DIALECTS = {
    "Excel's UTF-8": lambda text: "\ufeff" + saved_again(text),
    "Excel in Europe": lambda text: "\ufeff" + saved_again(text, ";", comma=True),
    "Unicode text": lambda text: "\ufeff" + saved_again(text, "\t", comma=True),
    "Macintosh": lambda text: saved_again(text, end="\r"),
    "all quoted": lambda text: saved_again(text, quoting=csv.QUOTE_ALL, end="\n"),
    "semicolons": lambda text: saved_again(text, ";", end="\n"),
    "blank rows": lambda text: saved_again(text) + "\r\n,,,\r\n\r\n",
    "pasted twice": lambda text: saved_again(text) * 2,
    "rows twice": lambda text: saved_again(text) + saved_again(text).partition("\r\n")[2],
    "no last line end": lambda text: saved_again(text).rstrip(),
    "columns moved": mirrored,
}


def save_again(path, dialect):
    text = DIALECTS[dialect](path.read_text("utf-8"))
    path.write_bytes(text.encode("utf-16-le" if dialect == "Unicode text" else "utf-8"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_finished_table_that_a_spreadsheet_saved_is_read_to_the_last_cell(tmp_path, dialect):
    shares(tmp_path, finished=True)
    path = tmp_path / "rows.csv"
    save_again(path, dialect)
    again = RowFile(path, ("number", "name", "share", "reason"), WORDS)
    found = again.start({})
    assert again.finished
    assert found["number"].tolist() == [0, 1, 2]
    assert found["name"].tolist() == ["a, b", "=1+1", "c;d"]
    assert found["share"].tolist() == [0.5, 1.25e-05, -3.0]
    assert found["reason"].fillna("").tolist() == ["", "", 'cut "off"']


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name != "no last line end"])
def test_a_stopped_table_that_a_spreadsheet_saved_is_resumed(tmp_path, dialect):
    shares(tmp_path, finished=True).finish({}, {})
    path = tmp_path / "rows.csv"
    (tmp_path / "rows.json").write_text('{"settings": {}}')
    save_again(path, dialect)
    again = shares(tmp_path)
    assert not again.finished
    with again:
        again.append(number=3, name="-x", share=0.25)
    assert again.read()["name"].tolist() == ["a, b", "=1+1", "c;d", "-x"]
    assert "'-x" in path.read_text("utf-8")  # which no spreadsheet runs


HEADER = "number,name,share,reason\n"
CHANGES = {
    "another header": ("id,name,share,reason\n0,a,0.5,\n", "does not start with its columns"),
    "only blank cells": (",,,\n", "does not start with its columns"),
    "no header": ("0,a,0.5,\n1,b,0.5,\n", "does not start with its columns"),
    "one more column": ("number,name,share,reason,mine\n0,a,0.5,,1\n", "does not start with its"),
    "a comment in a row": (HEADER + "0,a,0.5,,mine\n", "line 2: 5 cells, expected 4"),
    "a short row": (HEADER + "0,a\n1,b,0.5,\n", "line 2: 2 cells, expected 4"),
    "a date": (HEADER + "0,a,01. Mai,\n", "line 2: share is '01. Mai', expected a number"),
    "two decimal marks": (
        "number;name;share;reason\n0;a;0,5;\n1;b;0.5;\n",
        "line 2: share is '0,5', expected a number",
    ),
    "a comma of thousands": (HEADER + '0,a,"1,234",\n', "share is '1,234', expected a number"),
    "4,300 digits": (HEADER + f"{'9' * 5000},a,0.5,\n", "number is '999"),
    "a long cell": (HEADER + f"0,{'a' * 200_000},0.5,\n", "line 2: field larger than field limit"),
    "not UTF-8": (HEADER.encode() + b"0,caf\xe9,0.5,\n", "is not text in UTF-8"),
    "binary": (HEADER + "0,a\0,0.5,\n", "is not a text file"),
}


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_table_changed_in_another_way_is_refused_and_not_touched(tmp_path, change, finished):
    shares(tmp_path, finished=finished)
    text, words = CHANGES[change]
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=words) as caught:
        shares(tmp_path)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_table_of_nothing_but_its_header_is_resumed(tmp_path):
    shares(tmp_path)
    for text in (HEADER, "\ufeff" + HEADER.replace(",", ";"), ""):
        (tmp_path / "rows.csv").write_text(text)
        again = shares(tmp_path)
        assert len(again.read()) == 0
        with again:
            again.append(**GIVEN[0])
        assert again.read()["share"].tolist() == [0.5]


def test_a_table_without_changes_is_left_as_it_is(tmp_path):
    shares(tmp_path, finished=True)
    for file in tmp_path.iterdir():
        os.utime(file, (1, 1))
    shares(tmp_path)
    assert [file.stat().st_mtime for file in tmp_path.iterdir()] == [1, 1]
    assert '"rows": 3' in (tmp_path / "rows.json").read_text()


def test_a_row_that_ends_inside_a_character_or_a_cell_is_left_out(tmp_path):
    shares(tmp_path)
    for rest in ("1,ä".encode()[:-1], b'1,"a\nb'):
        (tmp_path / "rows.csv").write_bytes(f"{HEADER}0,a,0.5,\n".encode() + rest)
        assert shares(tmp_path).read()["number"].tolist() == [0]


def test_names_that_are_not_utf8_are_written_as_escapes(tmp_path):
    file = shares(tmp_path)
    with file:
        file.append(number=0, name="caf\udce9.mp4", share=0.5, reason="a\u2028b\r\nc")
    file.join()
    assert file.read()["name"].tolist() == [r"caf\udce9.mp4"]
    assert file.read()["reason"].tolist() == ["a\u2028b\r\nc"]
