"""Notebooks are saved without outputs, stay small, and run offline."""

import json
import pathlib
import re

import pytest

from tests.notebook_claims import CLAIMS

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
OFFLINE = """
import socket

def _no_network(self, address, _connect=socket.socket.connect):
    if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
        return _connect(self, address)
    raise OSError(f"a notebook must not use the network, it asked for {address}")

if socket.socket.connect.__name__ != "_no_network":
    socket.socket.connect = _no_network
"""

MEASURED = re.compile(r"\d[\d.,]* %|\d+\.\d+")
"""A percentage or a decimal fraction in a text."""
NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\$[^$]*\$|\]\([^)]*\)", re.DOTALL)

each_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=[path.relative_to(ROOT / "notebooks").as_posix() for path in NOTEBOOKS]
)


def test_the_first_notebook_is_where_make_lab_opens_it():
    assert ROOT / "notebooks" / "00_start_here.ipynb" in NOTEBOOKS


@each_notebook
def test_a_notebook_is_saved_clean_and_small(path):
    import nbformat

    assert path.stat().st_size < 50_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata, "GitHub would show 'Invalid Notebook'"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []


def prose(path):
    """The text of a notebook, without code, formulas and addresses."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return NOT_PROSE.sub("", "\n".join(texts))


def unclaimed(text, claims):
    """The percentages and decimal fractions of a text that are in none of the claims."""
    for claim in claims:
        text = text.replace(NOT_PROSE.sub("", claim), "")
    return MEASURED.findall(text)


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_stands_in_its_notebook_and_every_number_in_a_claim(name):
    text, claims = prose(ROOT / "notebooks" / name), CLAIMS[name]
    assert [claim for claim in claims if NOT_PROSE.sub("", claim) not in text] == []
    assert unclaimed(text, claims) == []


def test_a_number_without_a_claim_is_found():
    text = NOT_PROSE.sub("", "About 7.5 frames; 3 % in `0.5`, $x = 0.1$ and [0.2](see/0.3.md), 4")
    assert unclaimed(text, ["3 % in"]) == ["7.5", "0.2"]
    assert unclaimed(text, ["3 % in", "About 7.5 frames", "[0.2"]) == []


@pytest.mark.notebook
@each_notebook
def test_a_notebook_runs_offline(path, clean_kernel):
    clean_kernel.run(OFFLINE)
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    shown = [str(output) for cell in code for output in clean_kernel.run(cell)]
    assert shown, "it shows nothing"
    claims = CLAIMS.get(path.relative_to(ROOT / "notebooks").as_posix(), {})
    measured = clean_kernel.says(f"[bool(each) for each in ({', '.join([*claims.values(), ''])})]")
    assert [
        c for c, true in zip(claims, json.loads(measured.lower()), strict=True) if not true
    ] == []
    if path.parent.name == "solutions":
        assert not [words for words in shown if "Not so here" in words], "a solution is wrong"


def test_the_network_is_really_closed_to_notebooks(kernel):
    from nbclient.exceptions import CellExecutionError

    kernel.run(OFFLINE)
    with pytest.raises(CellExecutionError, match="must not use the network"):
        kernel.run("import urllib.request\nurllib.request.urlopen('http://192.0.2.1', timeout=1)")
