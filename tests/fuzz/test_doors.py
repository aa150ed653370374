"""A minute of the campaign of `make fuzz`, the same cases each time."""

import pytest

from tests.fuzz.campaign import DOORS, work
from tests.fuzz.known import is_known

pytestmark = pytest.mark.fuzz
EXAMPLES = {
    "load_clip": 100,
    "stream_clips": 80,
    "check_uploaded": 60,
    "config": 120,
    "weights": 80,
    "checkup": 40,
    "messages": 12,
    "visitor": 150,
    "tables": 80,
    "lists": 80,
    "calls": 100,
    "kills": 12,
    "full_disks": 12,
    "command_line": 10,
}


def test_every_door_is_tried():
    assert EXAMPLES.keys() == DOORS.keys()


@pytest.mark.parametrize("door", DOORS)
def test_every_case_gives_a_value_or_a_sentence_and_leaves_nothing_behind(linux, door):
    report = work(DOORS[door], 0, examples=EXAMPLES[door], seconds=400)
    new = [finding for name, finding in report.findings.items() if not is_known(name)]
    assert not new, "\n\n".join(f"{one.signature}\n{one.case}\n{one.detail}" for one in new)
    assert report.tried >= EXAMPLES[door] // 2
