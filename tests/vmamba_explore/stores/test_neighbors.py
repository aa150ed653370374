"""The nearest clips of a store are those that all comparisons at once would give."""

import numpy as np
import pytest

from tests.vmamba_explore.stores.stores import made
from vmamba_explore.clips.clip import Clip
from vmamba_explore.stores import neighbors as module
from vmamba_explore.stores import opened
from vmamba_explore.stores.neighbors import neighbors
from vmamba_explore.stores.opened import open_states


@pytest.fixture
def clip():
    return Clip(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4.0), "query", np.arange(4))


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(50, 2, 6)).astype(np.float16)


@pytest.mark.parametrize("measure", ["cosine", "euclidean"])
@pytest.mark.parametrize("block", [1, 200, 10**6])
def test_neighbors_are_those_of_all_comparisons_whatever_the_block(
    measure, block, values, clip, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "blocks", lambda array: opened.blocks(array, block))
    wanted = np.random.default_rng(1).normal(size=6).astype(np.float32)
    states = open_states(made(tmp_path / "s", {"embedding": values}))
    found = neighbors(states, wanted, clip, 7, measure=measure)
    flat = values.reshape(100, 6).astype(np.float64)
    if measure == "cosine":
        every = flat @ wanted / np.linalg.norm(flat, axis=1) / np.linalg.norm(wanted)
        order = np.argsort(-every)[:7]
    else:
        every = np.linalg.norm(flat - wanted, axis=1)
        order = np.argsort(every)[:7]
    assert [2 * one.video + one.clip for one in found.found] == order.tolist()
    np.testing.assert_allclose([one.value for one in found.found], every[order], rtol=1e-5)
    assert found.compared == 100 and found.left_out == 0


def test_clips_of_the_file_of_the_query_are_left_out_unless_asked_for(values, clip, tmp_path):
    paths = [f"/films/{n // 2}.mp4" for n in range(50)]  # each file twice in the list
    states = open_states(made(tmp_path / "s", {"embedding": values}, paths=paths))
    query = module.neighbor(states, 8, 1, np.nan)
    vector = values[8, 1].astype(np.float32)
    found = neighbors(states, vector, query, 96)
    assert {one.video for one in found.found}.isdisjoint({8, 9})
    assert found.left_out == 4 and found.compared == len(found) == 96
    same = neighbors(states, vector, query, 1, same_video=True).found[0]
    assert (same.video, same.clip) == (8, 1) and same.value == pytest.approx(1)


def test_a_row_knows_its_number_in_the_list_its_label_and_its_frames(values, clip, tmp_path):
    done = np.ones(50, int)
    done[:10] = 0
    labels = np.arange(50) % 2
    path = made(tmp_path / "s", {"embedding": values}, labels, done=done, class_names=["a", "b"])
    found = neighbors(path, values[13, 0].astype(np.float32), clip, 1).found[0]
    assert (found.video, found.label, found.path) == (13, "b", "/films/13.mp4")
    assert found.indices == (0, 1, 2, 3)


def test_ties_are_listed_in_the_order_of_the_store_and_zeros_are_at_right_angles(clip, tmp_path):
    values = np.ones((5, 1, 3), np.float32)
    values[2] = 0
    found = neighbors(made(tmp_path / "s", {"embedding": values}), np.ones(3, np.float32), clip, 9)
    assert [one.video for one in found.found] == [0, 1, 3, 4, 2]
    assert found.found[-1].value == 0


def test_what_cannot_be_compared_is_refused_in_a_sentence(values, clip, tmp_path, unchecked):
    states = open_states(made(tmp_path / "s", {"embedding": values}))
    one = np.ones(6, np.float32)
    with pytest.raises(ValueError, match="the query has 5 values of embedding and .* have 6"):
        neighbors(states, one[:5], clip, 1)
    with pytest.raises(ValueError, match="are 0, so it has no direction"):
        neighbors(states, 0 * one, clip, 1)
    with pytest.raises(ValueError, match="k is 0, expected at least 1"):
        neighbors(states, one, clip, 0)
    with pytest.raises(ValueError, match="measure is 'dot', expected 'cosine' or 'euclidean'"):
        neighbors(states, one, clip, 1, measure="dot")
    alone = states.isel(video=[3])
    with pytest.raises(ValueError, match="no clip of another video; same_video=True"):
        neighbors(alone, one, module.neighbor(alone, 0, 0, 0.0), 1)
