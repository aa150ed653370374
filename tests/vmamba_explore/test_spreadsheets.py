"""Cells that a spreadsheet would run, and the dialects that spreadsheets write."""

import csv
import io

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given

from vmamba_explore.spreadsheets import (
    csv_text,
    delimiter_of,
    number,
    plain_cell,
    rows_of,
    safe_cell,
)

FORMULAS = ("=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-a.mp4")


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_a_spreadsheet_would_run_starts_with_an_apostrophe(text):
    assert safe_cell(text) == f"'{text}" and plain_cell(safe_cell(text)) == text


@pytest.mark.parametrize("text", ["a", "", "a=1", "'quoted'", "-5", "+1.5e-3", "5", "ä"])
def test_other_text_and_numbers_stay_as_they_are(text):
    assert safe_cell(text) == text


@given(st.text(alphabet="'=+-@\t\r1a.", max_size=6))
@example("'=a")
@example("''=a")
def test_every_text_comes_back(text):
    assert plain_cell(safe_cell(text)) == text
    assert not safe_cell(text)[:1] or safe_cell(text)[0] not in "=@\t\r"


def test_a_table_has_safe_names_and_numbers_that_stay_numbers():
    table = pd.DataFrame(
        {"name": ["=a", None, "b"], "margin": [-1.5, 2.0, np.nan], "=n": [-1, 0, 1]}
    )
    text = csv_text(table)
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["name", "margin", "'=n"], ["'=a", "-1.5", "-1"], ["", "2.0", "0"],
                    ["b", "", "1"]]  # fmt: skip
    assert table["name"][0] == "=a"  # the caller's stays


def test_a_table_without_rows_is_its_header():
    assert csv_text(pd.DataFrame(columns=["a", "b"])) == "a,b\n"


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [("a,b\n1,2\n", ","), ("a;b\n", ";"), ("a\tb\n", "\t"), ('"a";"b"\r\n', ";"), ("a b\n", None),
     ("b,c\n", None), ("", None)],
)  # fmt: skip
def test_the_delimiter_is_the_one_that_gives_the_columns(text, delimiter):
    assert delimiter_of(text, ["a", "b"]) == delimiter


def test_blank_rows_are_left_out_and_lines_are_counted():
    text = 'a;b\r\n;\r\n"x\ry";2\r\n\r\n'
    assert list(rows_of(text, ";", "test")) == [(1, ["a", "b"]), (4, ["x\ry", "2"])]


def test_line_separators_of_unicode_do_not_end_a_row():
    assert [row for _, row in rows_of("a\u2028b\x85c,1\n", ",", "test")] == [["a\u2028b\x85c", "1"]]


def test_a_cell_that_is_too_long_is_one_sentence():
    with pytest.raises(ValueError, match=r"^list.csv, line 2: field larger than field limit"):
        list(rows_of("a\n" + "b" * 200_000 + "\n", ",", "list.csv"))


@pytest.mark.parametrize(
    ("cell", "comma", "value"),
    [("12", False, 12), (" 1.5 ", False, 1.5), ("1,5", True, 1.5), ("1,00E-05", True, 1e-5),
     ("-3", True, -3), ("9" * 20, False, 1e20)],
)  # fmt: skip
def test_numbers_are_read(cell, comma, value):
    assert number(cell, comma) == value and type(number(cell, comma)) is type(value)


@pytest.mark.parametrize("cell", ["1,5", "a", "1_000", "9" * 5000, "1e999", "1.234,5", ""])
def test_what_is_not_a_number_is_refused(cell):
    with pytest.raises(ValueError):
        number(cell)
