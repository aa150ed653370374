"""Pickles whose tuples are nested so deeply that reading them would end the process."""

import io
import pickle
import zipfile

import pytest
import torch

from vmamba_explore.model.checkpoints import CheckpointError, load_model
from vmamba_explore.model.pickle_depth import DEEPEST, is_too_deep


def pickled_by_hand(steps):
    """A pickle of a dict with one key, the tuple that these opcodes nest."""
    return b"\x80\x02}" + b")" + steps + b"Ns."


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_many_values_beside_each_other_are_not_deep(protocol):
    wide = {"a": [(1, (2, (i,))) for i in range(5000)], "b": {i: (i,) for i in range(5000)}}
    wide |= {f"{i}": torch.Size([1, 2]) for i in range(3000)}
    assert not is_too_deep(io.BytesIO(pickle.dumps(wide, protocol)), 1)


@pytest.mark.parametrize(
    "step",
    [b"\x85", b"\x85q\x01h\x01", b"N\x86", b"2\x86", b"\x94\x85", b"NN\x87", b"q\x02(h\x02t"],
)
def test_a_nest_of_any_opcodes_is_too_deep(step):
    for times, wanted in ((DEEPEST - 1, False), (DEEPEST, True)):
        assert is_too_deep(io.BytesIO(pickled_by_hand(step * times)), 1) is wanted


@pytest.mark.parametrize("zip_form", [True, False])
def test_a_checkpoint_that_would_end_the_process_is_refused(tmp_path, zip_form):
    path = tmp_path / "weights.pth"
    content = pickled_by_hand(b"\x85" * 10**6)
    path.write_bytes(content)
    if zip_form:
        torch.save({"a": torch.zeros(1)}, path)
        with zipfile.ZipFile(path) as archive:
            entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
        with zipfile.ZipFile(path, "w") as archive:
            for name, old in entries:
                archive.writestr(name, content if name.endswith("/data.pkl") else old)
    with pytest.raises(CheckpointError, match="is damaged, or neither safetensors nor"):
        load_model(path)


def test_what_is_not_a_pickle_is_not_too_deep():
    for content in (b"", b"hello", bytes(range(256)), b"\x80\x02(((", b"\x80\x02h\x05.", b"0"):
        assert not is_too_deep(io.BytesIO(content), 5)
