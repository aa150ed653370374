"""A real JupyterLab, started as `make lab` starts it."""

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[str]:
    """The address that `make lab HEADLESS=1` prints; works on a copy of the notebooks."""
    root, home = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("home")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = {**os.environ, **{place: str(home / place.lower()) for place in places}}
    command = [
        sys.executable,
        str(ROOT / ".ci" / "lab.py"),
        "--headless",
        f"--root={root}",
        "--LabApp.expose_app_in_browser=True",
        f"--LabApp.workspaces_dir={home / 'workspaces'}",
        f"--LabApp.user_settings_dir={home / 'settings'}",
    ]
    log = root / "lab.log"
    with log.open("w") as errors:
        server = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
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
