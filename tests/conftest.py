"""Shapes are checked under pytest, VMAMBA_REQUIRE turns chosen skips into failures, and slow tests
are marked by what they need and started first.
"""

import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

# Before torch is imported, here and in every process that a test starts. As many tests run at once
# as there are cores, so each has one thread, which does not spin while it waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import hypothesis
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
    "--use-fake-device-for-media-stream",  # a webcam; a page still has to be allowed to use it
]
HANG = 600
"""Seconds after which a test gives up on another process. No test asserts how long one takes."""

REQUIRABLE = ("browser", "cxx", "ffmpeg", "firefox", "node", "triton")
TESTS = pathlib.Path(__file__).parent
SLOWEST = (
    "vmamba_explore/training/test_runs.py",
    "test_notebooks.py",
    "films/",
    "fuzz/",
    "browser/",
    "vmamba_explore/training/",
    "vmamba_kernels/",
    "bench/",
    "vmamba_explore/app/",
)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, since tests wait for browsers, kernels and servers."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need; keep a file's fixtures in one process; slowest files first."""
    for item in items:
        path = item.path.relative_to(TESTS).as_posix()
        if path.startswith("bench/"):
            item.add_marker("bench")
        if path.startswith("vmamba_kernels/") and "gpu" in item.path.name:
            item.add_marker("interpreted")
        if {"browser", "firefox"} & set(item.fixturenames):
            item.add_marker("browser")
        alone = path in ("fuzz/test_doors.py", "test_notebooks.py")
        group = item.nodeid if alone else path
        group = "jupyterlab" if "lab" in item.fixturenames else group
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_speed)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to spread a file over processes: pytest-xdist 3.8 does so under pytest 9.2."""
    if session.config.getoption("loadgroup", False):
        alone = [item.nodeid for item in session.items if "@" not in item.nodeid]
        if alone:
            raise pytest.UsageError(f"This pytest keeps no file in one process: {alone[0]}")


def _speed(item: pytest.Item) -> int:
    path = item.path.relative_to(TESTS).as_posix()
    return next((n for n, start in enumerate(SLOWEST) if path.startswith(start)), len(SLOWEST))


def pytest_configure() -> None:
    torch.set_num_threads(1)
    hypothesis.settings.register_profile(
        "suite", max_examples=25, derandomize=True, deadline=None, database=None
    )
    hypothesis.settings.load_profile("suite")
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
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        require("browser", "playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        require("browser", "there is no chromium on this machine")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)
        open_context = chromium.new_context

        def patient(**options):
            context = open_context(**options)
            context.set_default_timeout(1000 * HANG)
            return context

        chromium.new_context = patient
        expect.set_options(timeout=1000 * HANG)
        yield chromium
        chromium.close()


class Kernel:
    """A notebook that runs in a real kernel, and the messages that a browser would send to it."""

    def __init__(self, folder: pathlib.Path) -> None:
        import nbclient  # here, since it takes seconds
        import nbformat

        self._cell = nbformat.v4.new_code_cell
        self.client = nbclient.NotebookClient(
            nbformat.v4.new_notebook(),
            timeout=HANG,
            kernel_name="python3",
            store_widget_state=True,
            resources={"metadata": {"path": str(folder)}},
        )

    def run(self, code: str) -> list:
        """Run a new cell and return its outputs."""
        cells = self.client.nb.cells
        cells.append(self._cell(code))
        return self.client.execute_cell(cells[-1], len(cells) - 1).outputs

    def says(self, expression: str) -> str:
        """Return what the kernel prints of an expression."""
        outputs = self.run(f"print({expression})")  # a line may come in several messages
        return "".join(each.text for each in outputs if each.get("name") == "stdout").strip()

    def send(self, comm: str, **data) -> None:
        """Send a message to a widget."""
        message = self.client.kc.session.msg("comm_msg", {"comm_id": comm, "data": data})
        self.client.kc.shell_channel.send(message)


@pytest.fixture
def kernel(tmp_path) -> Iterator[Kernel]:
    """Start a kernel in an empty folder."""
    started = Kernel(tmp_path)
    with started.client.setup_kernel():
        yield started


@pytest.fixture(scope="module")
def used_kernel(tmp_path_factory) -> Iterator[Kernel]:
    """A kernel for several tests of a file: starting one and importing torch takes seconds."""
    started = Kernel(tmp_path_factory.mktemp("kernel"))
    with started.client.setup_kernel():
        started.run("import plotly.io, torch")
        started.renderer = started.says("plotly.io.renderers.default")
        yield started


@pytest.fixture
def clean_kernel(used_kernel, tmp_path) -> Kernel:
    """Return a kernel without names, in an empty folder, with the settings of a new one."""
    used_kernel.run(
        "%reset -f\n"
        "import os, plotly.io, torch\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "torch.set_grad_enabled(True)\n"
        f"plotly.io.renderers.default = {used_kernel.renderer!r}\n"
        "del os, plotly, torch"
    )
    return used_kernel
