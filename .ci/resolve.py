"""Resolve every extra for every system and Python version; nothing is installed.

Asks uv, which reads the package index. The last line counts what has no solution.
"""

import itertools
import os
import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
SYSTEMS = {
    "Linux (Intel)": "x86_64-unknown-linux-gnu",
    "Linux (ARM)": "aarch64-unknown-linux-gnu",
    "macOS 14 (ARM)": "aarch64-apple-darwin",
    "Windows": "x86_64-pc-windows-msvc",
}
VERSIONS = ("3.11", "3.12", "3.13")


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [*(sys.argv[1:] or ["", *project["optional-dependencies"]])]
    failed = 0
    for extra, (system, platform), version in itertools.product(extras, SYSTEMS.items(), VERSIONS):
        command = ["uv", "pip", "compile", "--quiet", "--output-file", os.devnull, "pyproject.toml"]
        command += ["-c", "constraints.txt", "--python-platform", platform]
        command += ["--python-version", version, *(["--extra", extra] if extra else [])]
        # torch's wheels ask for macOS 14
        environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        failed += done.returncode != 0
        state = "resolves" if done.returncode == 0 else f"fails\n{done.stderr.strip()}"
        print(f"[{extra}] {system}, Python {version}: {state}", flush=True)
    print(f"{failed} without a solution")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
