"""Build the sdist and the wheel into dist/, and try the wheel where there is no checkout.

A fresh virtual environment in a temporary folder gets the wheel and its dependencies by pip, within
constraints.txt; TRIAL runs there. --skip-trial builds only.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIMIT_MB = 8
TRIAL = """
import pathlib, sys, time
start = time.perf_counter()
import vmamba_explore, vmamba_kernels
from vmamba_explore import explore, load_model, resources
home = pathlib.Path(sys.prefix).resolve()
for package in (vmamba_explore, vmamba_kernels):
    assert home in pathlib.Path(package.__file__).resolve().parents, package.__file__
assert home in resources.data_dir().resolve().parents, resources.data_dir()
for name in resources.CLIPS:
    assert resources.path(f"clips/{name}.mp4").is_file()
from vmamba_explore.model.bundled import BUNDLED, ONLY_IN_SOURCES
for name in BUNDLED:
    load_model(name)
for name in ONLY_IN_SOURCES:
    try:
        load_model(name)
    except vmamba_explore.CheckpointError as error:
        assert "left out of the wheel" in str(error), error
    else:
        raise AssertionError(name)
view = explore(resources.path("clips/right.mp4"), progress=False)
view.to_html("explorer.html")
pathlib.Path("right.mp4").write_bytes(resources.path("clips/right.mp4").read_bytes())
assert pathlib.Path("explorer.html").stat().st_size > 100_000
print(f"from the import to an open explorer: {time.perf_counter() - start:.1f} s")
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skip-trial", action="store_true", help="build, and install nothing")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "dist")
    options = parser.parse_args()
    shutil.rmtree(options.output, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", options.output, ROOT], check=True)
    (wheel,), (sdist,) = options.output.glob("*.whl"), options.output.glob("*.tar.gz")
    for file in (wheel, sdist):
        print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
    if wrong := faults(wheel):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    return 0 if options.skip_trial else trial(wheel)


def faults(wheel: pathlib.Path) -> list[str]:
    """Name what a wheel holds and should not."""
    names = [name.split("/") for name in zipfile.ZipFile(wheel).namelist()]
    homes = {"vmamba_explore", "vmamba_kernels"}
    wrong = [
        f"{wheel.name} holds {'/'.join(parts)}."
        for parts in names
        if not (parts[0] in homes or parts[0].endswith(".dist-info"))
        or {"tests", "bench", "notebooks", "__pycache__"} & set(parts)
    ]
    if wheel.stat().st_size > LIMIT_MB * 1e6:
        wrong.append(f"{wheel.name} is larger than {LIMIT_MB} MB.")
    return wrong


def trial(wheel: pathlib.Path) -> int:
    """Install a wheel into a fresh environment and use it there."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="vmamba-dist-") as name:
        folder = pathlib.Path(name)
        venv.create(folder / "env", with_pip=True)
        programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        python, program = programs / "python", programs / "vmamba-explore"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        clean["VMAMBA_CACHE_DIR"] = str(folder / "cache")
        install = ["-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel]
        for command in (
            [python, *install],
            [python, "-c", TRIAL],
            [program, "info"],
            [program, "explore", "right.mp4", "--output", "command.html"],
        ):
            subprocess.run(command, check=True, cwd=folder, env=clean)
            print(f"{time.perf_counter() - start:.0f} s since the empty environment", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
