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
