"""Tests of vmamba_kernels.jit.cache: what is stored, and what is never loaded."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from vmamba_kernels.jit import cache

NAME, OTHER = cache.key("source", "processor"), cache.key("source", "another processor")
CODE = bytes(range(256)) * 40
posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners and modes here")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VMAMBA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(folder):
    """Store CODE under NAME; its file."""
    cache.store(NAME, CODE)
    return folder / (NAME + cache.SUFFIX)


def test_what_was_stored_is_loaded_by_its_key_alone(folder):
    assert cache.load(NAME) is None
    assert stored(folder).exists()
    assert cache.load(NAME) == CODE and cache.load(OTHER) is None
    assert cache.key("ab", "c") != cache.key("a", "bc")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:50],
        lambda data: b"",
        lambda data: data + b"x",
        lambda data: data[:-9] + b"x" + data[-8:],
        lambda data: CODE,
    ],
    ids=["cut", "cut in its head", "empty", "longer", "changed", "foreign"],
)
def test_a_damaged_or_foreign_file_is_not_loaded_and_is_replaced(folder, damage):
    path = stored(folder)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.load(NAME) is None
    cache.store(NAME, CODE)
    assert cache.load(NAME) == CODE


def test_code_of_another_key_is_not_loaded(folder):
    stored(folder).rename(folder / (OTHER + cache.SUFFIX))
    assert cache.load(OTHER) is None


@posix
def test_the_folder_and_its_files_are_private(folder):
    path = stored(folder)
    assert folder.stat().st_mode & 0o777 == 0o700 and path.stat().st_mode & 0o077 == 0


@posix
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_what_others_may_write_to_is_neither_read_nor_written(folder, mode):
    path = stored(folder)
    path.chmod(mode)
    assert cache.load(NAME) is None
    path.chmod(0o600)
    folder.chmod(mode)
    assert cache.load(NAME) is None
    cache.store(OTHER, CODE)
    assert os.listdir(folder) == [path.name]


@posix
def test_what_belongs_to_another_user_is_not_used(folder, monkeypatch):
    path = stored(folder)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert cache.load(NAME) is None
    cache.store(OTHER, CODE)
    assert os.listdir(folder) == [path.name]


@posix
def test_a_link_in_place_of_a_file_is_not_followed(folder):
    path = stored(folder)
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")
    assert cache.load(NAME) is None


def test_an_empty_name_and_a_folder_that_cannot_be_made_switch_it_off(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    for chosen in ("", str(tmp_path / "file"), str(tmp_path / "file" / "below")):
        monkeypatch.setenv("VMAMBA_CACHE_DIR", chosen)
        cache.store(NAME, CODE)
        assert cache.load(NAME) is None
    assert os.listdir(tmp_path) == ["file"]


def test_without_a_choice_it_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("VMAMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path / "home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert stored(tmp_path / "xdg" / "vmamba_kernels").exists()
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert stored(tmp_path / "home" / ".cache" / "vmamba_kernels").exists()


def test_the_least_recently_used_go_when_it_is_full(folder, monkeypatch):
    names = [cache.key(str(i)) for i in range(6)]
    for age, name in enumerate(names[:4]):
        cache.store(name, CODE)
        os.utime(folder / (name + cache.SUFFIX), (1000 + age, 1000 + age))
    assert cache.load(names[0]) == CODE  # used now
    size = (folder / (names[0] + cache.SUFFIX)).stat().st_size
    monkeypatch.setattr(cache, "MOST_BYTES", 4 * size)
    for name in names[4:]:
        cache.store(name, CODE[:-1])
    left = [name for name in names if (folder / (name + cache.SUFFIX)).exists()]
    assert left == [names[0], *names[3:]]


def test_files_of_others_in_a_chosen_folder_stay(folder, monkeypatch):
    folder.mkdir(mode=0o700)
    for name in ("model.pt", "notes.code", "a.new"):
        (folder / name).write_bytes(CODE)
        os.utime(folder / name, (1, 1))
    (folder / f"{OTHER}abc.new").write_bytes(CODE)  # of a writer that was killed
    os.utime(folder / f"{OTHER}abc.new", (2, 2))
    monkeypatch.setattr(cache, "MOST_BYTES", len(CODE) + 1000)
    cache.store(NAME, CODE[: len(CODE) // 4])
    assert cache.load(NAME) == CODE[: len(CODE) // 4]
    assert sorted(os.listdir(folder)) == sorted(["model.pt", "notes.code", "a.new", f"{NAME}.code"])


def test_many_writers_and_readers_of_one_key_never_see_half_a_file(folder):
    def work(i):
        cache.store(NAME, CODE)
        return cache.load(NAME)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(64))) == [CODE] * 64
    assert os.listdir(folder) == [NAME + cache.SUFFIX]


def test_another_process_loads_the_kernel_and_compiles_it_only_where_it_is_damaged(
    folder, run_python
):
    code = """
import torch
from vmamba_kernels import step_size
from vmamba_kernels.jit import native
compiled, real = [], native._object_code
native._object_code = lambda *args: compiled.append(0) or real(*args)
y = step_size(torch.linspace(-3, 3, 640).reshape(1, 64, 10), backend="cpu")
print(len(compiled), y.double().sum().item())
"""

    def run():
        return run_python(code).split()

    first, second = run(), run()
    assert (first[0], second[0]) == ("1", "0") and first[1] == second[1]
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    assert run() == first
    assert run() == second
