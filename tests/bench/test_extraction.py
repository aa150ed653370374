"""The measurement of an extraction: a cell of it, its kills, and the table, on made-up cells."""

import itertools

import pytest

from vmamba_explore import open_states

COUNT = 5


@pytest.fixture(scope="module")
def bench(script):
    return script("extraction")


@pytest.fixture(scope="module")
def job(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    bench.write_films(folder, COUNT, bench.PIXELS["motion-nano"])
    return {"model": "motion-nano", "films": str(folder), "count": COUNT, "workers": 0}


@pytest.fixture(scope="module")
def whole(bench, job, tmp_path_factory):
    store = tmp_path_factory.mktemp("stores") / "whole.zarr"
    return bench.measure(job | {"store": str(store)}) | {"store": store}


def test_a_cell_has_all_videos_a_rate_and_memory(bench, job, whole):
    assert whole["done"] == COUNT and whole["rate"] > 0 and whole["main"] > 100 * bench.MIB
    assert set(open_states(whole["store"]).data_vars) > {"embedding", "delta", "h_boundaries"}
    dry = bench.measure(job | {"store": "", "dry": True})
    files = [path for path in whole["store"].rglob("*") if path.is_file()]
    assert dry["files"] == len(files)
    values = sum(path.stat().st_size for path in files if path.name != "zarr.json")
    assert dry["total"] == values


def test_a_hash_sees_one_byte_and_one_name(bench, whole, tmp_path):
    assert bench.digest(whole["store"]) == whole["hash"]
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, name, content in ((one, "a", b"x"), (other, "a", b"y")):
        folder.mkdir()
        (folder / name).write_bytes(content)
    before = bench.digest(one)
    assert before != bench.digest(other)
    (one / "a").rename(one / "b")
    assert bench.digest(one) != before


@pytest.mark.kill
def test_after_a_kill_nothing_is_written_twice(bench, job, whole, tmp_path):
    found = bench.killed(job | {"store": str(tmp_path / "killed.zarr")}, 1, 0.01)
    assert found["again"] == 0 and 1 <= found["reached"] <= COUNT
    assert found["done"] == COUNT and found["hash"] == whole["hash"]


def test_the_report_says_what_the_cells_say(bench, monkeypatch, tmp_path):
    count, rates = 40, {0: 20.0, 1: 16.0, 2: 24.0}
    ran = []

    def cell(script, words):
        job = bench.json.loads(words)
        if job.get("dry"):
            return {"total": 1234, "files": 5, "hours": 1.0}
        ran.append((job["model"], job["count"], job["workers"], bool(job.get("kill"))))
        size = (100 + job["count"]) * bench.MIB
        return {
            "done": job["count"], "rate": rates[job["workers"]], "main": size,
            "workers": [size] * job["workers"], "hash": job["model"],
        }  # fmt: skip

    monkeypatch.setattr(bench, "in_own_process", cell)
    monkeypatch.setattr(bench, "write_films", lambda *_: None)
    torn = {"reached": 3, "again": 0, "hash": "other"}
    monkeypatch.setattr(bench, "killed", lambda *_: torn)
    text = bench.report(tmp_path, count, 6, 2)
    each = [(name, many, workers, False) for (name, many), workers in
            itertools.product((("motion-nano", count), ("kaist_tiny", 6)), (0, 1, 2))]  # fmt: skip
    assert ran == [*each, ("motion-nano", 4, 0, False), ("motion-nano", 4, 2, False),
                   ("motion-nano", 4, 2, True)]  # fmt: skip
    assert "| `motion-nano` | 40 | 2 on a cluster | 24.00 | 75% |" in text
    assert "| 4 | 104 | 104 | 104, 104 |" in text and "| 40 | 140 | 140 | 140, 140 |" in text
    assert "OTHER BYTES THAN one that" in text, "the killed one was other"
    assert "says 1,234 bytes in 5 files" in text and "the same bytes in all three" in text
