"""How a campaign divides its time."""

from types import SimpleNamespace

import pytest

from tests.fuzz import campaign
from tests.fuzz.findings import Report

pytestmark = pytest.mark.fuzz


@pytest.mark.parametrize("minutes", [5, 13, 60])
def test_every_door_has_a_turn_although_starts_take_time(minutes, monkeypatch, tmp_path):
    now, tried = 0.0, []

    def work(door, seed, *, seconds, known):
        nonlocal now
        now += seconds + min(15, 15 * minutes / 13)
        tried.append(door)
        return Report(tried=1)

    monkeypatch.setattr(campaign, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(campaign, "work", work)
    assert campaign.campaign(list(campaign.DOORS), minutes, 0, 1, tmp_path) == 0
    assert set(tried) == set(campaign.DOORS.values())
    assert now < 60 * minutes + 75
