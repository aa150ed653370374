"""A bar that shows while it is needed and leaves nothing behind."""

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


def test_a_saved_notebook_holds_nothing_of_it(kernel):
    outputs = kernel.run(CELL)
    assert outputs, "it never showed"
    for output in outputs:
        assert output.get("data", {}) == {"text/plain": ""}, output
