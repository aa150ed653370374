"""Names and values in sentences and in code: JavaScript writes what Python writes."""

from hypothesis import given
from hypothesis import strategies as st

from vmamba_explore.errors import one_line, shown

TEXTS = [
    "", "right", "b's", 'the "c"', "it's \"both\"", "back\\slash", "a\nb\tc\rd", "\x00\x7f\x85\xa0",
    "\u2028\u202e\u2066", "ü − 東 🎥", "\ue000\U000e0001\u00ad\u3000", "x" * 199, "y" * 201,
    "🎥" * 300, "\x00" * 90,
]  # fmt: skip
VALUES = [
    None,
    True,
    0,
    -3,
    1.5,
    "b's",
    [1, [2, None]],
    {"kind": ["mute"], "a b": False},
    ["x" * 99],
]


def test_a_name_becomes_the_same_part_of_one_line(learned):
    engine = learned()
    for text in TEXTS:
        assert engine.call("words.js", "oneLine", text) == one_line(text)
        assert engine.call("words.js", "oneLine", text, 40) == one_line(text, 40)


def test_a_text_is_quoted_as_python_does(learned):
    engine = learned()

    @given(st.text(st.characters(codec="utf-8"), max_size=12))
    def compare(text):
        assert engine.call("words.js", "quotedText", text) == repr(text)

    compare()
    for text in TEXTS:
        assert engine.call("words.js", "quotedText", text) == repr(text)


def test_a_value_is_shown_as_python_does(learned):
    engine = learned()
    for value in VALUES:
        assert engine.call("words.js", "inPython", value) == repr(value)
        assert engine.call("words.js", "shownValue", value) == shown(value)
