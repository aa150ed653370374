"""Damaged files are damaged as their names say, the same ones each time."""

import hypothesis
import pytest

from tests.fuzz import mutants as m

pytestmark = pytest.mark.fuzz
DATA = b"ftypisom0123456789moov"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (m.flipped(DATA, 1, 0), b"fuypisom0123456789moov"),
        (m.zeroed(DATA, 18, 9), b"ftypisom0123456789\0\0\0\0"),
        (m.truncated(DATA, 5), b"ftypi"),
        (m.without(DATA, 4, 4), b"ftyp0123456789moov"),
        (m.repeated(DATA, 0, 4), b"ftypftypisom0123456789moov"),
        (m.moved(DATA, 0, 4, 18), b"ftypisom0123456789ftyp"),
        (m.spliced(DATA, 20, b"x" * 23), b"ftypisom0123456789moxxx"),
        (m.written(DATA, 8, -1, 2, "big"), b"ftypisom\xff\xff23456789moov"),
        (m.tagged(b"\0" + DATA, 0, b"XVID"), b"\0XVIDisom0123456789moov"),
    ],
)
def test_a_change_changes_what_its_name_says(changed, expected):
    assert changed == expected


def test_the_same_seed_gives_the_same_mutants_and_most_of_them_differ_from_their_origin():
    def first(seed):
        found = []

        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=60, derandomize=False, database=None)
        @hypothesis.given(m.mutants({"a": DATA, "b": DATA[::-1]}))
        def collect(mutant):
            found.append((mutant.origin, mutant.changes, mutant.data))

        collect()
        return found

    assert first(1) == first(1) != first(2)
    sources = {"a": DATA, "b": DATA[::-1]}
    assert sum(data != sources[origin] for origin, _, data in first(1)) > 45
