"""JupyterLab and Voila as `make` starts them, and pages in them that keep what goes wrong."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

ROOT = pathlib.Path(__file__).parents[2]
IDLE = """() => {
    const context = window.jupyterapp.shell.currentWidget?.sessionContext;
    return context?.isReady && context.session?.kernel?.status === "idle";
}"""
RUN = "async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells') }"
ERRORS = """() => [...window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells]
    .flatMap(cell => cell.outputs ?? [])
    .filter(output => output.output_type === "error")
    .map(output => `${output.ename}: ${output.evalue}`)"""
ASK = """async expression => {
    const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
    const { content } = await kernel.requestExecute({
        code: "", user_expressions: { answer: `__import__("json").dumps(${expression})` },
    }).done;
    const { status, data, evalue } = content.user_expressions.answer;
    if (status !== "ok") throw new Error(`${expression}: ${evalue}`);
    return data["text/plain"].slice(1, -1);
}"""
TELL = """async code => {
    const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
    const { content } = await kernel.requestExecute({ code }).done;
    if (content.status !== "ok") throw new Error(`${content.ename}: ${content.evalue}`);
}"""


@dataclass
class Lab:
    """A running JupyterLab: the address it printed, and the folder that it shows."""

    address: str
    root: pathlib.Path


@contextmanager
def jupyter_lab(root: pathlib.Path, home: pathlib.Path) -> Iterator[Lab]:
    """Serve a copy of the notebooks as `make lab HEADLESS=1` does, apart from the user's Jupyter.

    Args:
        root: An empty folder, to be shown.
        home: An empty folder for what Jupyter keeps.
    """
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    command = [
        sys.executable,
        str(ROOT / ".ci" / "lab.py"),
        "--headless",
        f"--root={root}",
        "--LabApp.expose_app_in_browser=True",
        f"--LabApp.workspaces_dir={home / 'workspaces'}",
        f"--LabApp.user_settings_dir={home / 'settings'}",
    ]
    with served(command, home) as address:
        yield Lab(address, root)


@contextmanager
def served(command: list[str], home: pathlib.Path, **variables: str) -> Iterator[str]:
    """Run a server that prints one line, its address."""
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    private = {place: str(home / place.lower()) for place in places}
    log = home / "server.log"
    with log.open("w") as errors:
        server = subprocess.Popen(
            command,
            env={**os.environ, **private, **variables},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            address = server.stdout.readline().strip()
            assert address, log.read_text()[-2000:]
            yield address
            server.terminate()
            assert server.stdout.read() == "", "one line was promised"
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()


def watched(context, home: str):
    """Return a new page that keeps errors in `faults` and requests to others in `foreign`.

    Args:
        context: Of the browser.
        home: The host that may be asked, with its port; "" for none.
    """
    page = context.new_page()
    page.faults, page.foreign = [], []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)

    def note(url):
        parts = urlsplit(url)
        inside = parts.scheme in ("data", "blob") or (not home and parts.scheme == "file")
        if not inside and parts.netloc != home:
            page.foreign.append(url)

    page.on("request", lambda request: note(request.url))
    page.on("websocket", lambda socket: note(socket.url))
    return page


def write_notebook(lab: Lab, name: str, cells: list[str]) -> pathlib.Path:
    """Write a notebook of code cells into the folder that a lab shows."""
    import nbformat

    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=code, metadata={"kernelspec": kernel})
    path = lab.root / "notebooks" / name
    nbformat.write(notebook, path)
    return path


def open_notebook(lab: Lab, context, name: str, init: str = ""):
    """Open a notebook of the lab and wait for its kernel.

    Args:
        context: Of the browser.
        name: The notebook's file.
        init: JavaScript to run before any other.
    """
    page = watched(context, urlsplit(lab.address).netloc)
    if init:
        page.add_init_script(init)
    address = lab.address.replace("00_start_here.ipynb", name)
    page.goto(f"{address}&reset")
    page.wait_for_function("window.jupyterapp !== undefined")
    page.evaluate("async () => { await window.jupyterapp.restored }")
    page.wait_for_function(IDLE)
    return page


def run_all_cells(page) -> None:
    """Run the open notebook; a cell that raises fails here."""
    page.evaluate(RUN)
    assert page.evaluate(ERRORS) == []


def kernel_value(page, expression: str):
    """Return the value of an expression in the kernel, as JSON carries it."""
    return json.loads(page.evaluate(ASK, expression).encode().decode("unicode_escape"))


def kernel_comes_to(page, expression: str, value) -> None:
    """Wait until an expression in the kernel has a value; the page sends changes when it can."""
    comes_true(page, lambda: kernel_value(page, expression) == value, f"{expression} is {value!r}")


def comes_true(page, happens: Callable[[], object], what: str) -> None:
    """Wait until something that a browser does in its own time has happened.

    Args:
        page: The page.
        happens: Whether it has.
        what: What it is, for the error.
    """
    for _ in range(2000):
        if happens():
            return
        page.wait_for_timeout(100)  # milliseconds
    raise AssertionError(f"it never came true that {what}")


def kernel_does(page, code: str) -> None:
    """Run code in the kernel without a cell."""
    page.evaluate(TELL, code)
