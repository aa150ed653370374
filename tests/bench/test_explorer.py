"""The table of the explorer's speed, from made-up times."""

import pytest


@pytest.fixture
def bench(script):
    pytest.importorskip("playwright.sync_api")
    return script("explorer")


def test_the_table_has_medians_slowest_and_sizes(bench):
    times = {name: [10.0, 20.0, 90.0] for name in ("frame", "layer", "direction", "patch", "muted")}
    page = bench.table({"a model": {**times, "load": 200_000, "saved": 300_000, "made": 1.25}})
    assert "| a model | 20 (90) | 20 (90) | 20 (90) | 20 (90) | 20 (90) | 200 | 300 | 1.2 |" in page
    assert "| *asked, at most* | 50 | 50 | 50 |" in page


def test_every_case_makes_an_explorer(bench):
    for name, code in bench.CASES.items():
        assert "explorer = explore(" in code, name
        compile(bench.MAKE + code, name, "exec")
