"""Parts of error messages."""

import ast
import pathlib
from types import SimpleNamespace

import pytest

import vmamba_explore
from vmamba_explore.errors import check_choice, check_fields, few, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("clip 1.mp4", "clip 1.mp4"),
        *((name, name) for name in ("größe\u202fx\u00a0y", "\U0001f9d1\u200d\U0001f680")),
        ("a\rb\nc\td\0", r"a\rb\nc\td\x00"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("abc\u202e4pm", r"abc\u202e4pm"),
        ("caf\udce9\ud83d", r"caf\udce9\ud83d"),
    ],
)  # fmt: skip
def test_a_name_is_one_line_and_stays_readable(text, line):
    assert one_line(text) == line
    one_line(text).encode()


def test_the_middle_of_a_long_name_is_left_out():
    shown = one_line("a" * 5000 + ".mp4", 60)
    assert len(shown) == 60 and shown.startswith("aaa") and shown.endswith("a.mp4") and "…" in shown
    assert one_line("a" * 60, 60) == "a" * 60
    assert len(one_line("\r" * 5000, 60)) == 60


def test_bad_values_are_quoted_in_one_short_line():
    bad = "a\u2028" * 5000
    assert len(few([bad, bad])) < 410 and "\u2028" not in few([bad])
    with pytest.raises(ValueError, match="expected 'b'") as caught:
        check_choice("a: b", bad, ["b"])
    assert len(str(caught.value)) < 300
    with pytest.raises(ValueError, match="imag is .*, expected a number") as caught:
        check_fields(SimpleNamespace(imag=bad), imag=(False, "a number"))
    assert len(str(caught.value)) < 300


def test_no_message_quotes_a_value_in_full():
    found = []
    for path in pathlib.Path(vmamba_explore.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "__repr__":
                node.body = []
        quotes = (n.lineno for n in ast.walk(tree) if getattr(n, "conversion", 0) == ord("r"))
        found += [f"{path}:{line} has !r, expected shown(...)" for line in quotes]
    assert found == []
