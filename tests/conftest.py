"""Shapes are checked under pytest, and VMAMBA_REQUIRE turns chosen skips into failures."""

import os
import shutil
import sys
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

if not torch.cuda.is_available():  # before triton is imported: its kernels are then interpreted
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Before any test imports the package: every jaxtyping annotation in it is then enforced.
jaxtyping.install_import_hook("vmamba_explore", "beartype.beartype")

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REQUIRABLE = ("browser", "cxx", "node", "triton")


def pytest_configure() -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    unknown = required() - set(REQUIRABLE)
    if unknown:
        raise pytest.UsageError(f"VMAMBA_REQUIRE knows {', '.join(REQUIRABLE)}; got {unknown}.")


def required() -> set[str]:
    """What VMAMBA_REQUIRE lists: things whose absence fails a test instead of skipping it."""
    return {name.strip() for name in os.environ.get("VMAMBA_REQUIRE", "").split(",")} - {""}


@pytest.fixture(scope="session")
def require():
    """Return a function: `require("browser", reason)` skips, or fails where it is required."""

    def missing(name: str, reason: str) -> None:
        if name not in REQUIRABLE:
            raise ValueError(f"require: {name!r} is not one of {REQUIRABLE}.")
        if name in required():
            pytest.fail(f"VMAMBA_REQUIRE lists {name!r}, but {reason}")
        pytest.skip(reason)

    return missing


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch the shape checks off: for torch.compile, and to reach the library's own errors."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session", autouse=True)
def one_copy_of_the_kernels() -> Iterator[None]:
    """`import kernels.vmamba_kernels` would register every operator a second time."""
    yield
    assert "kernels.vmamba_kernels" not in sys.modules


@pytest.fixture(scope="session")
def browser(require) -> Iterator:
    """Chromium; every test opens a context of its own in it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        require("browser", "playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        require("browser", "there is no chromium on this machine")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)
        yield chromium
        chromium.close()
