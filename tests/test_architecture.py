"""The house rules: who may import whom, what an import may load, how long a file may get."""

import ast
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PYTHON_FILES = [
    path
    for folder in ("vmamba_explore", "kernels", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
HEAVY = (
    "anywidget captum dask decord ipywidgets jupyterlab llvmlite matplotlib plotly skimage triton"
)
OPEN = {"buffer", "file"}
"""What an argument is called that is a file already, of `atomic_write` or in memory."""
WRITES = {
    "vmamba_explore/analysis/features/fit.py": {
        "features.save": "by atomic_write",
        "run.save": "by atomic_write",
    },
    "vmamba_explore/app/long_video.py": {"TemporaryDirectory": "rows that are not to be kept"},
    "vmamba_explore/cli/commands.py": {"os.open": "the null device"},
    "vmamba_explore/datasets/batches.py": {"os.open": "lines that processes add, each at once"},
    "vmamba_explore/files.py": {
        **dict.fromkeys(("unfinished.open", "os.rename", "os.replace"), "the one writer"),
        **dict.fromkeys(("shutil.copymode", "shutil.rmtree"), "the same, for folders"),
        "tempfile.TemporaryFile": "asks whether a folder takes a file; it has no name",
    },
    "vmamba_explore/row_file.py": {"self.mine.open": "rows, added one at a time"},
    "vmamba_explore/stores/run.py": {
        "os.open": "the lock of a store, into which nothing is written"
    },
    "vmamba_explore/studies/scorecard/making.py": {
        "np.savez_compressed": "to the open file of atomic_write"
    },
    "vmamba_explore/studies/subjects/camera_batches.py": {
        "path.open": "clips that can be rendered again, in place"
    },
    "vmamba_explore/studies/subjects/photographs.py": {
        "shutil.which": "asks for a program",
        "tempfile.TemporaryDirectory": "packages that are unpacked and thrown away",
    },
    "vmamba_explore/training/fit.py": {"run.save": "by atomic_write"},
    "vmamba_explore/training/runs.py": {"SummaryWriter": "TensorBoard's own events"},
    "vmamba_explore/view/explorer/export.py": {
        "dataset.to_zarr": "to the new folder of atomic_folder"
    },
    "vmamba_explore/view/figures/saving.py": {
        "shutil.which": "asks for a program",
        "tempfile.TemporaryDirectory": "a page that a browser draws, and the browser's profile",
    },
    "vmamba_explore/view/widgets/upload.py": {
        "file.path.open": "pieces of an upload, in a temporary folder",
        "tempfile.TemporaryDirectory": "that folder",
    },
    "vmamba_kernels/jit/cache.py": dict.fromkeys(
        ("open", "os.open", "os.replace", "tempfile.mkstemp"), "whole or not at all, on its own"
    ),
}
"""Which modules call what writes files otherwise than by `atomic_write`, and why."""
WRITING = re.compile(
    r"os\.(open|link|symlink|rename|renames|replace)|shutil\.\w+|tempfile\.(?!gettempdir)\w+|np\.save\w*"
    r"|TemporaryDirectory|NamedTemporaryFile|SummaryWriter|torch\.save|(json|pickle)\.dump"
    r"|zipfile\.ZipFile|.*\.(write_(text|bytes|html|image)|savefig|imsave|save_file|tofile"
    r"|to_(zarr|netcdf|parquet|excel|pickle))|save_file|copyfile|.*\.(save|to_csv)|(.*\.)?open"
)


def lint_imports(folder, *options):
    program = "import sys; from importlinter.cli import lint_imports_command as main; main()"
    command = [sys.executable, "-c", program, "--no-cache", "--no-logo", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of both packages and their contracts, to break them in."""
    folder = tmp_path_factory.mktemp("copy")
    without = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(ROOT / "vmamba_explore", folder / "vmamba_explore", ignore=without)
    shutil.copytree(ROOT / "kernels/vmamba_kernels", folder / "vmamba_kernels", ignore=without)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_every_import_contract_is_kept(copy):
    for folder in (ROOT, copy):
        done = lint_imports(folder)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("contract", "module", "code"),
    [
        ("layers", "vmamba_explore/clips/broken.py", "import vmamba_explore.model.config"),
        ("layers", "vmamba_explore/clips/broken.py", "import vmamba_explore.hooks"),
        ("layers", "vmamba_explore/trace/broken.py", "import vmamba_explore.analysis.states"),
        ("layers", "vmamba_explore/nowhere.py", ""),
        ("kernels", "vmamba_kernels/broken.py", "import vmamba_explore.tokens"),
        ("kernels", "vmamba_kernels/broken.py", "import einops"),
        ("kernels", "vmamba_kernels/broken.py", "import captum.attr"),
        ("plotting", "vmamba_explore/analysis/broken.py", "import plotly.express"),
        ("plotting", "vmamba_explore/trace/broken.py", "from ipywidgets import Label"),
        ("plotting", "vmamba_explore/model/broken.py", "import matplotlib.pyplot"),
        ("plotting", "vmamba_explore/analysis/broken.py", "import anywidget"),
        ("captum", "vmamba_explore/analysis/broken.py", "from captum.attr import Saliency"),
        ("captum", "vmamba_explore/studies/broken.py", "import captum.metrics"),
        ("circles", "vmamba_explore/model/surgery.py", "import vmamba_explore.model.ssm"),
        ("circles", "vmamba_explore/view/pictures.py", "import vmamba_explore.view.explorer"),
        ("studies", "vmamba_explore/app/broken.py", "import vmamba_explore.studies.lessons"),
        ("doors", "vmamba_explore/view/broken.py", "import vmamba_kernels"),
        ("doors", "vmamba_explore/training/broken.py", "from vmamba_kernels.scan import naive"),
        ("view", "vmamba_explore/view/broken.py", "import vmamba_explore.model.config"),
        ("view", "vmamba_explore/view/broken.py", "import captum.attr"),
    ],
)
def test_a_contract_fails_when_it_is_broken(copy, contract, module, code):
    offender = copy / module
    before = offender.read_text() if offender.exists() else None
    offender.write_text(f"{before or ''}\n{code}\n")
    try:
        done = lint_imports(copy, "--contract", contract)
    finally:
        offender.unlink() if before is None else offender.write_text(before)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout
    assert module.removesuffix(".py").split("/")[-1] in done.stdout


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, vmamba_explore\n"
        f"print(*[name for name in {HEAVY.split()} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_kernels_have_one_import_name():
    assert not (ROOT / "kernels" / "__init__.py").exists()
    lines = [f"{word} kernels.vmamba_kernels" for word in ("import", "from")]
    guilty = [
        path
        for path in PYTHON_FILES
        if any(line.strip().startswith(tuple(lines)) for line in path.read_text().splitlines())
    ]
    assert guilty == []


def writing_calls(path):
    """The calls of a module that may write a file."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
        if not WRITING.fullmatch(name):
            continue
        texts = [ast.unparse(value) for value in [*call.args, *(k.value for k in call.keywords)]]
        modes = [text for text in texts if re.fullmatch(r"'[rwaxbt+]{1,3}'", text)]
        reads = not any(set(mode) & set("wax+") for mode in modes)
        if OPEN & set(texts) or (reads and re.search(r"(?<!os\.)open$|ZipFile$", name)):
            continue
        if name.endswith((".save", ".to_csv")) and not call.args:  # returns what it makes
            continue
        yield name


def test_files_are_written_by_one_function_or_for_a_stated_reason():
    found = {
        path.relative_to(package.parent).as_posix(): calls
        for package in (ROOT / "vmamba_explore", ROOT / "kernels/vmamba_kernels")
        for path in package.rglob("*.py")
        if (calls := set(writing_calls(path)))
    }
    assert found == {path: set(reasons) for path, reasons in WRITES.items()}


@pytest.mark.parametrize(
    "code",
    [
        "open(path, 'w')",
        "path.open(mode='ab')",
        "Path(path).write_text('a')",
        "figure.write_html(path)",
        "table.to_csv(path, index=False)",
        "image.save(path)",
        "np.savez(path, a=1)",
        "shutil.copyfile(a, path)",
        "av.open(path, 'w')",
        "zipfile.ZipFile(path, 'w')",
    ],
)
def test_a_call_that_writes_is_seen(tmp_path, code):
    (tmp_path / "a.py").write_text(code)
    assert len(list(writing_calls(tmp_path / "a.py"))) == 1


def test_no_file_but_a_gpu_kernel_grows_past_500_lines():
    kernels = {p for p in PYTHON_FILES if p.name.startswith("gpu") and p.stem.endswith("_kernels")}
    paths = set(PYTHON_FILES) - kernels
    lengths = {path: len(path.read_text().splitlines()) for path in paths}
    assert {path: length for path, length in lengths.items() if length > 500} == {}


def test_the_tests_mirror_the_packages():
    homes = {"vmamba_explore": ROOT, "vmamba_kernels": ROOT / "kernels"}
    orphans = [
        test
        for package, home in homes.items()
        for test in (ROOT / "tests" / package).rglob("test_*.py")
        if not _module_of(test, home).exists()
    ]
    assert orphans == []


def _module_of(test: pathlib.Path, home: pathlib.Path) -> pathlib.Path:
    """The module or package of a test: test_gpu_binary.py belongs to gpu.py, scan/test_scan.py to
    the package scan, and live/test_maps.py, which compares JavaScript with Python, to maps.js."""
    path, name = home / test.relative_to(ROOT / "tests"), test.stem.removeprefix("test_")
    if path.with_name(f"{name}.js").exists():
        return path.with_name(f"{name}.js")
    if path.parent.name == name:
        return path.parent
    while not (module := path.with_name(f"{name}.py")).exists() and "_" in name:
        if path.with_name(name).is_dir():
            break
        name = name.rpartition("_")[0]
    return module if module.exists() else path.with_name(name)
