"""Notebooks are saved without outputs, stay small, and run offline."""

import pathlib

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
HANG = 600  # seconds for a cell, on a busy machine
OFFLINE = """
import socket

def _no_network(self, address, _connect=socket.socket.connect):
    if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
        return _connect(self, address)
    raise OSError(f"a notebook must not use the network, it asked for {address}")

socket.socket.connect = _no_network
"""

each_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=[path.relative_to(ROOT / "notebooks").as_posix() for path in NOTEBOOKS]
)


def test_the_first_notebook_is_where_make_lab_opens_it():
    assert ROOT / "notebooks" / "00_start_here.ipynb" in NOTEBOOKS


@each_notebook
def test_a_notebook_is_saved_clean_and_small(path):
    assert path.stat().st_size < 50_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata, "GitHub would show 'Invalid Notebook'"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []


@pytest.mark.notebook
@each_notebook
def test_a_notebook_runs_offline(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(OFFLINE))
    client = nbclient.NotebookClient(
        notebook,
        timeout=HANG,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    shown = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert shown, "it shows nothing"
    if path.parent.name == "solutions":
        assert not [words for words in shown if "Not so here" in words], "a solution is wrong"


def test_the_network_is_really_closed_to_notebooks():
    cell = "import urllib.request\nurllib.request.urlopen('http://192.0.2.1', timeout=1)"
    cells = [nbformat.v4.new_code_cell(code) for code in (OFFLINE, cell)]
    client = nbclient.NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=HANG)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="must not use the network"):
        client.execute()
