"""Serve JupyterLab on the first notebook, without news, update checks or extension downloads.

With --headless the browser stays closed: one line, the address with its token, goes to stdout, and
the server runs until it is interrupted. Options it does not know are passed on to JupyterLab.
"""

import argparse
import json
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOK = "notebooks/00_start_here.ipynb"
START_SECONDS = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--headless", action="store_true", help="open no browser, print the address"
    )
    parser.add_argument("--root", default=ROOT, help="the folder that JupyterLab shows")
    options, others = parser.parse_known_args()
    command = lab_command(options.root, others)
    if not options.headless:
        os.execve(command[0], command, os.environ | quiet_log())
    with tempfile.TemporaryDirectory(prefix="vmamba-lab-") as folder:
        server = subprocess.Popen(
            [*command, "--no-browser"],
            stdout=sys.stderr,
            env=os.environ | quiet_log() | secret_token(pathlib.Path(folder)),
        )
        record = runtime_dir() / f"jpserver-{server.pid}.json"

        def address() -> str:
            running = json.loads(record.read_text())
            return f"{running['url']}lab/tree/{NOTEBOOK}?token={running['token']}"

        return until_it_ends(server, wait_for(server, address), lambda a: print(a, flush=True))


def lab_command(root: str | os.PathLike[str], others: list[str]) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{NOTEBOOK}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        f"--LabApp.app_settings_dir={ROOT / '.ci' / 'lab_settings'}",  # asks for no news either
        *others,
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command


def secret_token(folder: pathlib.Path) -> dict[str, str]:
    """Write a new token where only this user can read it; return the variables that name it.

    A command line shows it to every user of the machine. JUPYTER_TOKEN would win over the file.
    """
    file = folder / "token"
    file.touch(mode=0o600)
    file.write_text(secrets.token_urlsafe(24))
    return {"JUPYTER_TOKEN_FILE": str(file), "JUPYTER_TOKEN": ""}


def quiet_log() -> dict[str, str]:
    """Return the variable that leads to our configuration, which keeps tokens out of the log."""
    folder = ROOT / ".ci" / "jupyter_config"
    return {"JUPYTER_CONFIG_PATH": with_first(folder, "JUPYTER_CONFIG_PATH")}


def with_first(folder: pathlib.Path, variable: str) -> str:
    """Return a search path with a folder before those that the user has set."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get(variable)]))


def runtime_dir() -> pathlib.Path:
    from jupyter_core.paths import jupyter_runtime_dir

    return pathlib.Path(jupyter_runtime_dir())


def wait_for(server: subprocess.Popen, find: Callable[[], str | None]) -> str | None:
    """Return the server's address once it can be found, None if it ends or never does."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.terminate())
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            address = find()
        except (OSError, ValueError):  # not there yet, or half written
            address = None
        if address is not None:
            return address
        time.sleep(0.1)
    server.terminate()
    return None


def until_it_ends(
    server: subprocess.Popen, address: str | None, show: Callable[[str], object]
) -> int:
    """Show the address, wait for the server's end and return what to exit with."""
    if address is not None:
        show(address)
    code = server.wait()
    return 1 if address is None else max(code, 0)


if __name__ == "__main__":
    sys.exit(main())
