"""The fuzzing harness reads /proc, which Linux has."""

import pathlib

import pytest


@pytest.fixture(scope="session")
def linux():
    """Skip where the harness cannot watch a process."""
    if not pathlib.Path("/proc/self/clear_refs").exists():
        pytest.skip("there is no /proc to watch a process with")
