"""The measurements are scripts that import each other by name."""

import importlib
import pathlib
import sys

import pytest


@pytest.fixture(scope="module")
def script():
    """Return a function that imports a script of a folder by its name; forgotten afterward."""
    before, folders = set(sys.modules), []
    with pytest.MonkeyPatch.context() as patch:

        def load(name, folder=pathlib.Path(__file__).parent):
            folders.append(str(folder))
            patch.syspath_prepend(folders[-1])
            return importlib.import_module(name)

        yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(tuple(folders)):
            del sys.modules[name]
