"""What is done is read from the files themselves, and is what zarr reads."""

import numpy as np
import zarr

from tests.vmamba_explore.stores.stores import made
from vmamba_explore.stores.layout import BROKEN, DONE, UNSEEN, done_states


def test_what_is_done_is_read_as_zarr_reads_it_and_unfinished_files_are_passed_over(tmp_path):
    array = zarr.create_array(
        tmp_path / "done", shape=(12,), chunks=(1,), dtype="uint8", fill_value=UNSEEN,
        compressors=None, zarr_format=3,
    )  # fmt: skip
    assert done_states(tmp_path).tolist() == [UNSEEN] * 12
    array[1], array[10], array[3] = DONE, DONE, BROKEN
    (tmp_path / "done" / "c" / "5.0123.partial").write_bytes(b"")
    found = done_states(tmp_path)
    assert found.dtype == np.uint8 and np.array_equal(found, array[:])
    assert found[[1, 3, 5, 10]].tolist() == [DONE, BROKEN, UNSEEN, DONE]


def test_another_chunking_or_a_compressed_one_is_read_too(tmp_path):
    store = made(tmp_path / "s", {"embedding": np.ones((5, 1, 2), np.float32)},
                 done=[DONE, UNSEEN, BROKEN, DONE, DONE])  # fmt: skip
    assert zarr.open_array(store / "done").compressors
    assert done_states(store).tolist() == [DONE, UNSEEN, BROKEN, DONE, DONE]
