"""The harness finds what it looks for: every fault is planted once, and crashes are survived."""

import json
import subprocess
import sys

import pytest

from tests.fuzz.campaign import ROOT, work
from tests.fuzz.door import message_fault
from tests.fuzz.faulty import FAULTS

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def said(linux, tmp_path_factory):
    """Return what was said of every planted fault."""
    folder = tmp_path_factory.mktemp("faulty")
    subprocess.run([sys.executable, "-m", "tests.fuzz.faulty", str(folder)], cwd=ROOT, check=True)
    return json.loads((folder / "said.json").read_text())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_what_is_allowed_is_not(said, fault):
    expected = FAULTS[fault][1]
    assert said[fault].startswith(f"faulty: {expected}") if expected else said[fault] == ""


@pytest.mark.parametrize(
    ("door", "what"), [("CRASHES", "ends the process (signal 11)"), ("HANGS", "hangs")]
)
def test_what_ends_or_stops_the_worker_is_a_finding_with_what_was_sent(linux, door, what):
    (finding,) = work(f"tests.fuzz.faulty:{door}", 0, examples=1).findings.values()
    assert what in finding.signature
    assert finding.files == {"sent": b"x"}
    assert "faulty.py" in finding.detail


def test_a_message_is_one_readable_line():
    assert message_fault(ValueError("A sentence, 'x' and é.")) is None
    assert message_fault(KeyError("a name")) is None
    for text in ("", " ", "a\nb", "a\u2028b", "x" * 1501, "\udc80"):
        assert message_fault(ValueError(text)) is not None
