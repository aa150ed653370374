"""Serve the app of notebooks/07_explorer.ipynb by Voila: no code in sight, nothing from a network.

Only whoever has the address with its token can open it, and only from this machine. With --headless
no browser opens: one line, the address, goes to stdout, and the server runs until it is
interrupted. Options it does not know are passed on to Voila.
"""

import argparse
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import webbrowser

from lab import ROOT, until_it_ends, wait_for

NOTEBOOK = ROOT / "notebooks" / "07_explorer.ipynb"
LESSON = "lesson"  # the tag of cells that are for JupyterLab only


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--headless", action="store_true", help="open no browser, print the address"
    )
    parser.add_argument(
        "--paths", action="store_true", help="let the page read files by their path, as you could"
    )
    options, others = parser.parse_known_args()
    port, token = free_port(), secrets.token_urlsafe(24)
    templates = [str(ROOT / ".ci" / "voila_template"), os.environ.get("JUPYTER_PATH")]
    environment = {
        **os.environ,
        "JUPYTER_PATH": os.pathsep.join(filter(None, templates)),
        "VMAMBA_APP_PATHS": str(int(options.paths)),
    }
    with tempfile.TemporaryDirectory(prefix="vmamba-app-") as folder:
        notebook = without_lesson(pathlib.Path(folder))
        server = subprocess.Popen(
            [*app_command(notebook, port, token), *others], stdout=sys.stderr, env=environment
        )

        def address() -> str:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/static/", timeout=2).close()
            except urllib.error.HTTPError:
                pass  # it answers, if only to say no
            return f"http://127.0.0.1:{port}/?token={token}"

        def show(found: str) -> None:
            print(found, flush=True)
            if not options.headless:
                webbrowser.open(found)

        return until_it_ends(server, wait_for(server, address), show)


def without_lesson(folder: pathlib.Path) -> pathlib.Path:
    """Write what the app shows of the notebook: all but the cells of the lesson."""
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    content["cells"] = [
        cell for cell in content["cells"] if LESSON not in cell["metadata"].get("tags", [])
    ]
    path = folder / NOTEBOOK.name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def app_command(notebook: pathlib.Path, port: int, token: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "voila",
        str(notebook),
        "--no-browser",
        "--Voila.ip=127.0.0.1",
        f"--port={port}",
        f"--Voila.token={token}",
        "--template=offline",
        "--VoilaConfiguration.show_tracebacks=False",
    ]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
