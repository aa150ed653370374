"""One list of dependencies: pyproject.toml; the conda file and the wheel follow it."""

import pathlib
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = pathlib.Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, HATCH = PYPROJECT["project"], PYPROJECT["tool"]["hatch"]
PLATFORMS = {
    "Linux on Intel": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux on ARM": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "macOS": {"sys_platform": "darwin", "platform_machine": "arm64"},
    "Windows": {"sys_platform": "win32", "platform_machine": "AMD64"},
}


def closure(extra: str) -> list[Requirement]:
    """What `vmamba-explore[extra]` asks pip for, extras of this project resolved."""
    found = [Requirement(text) for text in PROJECT["dependencies"]]
    waiting, seen = [extra], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for text in PROJECT["optional-dependencies"][name]:
            requirement = Requirement(text)
            if requirement.name == PROJECT["name"]:
                waiting += requirement.extras - seen
            else:
                found.append(requirement)
    return found


def asked_for(requirement: Requirement, platform: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(PLATFORMS[platform])


def test_the_conda_environment_is_a_python_and_this_project():
    python, pip, by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert (pip, by_pip) == ("pip", {"pip": ["-e .[all]"]})
    name, version = python.split("=")
    assert name == "python"
    assert f"{version}.0" in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("platform", PLATFORMS)
def test_all_holds_the_packages_that_users_expect(platform):
    names = {requirement.name for requirement in closure("all") if asked_for(requirement, platform)}
    names = {"decord" if name == "decord2" else name for name in names}
    expected = {"torch", "jupyterlab", "ipywidgets", "plotly", "captum", "decord", "einops"}
    assert expected <= names
    assert "triton" not in names, "a gigabyte that torch's CUDA builds bring anyway"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_gets_exactly_one_decord(platform):
    readers = [r for r in closure("all") if r.name.startswith("decord")]
    assert sum(asked_for(reader, platform) for reader in readers) == 1


def test_the_test_extra_holds_everything_that_the_others_do():
    names = {requirement.name for requirement in closure("test")}
    assert {requirement.name for requirement in [*closure("all"), *closure("gpu")]} <= names


def test_style_and_type_checkers_are_pinned():
    pinned = {r.name for r in closure("test") if str(r.specifier).startswith("==")}
    assert {"ruff", "mypy"} <= pinned


def test_the_constraints_allow_what_the_project_asks_for():
    wanted = {requirement.name: requirement.specifier for requirement in closure("test")}
    for line in (ROOT / "constraints.txt").read_text().split():
        (pin,) = Requirement(line).specifier
        assert pin.version in wanted[Requirement(line).name]


def test_the_wheel_holds_both_packages_and_the_bundled_files(tmp_path):
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    homes = {"vmamba_explore": ROOT, "vmamba_kernels": ROOT / "kernels"}
    for package, home in homes.items():
        files = [path for path in (home / package).rglob("*") if path.is_file()]
        wanted = {
            path.relative_to(home).as_posix() for path in files if "__pycache__" not in path.parts
        }
        assert wanted <= packed
    left_out = {ROOT / name for name in HATCH["build"]["targets"]["wheel"]["exclude"]}
    data = [path for path in (ROOT / "data").rglob("*") if path.is_file()]
    wanted = {path.relative_to(ROOT) for path in data if not left_out & set(path.parents)}
    assert {name for name in packed if name.startswith("vmamba_explore/data/")} == {
        f"vmamba_explore/{path.as_posix()}" for path in wanted
    }
    assert {"vmamba_explore", "vmamba_kernels"} >= {
        name.split("/")[0] for name in packed if ".dist-info/" not in name
    }
