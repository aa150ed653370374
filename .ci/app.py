"""Serve the app of notebooks/07_explorer.ipynb by Voila: no code in sight, nothing from a network.

Only whoever has the address with its token can open it, and only from this machine. With --headless
no browser opens: one line, the address, goes to stdout, and the server runs until it is
interrupted. Options it does not know are passed on to Voila. jupyter_config/voila.py limits what
a visitor can send; --memory-gib what the server, and each page's kernel, can hold.
"""

import argparse
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import webbrowser

from lab import ROOT, quiet_log, secret_token, until_it_ends, wait_for, with_first

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
    parser.add_argument(
        "--memory-gib", type=float, default=8.0, help="the most that a process may hold (on Linux)"
    )
    options, others = parser.parse_known_args()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vmamba-app-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        uploads, notebooks, secret = (folder / part for part in ("uploads", "notebooks", "secret"))
        for part in (uploads, notebooks, secret):  # Voila serves pictures beside the notebook
            part.mkdir(mode=0o700)
        environment = {
            **os.environ,
            **quiet_log(),
            **secret_token(secret),
            "JUPYTER_PATH": with_first(ROOT / ".ci" / "voila_template", "JUPYTER_PATH"),
            "TMPDIR": str(uploads),  # goes with the folder, also what a killed kernel leaves
            "VMAMBA_APP_PATHS": str(int(options.paths)),
        }
        token = pathlib.Path(environment["JUPYTER_TOKEN_FILE"]).read_text()
        command = [*app_command(without_lesson(notebooks), port), *others]
        server = subprocess.Popen(command, stdout=sys.stderr, env=environment)
        limit_memory(server.pid, options.memory_gib)

        def address() -> str:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/static/", timeout=2).close()
            except urllib.error.HTTPError:
                pass  # it answers, if only to say no
            return f"http://127.0.0.1:{port}/?token={token}"

        def show(found: str) -> None:
            print(found, flush=True)
            if not options.headless:
                webbrowser.open(redirect(secret, found).as_uri())

        return until_it_ends(server, wait_for(server, address), show)


def limit_memory(process: int, gib: float) -> None:
    """Limit what a process, and each that it starts, can hold; only Linux can."""
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):  # or a lower one
        import resource

        limit = int(gib * 2**30)
        resource.prlimit(process, resource.RLIMIT_DATA, (limit, limit))


def redirect(folder: pathlib.Path, address: str) -> pathlib.Path:
    """Write a page that leads to an address: a browser's command line shows no token then."""
    page = folder / "open.html"
    page.touch(mode=0o600)
    page.write_text(f'<meta http-equiv="refresh" content="0; url={address}">')
    return page


def without_lesson(folder: pathlib.Path) -> pathlib.Path:
    """Write what the app shows of the notebook: all but the cells of the lesson."""
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    content["cells"] = [
        cell for cell in content["cells"] if LESSON not in cell["metadata"].get("tags", [])
    ]
    path = folder / NOTEBOOK.name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def app_command(notebook: pathlib.Path, port: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "voila",
        str(notebook),
        "--no-browser",
        "--Voila.ip=127.0.0.1",
        f"--port={port}",
        "--template=offline",
    ]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
