"""A real JupyterLab, and notebooks opened in it."""

import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # under importlib's mode nobody else does

from firefox import running_firefox
from served import Lab, jupyter_lab, open_notebook, run_all_cells, write_notebook


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """JupyterLab as `make lab HEADLESS=1` serves it, on a copy of the notebooks."""
    with jupyter_lab(tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("home")) as lab:
        yield lab


@pytest.fixture(scope="session")
def open_cells(browser, lab):
    """Return a function: a notebook made of given cells, opened in JupyterLab and run."""
    contexts = []

    def opened(cells, name="cells.ipynb", init="", **options):
        write_notebook(lab, name, cells)
        contexts.append(browser.new_context(viewport={"width": 1400, "height": 1700}, **options))
        page = open_notebook(lab, contexts[-1], name, init)
        run_all_cells(page)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def screenshot(tmp_path_factory):
    """Return a function that keeps a picture of a page; VMAMBA_SCREENSHOTS says where."""
    folder = pathlib.Path(os.environ.get("VMAMBA_SCREENSHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)

    def keep(shown, name):
        shown.screenshot(path=folder / name)
        assert (folder / name).stat().st_size > 5_000, "an empty picture"

    return keep


@pytest.fixture(scope="session")
def firefox(require, tmp_path_factory):
    """A Firefox with one tab, and a drawn camera that every page may use."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        require("firefox", "there is no firefox on this machine")
    with running_firefox(program, tmp_path_factory.mktemp("firefox")) as running:
        yield running


@pytest.fixture(scope="session")
def notebook(open_cells):
    """A notebook with three explorers in its kernel and a box that shows one of them."""
    from explorer_notebook import CELLS

    watch = (pathlib.Path(__file__).parent / "watch.js").read_text("utf-8")
    return open_cells(CELLS, "explorer.ipynb", watch)


@pytest.fixture
def show(notebook):
    """Return a function that shows one of them; what goes wrong meanwhile fails the test."""
    from explorer_notebook import show_explorer

    notebook.faults.clear()
    yield lambda name: show_explorer(notebook, name)
    assert notebook.faults == [] and notebook.foreign == []
    assert notebook.locator(".Toastify__toast").count() == 0
