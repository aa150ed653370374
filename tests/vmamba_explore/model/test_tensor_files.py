"""Files that are no checkpoint are refused, each with its sentence, and nothing in them runs."""

import errno
import os
import pathlib
import pickle
import re
import resource
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save

from vmamba_explore.model.checkpoints import CheckpointError, load_model
from vmamba_explore.model.tensor_files import read_tensors

TENSORS = {f"layers.{i}.norm.weight": torch.randn(400) for i in range(20)}
WEB_PAGE = b"\n<!DOCTYPE html>\n<html><title>404</title></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 103809024\n"


class Call:
    """An object whose pickle calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def zipped(tmp_path):
    torch.save({"model": TENSORS}, tmp_path / "whole.pth")
    return (tmp_path / "whole.pth").read_bytes()


def unzipped(tmp_path):
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    return (tmp_path / "old.pth").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (WEB_PAGE, "is a web page"),
        (POINTER, "pointer of Git LFS, .* a file of 103,809,024"),
        (b"hello", "neither safetensors nor what torch.save writes"),
        (bytes(range(256)) * 20, "neither safetensors nor what torch.save writes"),
        (save(TENSORS)[:-1], "damaged or cut"),
        (save(TENSORS)[:300], "damaged or cut"),
    ],
)
def test_a_file_that_is_no_checkpoint_says_what_it_is(content, message, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert re.search(message, refused(path))


@pytest.mark.parametrize("write", [zipped, unzipped])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_a_cut_file_is_refused_wherever_it_is_cut(write, share, tmp_path):
    whole = write(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(whole[: int(share * len(whole))])
    message = refused(path)
    assert "is cut" in message or "is damaged" in message


def test_a_changed_byte_inside_a_tensor_is_noticed(tmp_path):
    whole = bytearray(zipped(tmp_path))
    whole[len(whole) // 2] ^= 255
    path = tmp_path / "weights.pth"
    path.write_bytes(whole)
    assert "damaged" in refused(path)


def test_a_file_saved_without_checksums_is_read(tmp_path):
    with torch.utils.serialization.config.patch({"save.compute_crc32": False}):
        torch.save({"model": TENSORS}, tmp_path / "weights.pth")
    assert list(read_tensors(tmp_path / "weights.pth")["model"]) == list(TENSORS)


@pytest.mark.parametrize("zip_form", [True, False])
def test_a_pickle_with_code_in_it_is_refused_and_the_code_does_not_run(zip_form, tmp_path):
    canary = tmp_path / "canary"
    path = tmp_path / "weights.pth"
    code = Call(os.system, f"touch {canary}")
    torch.save({"model": TENSORS | {"x": code}}, path, _use_new_zipfile_serialization=zip_form)
    assert "asks for posix.system" in refused(path) or os.name != "posix"
    assert not canary.exists()
    torch.load(path, weights_only=False)  # it would have run
    assert canary.exists() or os.name != "posix"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_runs_nothing_in_any_protocol(protocol, tmp_path):
    canary = tmp_path / "canary"
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"model": Call(os.mkdir, str(canary))}, protocol))
    refused(path)
    assert not canary.exists()


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_pickle_is_refused_in_a_sentence_wherever_it_is_damaged(tmp_path):
    path, draw = tmp_path / "weights.pth", np.random.default_rng(0)
    small = {f"layers.{i}.norm.weight": torch.ones(2) for i in range(4)}
    torch.save({"model": small, "epoch": 3}, path, _use_new_zipfile_serialization=False)
    whole, refusals = np.frombuffer(path.read_bytes(), np.uint8), 0
    for _ in range(1000):
        data = whole.copy()
        data[draw.integers(len(data), size=2)] = draw.integers(256, size=2)
        path.write_bytes(data.tobytes())
        try:
            read_tensors(path)
        except CheckpointError:
            refusals += 1
    assert refusals > 300


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """Write a checkpoint again, with other bytes in some entries of its zip."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))


def test_a_compressed_zip_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(zipped(tmp_path))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("whole/data/99", "w", force_zip64=True) as file:
            for _ in range(2**10):
                file.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert "has a compressed entry (whole/data/99)" in refused(path)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_maxrss - before.ru_maxrss < 100 * 1024  # of 1 GiB
    assert path.stat().st_size < 2 * 2**20


@pytest.mark.parametrize("end", [-4, 0])
def test_a_tensor_that_is_larger_than_its_entry_is_noticed(tmp_path, end):
    path = tmp_path / "weights.pth"
    path.write_bytes(zipped(tmp_path))
    rewritten(path, lambda name, content: content[: end or None] if "/data/" in name else content)
    if end:
        assert "is damaged" in refused(path)
    else:
        read_tensors(path)


@pytest.mark.parametrize("start", ["PK\x05\x06", "PK\x01\x02", "PK\x06\x06", "PK\x06\x07"])
def test_a_damaged_directory_of_a_zip_is_read_or_refused_in_a_sentence(tmp_path, start):
    path, refusals = tmp_path / "weights.pth", 0
    whole = zipped(tmp_path)
    first = whole.find(start.encode())
    if first < 0:  # torch writes it for large files only
        first = whole.rfind(b"PK\x05\x06")
    for at in range(first, min(first + 60, len(whole))):
        for value in (0, 127, 255):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                read_tensors(path)
            except CheckpointError as error:
                assert "is damaged" in str(error) or "is cut" in str(error) or "entry" in str(error)
                refusals += 1
    assert refusals > 10


def test_a_file_that_cannot_be_read_now_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(zipped(tmp_path))

    def fail(*given, **options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(zipfile.ZipFile, "testzip", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        load_model(path)


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


RUNS = {"model": TENSORS, "output": Call(pathlib.PurePosixPath, "runs")}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save(RUNS, path), "asks for pathlib.PurePosixPath, which could run"),
        (lambda path: torch.save(torch.nn.Linear(2, 2), path), "torch.nn.modules.linear.Linear"),
        (lambda path: torch.save([torch.zeros(2)], path), "holds a list, expected tensors by name"),
        (lambda path: torch.save(torch.zeros(2), path), "holds a Tensor"),
        (write_zip, "neither safetensors nor what torch.save writes"),
        (
            lambda path: torch.jit.script(torch.nn.Linear(2, 2)).save(str(path)),
            "is a TorchScript program",
        ),
    ],
)
def test_what_is_not_tensors_by_name_is_named_and_refused(write, message, tmp_path):
    write(tmp_path / "weights.pth")
    assert message in refused(tmp_path / "weights.pth")
