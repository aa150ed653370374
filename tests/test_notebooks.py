"""Notebooks are saved without outputs, stay small, and run offline."""

import json
import pathlib

import pytest

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


@pytest.mark.notebook
@each_notebook
def test_a_notebook_runs_offline(path, clean_kernel):
    clean_kernel.run(OFFLINE)
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    shown = [str(output) for cell in code for output in clean_kernel.run(cell)]
    assert shown, "it shows nothing"
    if path.parent.name == "solutions":
        assert not [words for words in shown if "Not so here" in words], "a solution is wrong"


def test_the_network_is_really_closed_to_notebooks(kernel):
    from nbclient.exceptions import CellExecutionError

    kernel.run(OFFLINE)
    with pytest.raises(CellExecutionError, match="must not use the network"):
        kernel.run("import urllib.request\nurllib.request.urlopen('http://192.0.2.1', timeout=1)")
