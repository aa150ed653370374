"""A jump of the counter in a transport stream is damage inside a picture, not where files join."""

import numpy as np
import pytest

from vmamba_explore.clips import transport
from vmamba_explore.clips.transport import PACKET, loses_data

PID, OTHER = 0x100, 0x101


def packets(starts, first=0, pid=PID):
    """Packets with consecutive counters; at the numbers in `starts` a picture starts."""
    made = [packet(first + n, n in starts, pid) for n in range(10)]
    return made


def packet(counter, start=False, pid=PID, payload=True, error=False):
    head = [0x47, 0x80 * error | 0x40 * start | pid >> 8, pid & 255, 0x10 * payload | counter % 16]
    return bytes(head) + bytes([255]) * (PACKET - 4)


@pytest.fixture
def loses(tmp_path):
    def ask(parts, pid=PID):
        path = tmp_path / "a.ts"
        path.write_bytes(b"".join(parts))
        return loses_data(path, pid)

    return ask


def test_counters_that_go_on_over_sixteen_lose_nothing(loses):
    assert not loses(packets({0, 5}) + packets({0, 5}, first=10))


def test_a_packet_that_is_missing_inside_a_picture_is_lost(loses):
    whole = packets({0, 5})
    for missing in range(1, 9):
        starts = missing == 4  # then the next packet starts a picture: all of its own is there
        assert loses(whole[:missing] + whole[missing + 1 :]) == (not starts)


def test_counters_that_start_again_with_a_picture_lose_nothing(loses):
    assert not loses(packets({0}) + packets({0}, first=3))
    assert loses(packets({0}) + packets({5}, first=3))


def test_a_packet_that_is_sent_twice_is_not_lost(loses):
    whole = packets({0})
    assert not loses(whole[:4] + whole[3:])


def test_packets_without_a_payload_do_not_count(loses):
    whole = packets({0})
    assert not loses([*whole[:4], packet(9, payload=False), *whole[4:]])


def test_other_streams_do_not_count(loses):
    mixed = [
        part for pair in zip(packets({0}), packets({0}, 5, OTHER), strict=True) for part in pair
    ]
    assert not loses(mixed)
    assert not loses(mixed[:7] + mixed[8:])
    assert loses(mixed[:7] + mixed[8:], OTHER)


def test_what_the_receiver_marked_is_damaged(loses):
    whole = packets({0})
    whole[6] = packet(6, error=True)
    assert loses(whole)


def test_a_file_that_is_not_cut_into_packets_counts_as_damaged(loses):
    assert loses([b"x", *packets({0})])
    assert loses([np.random.default_rng(0).bytes(5 * PACKET)])


@pytest.mark.parametrize("missing", [False, True])
def test_packets_are_counted_over_what_is_read_at_once(loses, monkeypatch, missing):
    monkeypatch.setattr(transport, "READ", 3)
    whole = packets({0})
    assert loses(whole[: 3 - missing] + whole[3:]) == missing
