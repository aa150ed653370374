"""Joined JavaScript, and a widget as a piece of HTML."""

import base64
import json
import re

from vmamba_explore.view.widgets.browser_code import read_code, standalone_fragment


def data_of(fragment):
    (found,) = re.findall(r'^show\("[^"]+", (.*)\);$', fragment, flags=re.MULTILINE)
    return found


def test_files_are_joined_in_their_order(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(f"const {name} = 1;  // é", "utf-8")
    joined = read_code([tmp_path / "b", tmp_path / "a"])
    assert joined == "const b = 1;  // é\nconst a = 1;  // é"


def test_no_text_can_close_the_script():
    nasty = "</script><script>alert(1)</script><!--"
    fragment = standalone_fragment("kind", "", "", {"title": nasty, nasty: [nasty]})
    assert "<" not in data_of(fragment)
    assert json.loads(data_of(fragment)) == {"title": nasty, nasty: [nasty]}


def test_bytes_anywhere_in_the_state_go_as_base64():
    state = {"levels": b"\x00\xff", "sides": [{"frames": b"abc", "deep": [[b""]]}], "n": 1}
    read = json.loads(data_of(standalone_fragment("kind", "", "", state)))
    assert base64.b64decode(read["levels"]["base64"]) == b"\x00\xff"
    assert base64.b64decode(read["sides"][0]["frames"]["base64"]) == b"abc"
    assert read["sides"][0]["deep"] == [[{"base64": ""}]] and read["n"] == 1


def test_two_on_one_page_have_different_names():
    first, second = (standalone_fragment("kind", "", "", {}) for _ in range(2))
    names = [re.findall(r'<div id="(kind-[0-9a-f]+)">', text) for text in (first, second)]
    assert len(names[0]) == len(names[1]) == 1 and names[0] != names[1]
    assert f'show("{names[0][0]}", ' in first
