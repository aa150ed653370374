"""The JavaScript of the widgets: its own tests, and what it shares with Python."""

import pathlib
import re
import shutil
import subprocess

import pytest

from vmamba_explore.app.live import SIDES
from vmamba_explore.app.portable import NEEDS_GRADIENTS
from vmamba_explore.app.question import QUANTITIES
from vmamba_explore.view.explorer.vocabulary import (
    DIFFERENCE,
    DIRECTION_NAMES,
    SIDE_NAMES,
    STATE,
    TERMS,
)
from vmamba_explore.view.widgets.browser_code import read_code

ROOT = pathlib.Path(__file__).parents[2]
MODULES = sorted((ROOT / "vmamba_explore" / "view").rglob("*.js"))


def test_the_modules_do_what_their_own_tests_say(require):
    node = shutil.which("node")
    if node is None:
        require("node", "there is no node on this machine")
    tests = sorted((ROOT / "tests" / "javascript").glob("*.test.js"))
    run = subprocess.run([node, "--test", *tests], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert int(re.search(r"^(?:#|ℹ) pass (\d+)$", run.stdout, re.MULTILINE)[1]) >= 58


ENTRIES = (
    "explorer/explorer.js",
    "widgets/chooser.js",
    "live/worker.js",
    "live/exported.js",
    "live/walk.js",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_two_joined_modules_give_one_name_to_two_things(entry, tmp_path, require):
    node = shutil.which("node")
    if node is None:
        require("node", "there is no node on this machine")
    joined = tmp_path / "joined.mjs"
    joined.write_text(read_code(ROOT / "vmamba_explore" / "view" / entry), "utf-8")
    run = subprocess.run([node, "--check", joined], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_no_text_goes_over_several_lines_since_joined_modules_lose_their_indents():
    for file in MODULES:
        for line in file.read_text("utf-8").splitlines():
            assert line.count("`") % 2 == 0, f"{file.name}: {line}"


def test_every_term_that_javascript_reads_is_in_the_vocabulary_and_the_other_way_round():
    read = {
        name for file in MODULES for name in re.findall(r"\bterms\.(?!js\b)(\w+)", file.read_text())
    }
    assert read == set(TERMS)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
def test_no_module_spells_out_a_term_of_its_own(file):
    code = re.sub(r"//.*", "", file.read_text("utf-8"))
    names = (DIRECTION_NAMES[DIFFERENCE], SIDE_NAMES[DIFFERENCE], TERMS["norm"], TERMS["readout"])
    if file.name == "maps.js":  # the table of all quantities, see below
        names = names[:2]
    quoted = [DIFFERENCE, "forward", "backward", *TERMS["reading"]]
    assert [name for name in names if name in code] == []
    assert [key for key in quoted if f'"{key}"' in code] == []


def test_a_page_computes_every_quantity_that_needs_no_gradients():
    code = (ROOT / "vmamba_explore/view/live/maps.js").read_text("utf-8")
    table = re.search(r"^const OF_SCANS = {\n(.*?)^};", code, re.MULTILINE | re.DOTALL)[1]
    names = re.findall(r'^  "?([\w -]+?)"?:', table, re.MULTILINE)
    (last,) = re.findall(r'^const CONTRIBUTION = "(\w+)"', code, re.MULTILINE)
    assert {*names, last} == set(QUANTITIES) - set(NEEDS_GRADIENTS)


def test_the_maps_that_have_a_place_of_their_own_are_quantities_of_the_explorer():
    assert {TERMS["norm"], TERMS["readout"]} <= set(QUANTITIES)
    assert list(TERMS["reading"]) == list(SIDES)


def test_every_trait_of_the_state_is_validated_in_an_address():
    code = (ROOT / "vmamba_explore/view/explorer/address.js").read_text("utf-8")
    rules = re.search(r"^function validators.*?^}", code, re.MULTILINE | re.DOTALL)[0]
    assert set(re.findall(r"^    (\w+)[:(]", rules, re.MULTILINE)) == set(STATE)
