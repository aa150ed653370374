import hashlib

import pytest

from tests.vmamba_explore.toys import toy
from vmamba_explore import resources
from vmamba_explore.model.labels import DATA_SETS, checked_names, label_names, names_of_published


@pytest.mark.parametrize(("data_set", "count"), [("kinetics400", 400), ("ssv2", 174)])
def test_every_class_has_one_name_of_its_own(data_set, count):
    names = label_names(data_set)
    assert len(names) == len(set(names)) == count
    assert all(name == name.strip() and name for name in names)
    assert names_of_published(count) == names
    content = resources.path(f"labels/{data_set}.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() in resources.path("SOURCES.md").read_text()


def test_kinetics_names_stand_in_the_order_of_the_public_checkpoints():
    names = label_names("kinetics400")
    # the numbers of OpenGVLab's own demonstration of videomamba_t16_k400_f16_res224.pth
    for index, name in {0: "riding a bike", 64: "hitting baseball", 207: "hoverboarding"}.items():
        assert names[index] == name
    assert names[370] == "yoga" and names[399] == "playing badminton"
    assert sorted(names)[:2] == ["abseiling", "air drumming"]  # the usual order begins so
    assert max(names) == "zumba"


def test_something_something_names_stand_by_their_official_numbers():
    names = label_names("ssv2")
    assert names[0] == "Approaching something with your camera"
    assert names[67] == "Pretending to open something without actually opening it"
    assert names[93:95] == (
        "Pushing something from left to right",
        "Pushing something from right to left",
    )
    assert names[140] == "Spinning something that quickly stops spinning"
    assert names[173] == "Wiping something off of something"


def test_an_unknown_list_and_an_unknown_count_are_told_apart():
    with pytest.raises(ValueError, match="no list 'k400'; there are kinetics400, ssv2"):
        label_names("k400")
    assert names_of_published(51) is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b" * 201], r"class_names\[1\] has 201 letters, expected at most 200: 'bbb"),
        (["a", "b" * 5000], r"class_names\[1\] has 5,000 letters"),
        (["a\r", "b"], r"class_names\[0\], 'a\\r', contains a control character \('\\r'\)"),
        (["a", "b\nc"], r"class_names\[1\].*a control character"),
        (["a\u2029", "b"], r"class_names\[0\].*a paragraph separator \('\\u2029'\)"),
        (["a\u2028", "b"], "a line separator"),
        (["a", "\ud800"], r"half of a surrogate pair \('\\ud800'\)"),
        (["a", 1], r"class_names\[1\] is 1, expected a string"),
        ("ab", "class_names is 'ab', expected a list of names"),
        ({"a": 1}, "expected a list of names"),
        (["a"], "1 class names for 2 classes"),
    ],
)
def test_a_name_that_cannot_be_shown_is_refused_wherever_it_is_set(names, message, unchecked):
    with pytest.raises(ValueError, match=message) as caught:
        checked_names(names, 2)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300
    model = toy(num_classes=2)
    with pytest.raises(ValueError, match=message):
        model.class_names = names
    assert model.class_names is None


def test_names_of_any_script_and_all_published_ones_are_taken():
    names = ["走る", "می\u200cدود", "👩\u200d🦽", "", "\u00a0", "x" * 200, "<b>a</b>"]
    assert checked_names(names, 7) == tuple(names)
    for data_set in DATA_SETS:
        known = label_names(data_set)
        assert checked_names(known, len(known)) == known
