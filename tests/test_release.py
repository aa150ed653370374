"""What is released: the wheel, the links of the notebooks, and the files beside them."""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml

import vmamba_explore
from vmamba_explore import CheckpointError, load_model

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def script(name):
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dist, links, resolve = script("dist"), script("links"), script("resolve")


def pack(path, *names, size=0):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"x" * size)
    return path


def test_the_wheel_is_small_and_holds_neither_tests_nor_benches(tmp_path):
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert dist.faults(wheel) == []


@pytest.mark.parametrize(
    "name", ["tests/test_a.py", "vmamba_kernels/bench/run.py", "vmamba_explore/tests/a.py", "x.py"]
)
def test_a_foreign_file_in_a_wheel_is_named(tmp_path, name):
    wheel = pack(tmp_path / "a.whl", "vmamba_explore/__init__.py", name)
    assert dist.faults(wheel) == [f"a.whl holds {name}."]


def test_a_large_wheel_is_refused(tmp_path):
    wheel = pack(tmp_path / "a.whl", "vmamba_explore/data/large", size=8_000_001)
    assert dist.faults(wheel) == ["a.whl is larger than 8 MB."]


def test_a_model_that_the_wheel_lacks_is_refused_with_where_it_is(monkeypatch):
    from vmamba_explore.model import checkpoints

    monkeypatch.setattr(checkpoints, "ONLY_IN_SOURCES", {"recall-nano-forward"})
    with pytest.raises(CheckpointError, match="data/recall-nano-forward in a checkout"):
        load_model("recall-nano-forward")


def test_a_checkout_lacks_no_bundled_model():
    from vmamba_explore.model.bundled import BUNDLED, ONLY_IN_SOURCES

    assert not ONLY_IN_SOURCES
    left_out = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"]
    assert {name.removeprefix("data/") for name in left_out} < BUNDLED.keys()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_the_links_and_the_cell_that_installs(path):
    notebook, name = json.loads(path.read_text("utf-8")), path.relative_to(ROOT).as_posix()
    assert links.with_links(notebook, name) == notebook, "run `make links`"
    (first, *_) = (cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert first["id"] == links.INSTALL


def test_links_are_written_once_the_repository_is_named_and_go_when_it_is_not(monkeypatch):
    path = NOTEBOOKS[0]
    notebook, name = json.loads(path.read_text("utf-8")), path.relative_to(ROOT).as_posix()
    with monkeypatch.context() as patch:
        patch.setattr(links, "repository", lambda: "someone/somewhere")
        there = links.with_links(notebook, name)
        assert links.with_links(there, name) == there
    assert f"github.com/someone/somewhere/blob/main/{name}" not in str(notebook)
    assert f"/github/someone/somewhere/blob/main/{name}" in there["cells"][1]["source"][0]
    monkeypatch.setattr(links, "repository", lambda: "OWNER/vmamba_explore")
    assert all(cell["id"] != links.LINKS for cell in links.with_links(there, name)["cells"])


@pytest.mark.parametrize("installed", [True, False])
def test_the_cell_that_installs_does_so_only_where_the_package_is_missing(
    installed, monkeypatch, tmp_path
):
    cell = "".join(links.install_cell("notebooks/solutions/a.ipynb")["source"])
    asked = []
    code = cell.replace("%pip install -q {source}", "asked.append(source)")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    monkeypatch.chdir(tmp_path)
    exec(code, {"asked": asked})
    assert asked == ([] if installed else ["vmamba-explore"])
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    exec(code, {"asked": asked})
    assert asked == ([] if installed else ["vmamba-explore", "-e ../.."])


def test_the_citation_names_this_version_and_license():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == vmamba_explore.__version__
    assert citation["license"] == PROJECT["project"]["license"]


def test_the_tested_versions_of_python_are_those_that_are_declared():
    declared = [
        text.rsplit(" ", 1)[1]
        for text in PROJECT["project"]["classifiers"]
        if text.startswith("Programming Language :: Python :: 3.")
    ]
    assert declared == list(resolve.VERSIONS)


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda p: p.stem)
def test_a_file_for_github_is_yaml_and_asks_for_targets_that_exist(path):
    content = yaml.safe_load(path.read_text())
    assert content
    targets = (ROOT / "Makefile").read_text()
    steps = [step for job in content.get("jobs", {}).values() for step in job["steps"]]
    asked = [step["run"].split()[1] for step in steps if step.get("run", "").startswith("make ")]
    assert [name for name in asked if f"\n{name}:" not in targets and name != "docs"] == []
