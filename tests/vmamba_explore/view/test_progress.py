"""A bar that shows while it is needed and leaves nothing behind."""

import nbformat
from nbclient import NotebookClient

from vmamba_explore.view.progress import PassingBar

CELL = """
from vmamba_explore.view.progress import PassingBar
with PassingBar(3, "counting") as bar:
    bar.step("one")
"""


def test_in_a_terminal_it_counts_its_steps(capsys):
    with PassingBar(2, "counting") as bar:
        bar.step("the first")
        bar.step("the second")
    words = capsys.readouterr().err
    assert "counting" in words and "the second" in words


def test_disabled_it_says_nothing(capsys):
    with PassingBar(2, "counting", disable=True) as bar:
        bar.step("the first")
    assert capsys.readouterr().err == ""


def test_a_saved_notebook_holds_nothing_of_it():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=600, store_widget_state=True).execute()
    outputs = notebook.cells[0].outputs
    assert outputs, "it never showed"
    for output in outputs:
        assert output.get("data", {}) == {"text/plain": ""}, output
