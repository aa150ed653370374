"""Joined JavaScript, and a widget as a piece of HTML."""

import base64
import json
import re
import zlib
from pathlib import Path

import vmamba_explore
from vmamba_explore.view.widgets.browser_code import (
    packed_code,
    read_code,
    read_style,
    standalone_fragment,
)

SHOWN = re.compile(r'^show\(render, "([^"]+)", (.*)\);$', flags=re.MULTILINE)


def test_a_module_is_joined_once_after_those_that_it_imports(tmp_path):
    for name, text in {
        "c.js": 'import { a } from "./a.js";\nimport { b } from "./deep/b.js";\nexport default a;',
        "a.js": 'import { b } from "./deep/b.js";\n\nexport const a =\n  b + 1; // é',
        "deep/b.js": "// import nothing\nexport function b() {\n  // why\n  return `//`;\n}",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    assert read_code(tmp_path / "c.js").split("\n\n") == [
        "function b() {\nreturn `//`;\n}",
        "const a =\nb + 1; // é",
        "export default a;",
    ]
    assert read_style(tmp_path / "a.js", tmp_path / "a.js").count("é") == 2


def test_no_template_spans_lines_so_that_indentation_may_be_left_out():
    folder = Path(vmamba_explore.__file__).parent
    for file in folder.rglob("*.js"):
        for line in file.read_text("utf-8").splitlines():
            assert re.sub(r'"(\\.|[^"\\])*"', "", line).count("`") % 2 == 0, (file.name, line)


def test_no_text_can_close_the_script():
    nasty = "</script><script>alert(1)</script><!--"
    data = SHOWN.search(standalone_fragment("kind", "", "", {"title": nasty, nasty: [nasty]}))[2]
    assert "<" not in data
    assert json.loads(data) == {"title": nasty, nasty: [nasty]}


def test_bytes_anywhere_in_the_state_go_as_base64():
    state = {"levels": b"\x00\xff", "sides": [{"frames": b"abc", "deep": [[b""]]}], "n": 1}
    read = json.loads(SHOWN.search(standalone_fragment("kind", "", "", state))[2])
    assert base64.b64decode(read["levels"]["base64"]) == b"\x00\xff"
    assert base64.b64decode(read["sides"][0]["frames"]["base64"]) == b"abc"
    assert read["sides"][0]["deep"] == [[{"base64": ""}]] and read["n"] == 1


def test_two_on_one_page_have_different_names():
    texts = [standalone_fragment("kind", "", "", {}) for _ in range(2)]
    names = [SHOWN.search(text)[1] for text in texts]
    assert len(set(names)) == 2
    for name, text in zip(names, texts, strict=True):
        assert re.findall(r'<div id="(kind-[0-9a-f]+)">', text) == [name]


def test_a_packed_module_holds_the_module_and_is_shorter():
    code = 'const word = "é `${1}`";\nexport default { render: () => word };\n' + 99 * "// more\n"
    packed = packed_code(code)
    assert len(packed) < len(code) and packed.endswith("export default widget.default;\n")
    [held] = re.findall(r'atob\("([^"]+)"\)', packed)
    assert zlib.decompress(base64.b64decode(held)).decode() == code
