"""The JavaScript of the widgets: its own tests, and what it shares with Python."""

import pathlib
import re
import shutil
import subprocess

import pytest

from vmamba_explore.app.live import SIDES
from vmamba_explore.app.question import QUANTITIES
from vmamba_explore.view.explorer.vocabulary import DIFFERENCE, DIRECTION_NAMES, SIDE_NAMES, TERMS

ROOT = pathlib.Path(__file__).parents[2]
MODULES = sorted((ROOT / "vmamba_explore" / "view").rglob("*.js"))


def test_the_modules_do_what_their_own_tests_say(require):
    node = shutil.which("node")
    if node is None:
        require("node", "there is no node on this machine")
    tests = sorted((ROOT / "tests" / "javascript").glob("*.test.js"))
    run = subprocess.run([node, "--test", *tests], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert int(re.search(r"^(?:#|ℹ) pass (\d+)$", run.stdout, re.MULTILINE)[1]) >= 31


def test_every_term_that_javascript_reads_is_in_the_vocabulary_and_the_other_way_round():
    read = {
        name for file in MODULES for name in re.findall(r"\bterms\.(?!js\b)(\w+)", file.read_text())
    }
    assert read == set(TERMS)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
def test_no_module_spells_out_a_term_of_its_own(file):
    code = re.sub(r"//.*", "", file.read_text("utf-8"))
    names = (DIRECTION_NAMES[DIFFERENCE], SIDE_NAMES[DIFFERENCE], TERMS["norm"], TERMS["readout"])
    quoted = [DIFFERENCE, "forward", "backward", *TERMS["reading"]]
    assert [name for name in names if name in code] == []
    assert [key for key in quoted if f'"{key}"' in code] == []


def test_the_maps_that_have_a_place_of_their_own_are_quantities_of_the_explorer():
    assert {TERMS["norm"], TERMS["readout"]} <= set(QUANTITIES)
    assert list(TERMS["reading"]) == list(SIDES)
