"""Node for tests of the JavaScript that runs a model."""

import shutil

import pytest

from tests.vmamba_explore.view.live.engine import Engine
from vmamba_explore.view.explorer.vocabulary import TERMS


@pytest.fixture
def learned(require):
    """Return a function: an `Engine` whose modules know the terms that the explorer's have."""
    if shutil.which("node") is None:
        require("node", "there is no node on this machine")
    engines = []

    def make(model=None):
        engine = Engine(model)
        engines.append(engine)
        engine.call("../explorer/terms.js", "learn", {"map": [["terms", TERMS]]})
        return engine

    yield make
    for engine in engines:
        engine.__exit__()
