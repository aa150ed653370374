"""Write into every notebook where else it opens, and the cell that installs the package.

The repository stands in pyproject.toml, [tool.links]; while that is a placeholder, notebooks have
no links, since they would lead nowhere. --check writes nothing; it fails while it is a placeholder
or a notebook differs.
"""

import argparse
import json
import pathlib
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
LINKS, INSTALL = "open-elsewhere", "install"
TAGS = {"tags": ["lesson"]}  # the app leaves these cells out


def repository() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["links"][
        "repository"
    ]


def named() -> bool:
    """Whether the repository is known."""
    return not repository().startswith("OWNER/")


def links_cell(name: str) -> dict:
    """The cell that says where else a notebook opens; `name` is its path below the root."""
    colab = f"https://colab.research.google.com/github/{repository()}/blob/main/{name}"
    binder = f"https://mybinder.org/v2/gh/{repository()}/main?urlpath=lab/tree/{name}"
    text = f"Without installing anything: [open in Colab]({colab}) or [in Binder]({binder})."
    return {"cell_type": "markdown", "id": LINKS, "metadata": TAGS, "source": [text]}


def install_cell(name: str) -> dict:
    """The cell that installs the package where it is missing: of the checkout, else released."""
    up = "/".join([".."] * name.count("/"))
    text = f"""\
import importlib.util
from pathlib import Path

if importlib.util.find_spec("vmamba_explore") is None:
    source = "-e {up}" if Path("{up}/pyproject.toml").is_file() else "vmamba-explore"
    %pip install -q {{source}}"""
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": INSTALL,
        "metadata": TAGS,
        "outputs": [],
        "source": text.splitlines(keepends=True),
    }


def with_links(notebook: dict, name: str) -> dict:
    """Return a notebook with the links below its title, and the install cell as its first code."""
    kept = [
        cell
        for cell in notebook["cells"]
        if cell["id"] not in (LINKS, INSTALL) and "%pip install" not in "".join(cell["source"])
    ]
    code = next(n for n, cell in enumerate(kept) if cell["cell_type"] == "code")
    elsewhere = [links_cell(name)] if named() else []
    cells = [kept[0], *elsewhere, *kept[1:code], install_cell(name), *kept[code:]]
    return {**notebook, "cells": cells}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check, wrong = parser.parse_args().check, []
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        name = path.relative_to(ROOT).as_posix()
        before = path.read_text("utf-8")
        notebook = with_links(json.loads(before), name)
        after = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=False) + "\n"
        if not check:
            path.write_text(after, "utf-8")
        elif after != before:
            wrong.append(f"{name} is not what `make links` writes.")
    if check and not named():
        wrong.append("pyproject.toml, [tool.links] names no repository yet.")
    print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
