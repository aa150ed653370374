"""The comparison with TransformerLens, on models small enough for a test."""

import importlib.util

import pytest
import torch

SMALL = {"num_frames": 4, "img_size": 32}


@pytest.fixture(scope="module")
def bench(script):
    return script("peer_states")


def test_our_side_records_every_state_and_its_edit_moves_all_later_tokens(bench):
    with torch.no_grad():
        runs = bench.runs("ours", SMALL, 2)
        states, edited = runs[bench.CASES[1]](), runs[bench.CASES[2]]()
        model, clip = bench.ours(SMALL, 2)
    assert [tuple(value.shape) for value in states] == [(768, 16, 8)] * 2
    changed = (edited != model.encode(clip))[0].any(-1).tolist()
    assert changed == [False] * bench.EDITED + [True] * (8 - bench.EDITED)


def test_without_the_peer_nothing_is_written(bench, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(bench, "__file__", "/nowhere/peer_states.py")
    bench.main()
    assert "transformer-lens is not installed" in capsys.readouterr().out


def test_the_table_says_what_was_measured(bench, monkeypatch):
    monkeypatch.setattr(bench.importlib.metadata, "version", lambda name: "4.3")
    times = {"ours": 1.0, "theirs": 3.5, "ratio": 3.5, "least": 3.0, "most": 4.0}
    row = {"ours": 70.0, "theirs": 80.0, "times": times}
    text = bench.report({"a case": row}, {"states": 1.3e-6, "edited": 2e-7}, 0.5, 1568)
    assert "| a case | 1.00 | 3.50 | 3.5 (3.0 to 4.0) | 70 | 80 |" in text
    assert "of the layer: 1.3e-06." in text and "last block:\n2.0e-07." in text


@pytest.mark.skipif(
    importlib.util.find_spec("transformer_lens") is None, reason="transformer-lens is not installed"
)
def test_both_have_the_same_states_and_the_same_edited_run(bench):
    far = bench.differences(SMALL, 2)
    assert 0 < far["states"] < 1e-5 and 0 < far["edited"] < 1e-5
    found = bench.times(bench.CASES[1], SMALL, 2, 1)
    assert found["least"] == found["ratio"] == found["most"] == found["theirs"] / found["ours"]
