"""The benchmark of MambaLRP, on a model small enough for a test."""

import pytest


@pytest.fixture(scope="module")
def bench(script):
    return script("lrp")


def test_every_case_is_measured_and_related_to_one_gradient(bench, monkeypatch):
    sizes = iter(range(100, 600, 100))
    monkeypatch.setattr(bench, "in_own_process", lambda *words: float(next(sizes)))
    heading, line, *rows = bench.table("toy", rounds=1).splitlines()
    assert [row.split(" | ")[0].strip("| ") for row in rows] == list(bench.CASES)
    assert rows[0].split(" | ")[2] == "1.00 (1.00 to 1.00)"
    assert [row.split(" | ")[-1].strip(" |") for row in rows] == [
        "1.00", "2.00", "3.00", "4.00", "5.00"
    ]  # fmt: skip
    assert heading.count("|") == line.count("|") == rows[0].count("|")


def test_a_graph_that_is_kept_is_seen_to_take_more_than_blocks_run_again(bench):
    problem = bench.make("toy", depth=16, num_frames=16)
    kept, again = (bench.counted(problem, name) for name in list(bench.CASES)[:2])
    assert again < 0.7 * kept


def test_the_resident_size_is_measured_in_a_process_of_its_own(bench):
    assert bench.in_own_process(bench.__file__, "MambaLRP, tokens", "toy") >= 0
