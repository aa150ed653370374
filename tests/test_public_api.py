"""The façade: what users import, and with which arguments. The list is `tests/public_api.txt`.

`python tests/test_public_api.py` rewrites the list; CONTRIBUTING.md has the policy.
"""

import ast
import importlib
import inspect
import json
import pathlib
import pkgutil
import re
import tomllib
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import vmamba_explore
from tests.fuzz.calls import calls
from tests.vmamba_explore.toys import toy

ROOT = pathlib.Path(__file__).parents[1]
LIST = ROOT / "tests" / "public_api.txt"
NAMESPACES = ("analysis", "attribution", "figures", "interventions", "kernels")
MODULES = ("vmamba_explore", *(f"vmamba_explore.{name}" for name in NAMESPACES))
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))


def signature(value: object) -> str:
    """The arguments of a function or class with their defaults, without annotations."""
    if not callable(value):
        return f": {type(value).__name__}"
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:
        return "(...)"
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    shown = str(inspect.Signature(bare))
    return re.sub(r"<(function|class|object) ?'?([\w.]+).*?>", r"<\2>", shown)


def public_api() -> str:
    """One line for each public name: where it is, what it is called, what it takes."""
    lines = []
    for module in MODULES:
        home = importlib.import_module(module)
        for name in sorted(home.__all__):
            value = getattr(home, name)
            if not inspect.ismodule(value):
                lines.append(f"{module}.{name}{signature(value)}")
    return "\n".join(lines) + "\n"


def test_names_and_signatures_are_those_of_the_list():
    assert public_api() == LIST.read_text()


@pytest.mark.parametrize("module", MODULES)
def test_a_namespace_lists_what_it_has_and_all_of_it_is_documented(module):
    home = importlib.import_module(module)
    assert list(home.__all__) == sorted(set(home.__all__))
    assert set(home.__all__) <= set(dir(home))
    values = {name: getattr(home, name) for name in home.__all__}
    bare = [name for name, value in values.items() if callable(value) and not value.__doc__]
    assert bare == []
    with pytest.raises(AttributeError):
        home.no_such_name  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_no_public_name_is_hidden_by_a_module_of_the_same_name(module):
    home = importlib.import_module(module)
    inside = {each.name for each in pkgutil.iter_modules(getattr(home, "__path__", ()))}
    clashes = inside & set(home.__all__)
    assert [name for name in clashes if not inspect.ismodule(getattr(home, name))] == []


def imports_of(code: str) -> set[str]:
    """The modules of this project that a piece of Python imports, or imports names from."""
    code = re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {
        name for name in found if name.partition(".")[0] in ("vmamba_explore", "vmamba_kernels")
    }


def code_cells(path: pathlib.Path) -> list[str]:
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_readme_imports_from_the_facade_only():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    assert {name for block in blocks for name in imports_of(block)} <= set(MODULES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_notebook_imports_from_the_facade_and_studies_only(path):
    used = {name for code in code_cells(path) for name in imports_of(code)}
    assert {name for name in used if not name.startswith("vmamba_explore.studies")} <= set(MODULES)


def taking_models() -> dict[str, Callable]:
    """The public functions and methods of classes that take a model, by name."""
    found = {}
    for module in MODULES:
        home = importlib.import_module(module)
        public = {name: getattr(home, name) for name in home.__all__}
        for owner in [value for value in public.values() if inspect.isclass(value)]:
            own = (n for n, m in vars(owner).items() if inspect.isroutine(m) and n[0] != "_")
            public |= {f"{owner.__name__}.{n}": getattr(owner, n) for n in own}
        for name, value in public.items():
            given = inspect.signature(value).parameters if inspect.isfunction(value) else {}
            if "model" in given and given["model"].annotation != "str":
                found[name] = value
    return found


OTHERS = {
    "attribute": {"method": "saliency"},
    "freeze_state": {"frames": 0},
    "problem_of": {"attribution": SimpleNamespace(call={"target": 0, "minus": None, "seed": 0})},
    "report": {"output": "report.html"},
    "swap_state": {"donor": torch.zeros(1, 2, 3)},
}
"""Arguments that a function looks at before its model."""


@pytest.mark.parametrize("name", taking_models())
def test_a_public_function_asks_for_the_model_inside_a_wrapper(name, unchecked):
    function = taking_models()[name]
    needed = {
        argument: None
        for argument, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    given = {**needed, **OTHERS.get(name, {}), "model": nn.DataParallel(toy())}
    with pytest.raises(TypeError, match="inside a DataParallel; pass the model itself"):
        result = function(**given)
        next(result)  # of `score_on_clip`, which works when it is asked


MAY_RUN_COMPILED = ("held_frame_curve", "predict_logits", "prefix_curve", "suffix_curve")
"""They run the model as it is, unedited and without looking inside."""


def test_what_looks_inside_a_model_or_edits_it_does_not_run_it_compiled(unchecked):
    def compiler(graph, inputs):
        raise AssertionError("a compiled model was run")

    asked = []
    for name, (function, given) in calls().items():
        if isinstance(given.get("model"), nn.Module) and name not in MAY_RUN_COMPILED:
            torch.compiler.reset()
            function(**{**given, "model": torch.compile(given["model"], backend=compiler)})
            asked.append(name)
    assert {"run_with_gradients", "twin_patching", "time_invariant", "ablate"} <= set(asked)


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"] and "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "vmamba_explore/__init__.py"
    assert f"## {vmamba_explore.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_types_are_published():
    assert (ROOT / "vmamba_explore" / "py.typed").exists()


if __name__ == "__main__":
    LIST.write_text(public_api())
