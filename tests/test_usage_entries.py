"""Entries of the index of usage as native code makes them: protobuf is the oracle of what a record says.

What must not go in here: the index itself (test_audit_usage.py).
"""

from __future__ import annotations

import random

import pytest

from broker._native import journal
from broker._native.usage_entries import entries
from tests.fuzz.fuzz_usage_entries import check, expected, mutate, record

SUBJECT = bytes(range(32))


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": 2, "subject": SUBJECT},
        {"kind": 2, "subject": SUBJECT[:3], "wall_ns": 1},
        {"kind": 2, "subject": SUBJECT, "wall_ns": 5_000_000_000},
        {"kind": 2, "subject": SUBJECT, "fields": ["name", "地址"], "case_id": "案件-7"},
    ],
)
def test_outcome_about_somebody_is_an_entry(fields: dict[str, object]) -> None:
    written = journal.encode(**fields)  # type: ignore[arg-type]
    assert entries([(300, written)], 7, 2, 9) == ([expected(written, 7, 2, 9, 300)], [])


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": 1, "subject": SUBJECT},
        {"kind": 2, "subject": SUBJECT, "intent": "core.3"},
        {"kind": 2, "subject": SUBJECT, "embargo": "E"},
    ],
)
def test_what_needs_more_than_the_record_is_left(fields: dict[str, object]) -> None:
    written = journal.encode(**fields)  # type: ignore[arg-type]
    assert entries([(300, written)], 7, 2, 9) == ([], [(7, 300, written)])


def test_who_is_about_nobody_or_no_access_is_in_neither() -> None:
    written = [journal.encode(kind=2), journal.encode(kind=4, subject=SUBJECT), journal.encode(kind=3, target="grant/g-1")]
    assert entries([(0, one) for one in written], 0, 1, 1) == ([], [])


def test_sequences_go_on_over_what_is_no_entry() -> None:
    found = [(0, journal.encode(kind=4)), (10, b"\xff"), (20, journal.encode(kind=2, subject=SUBJECT))]
    made, rest = entries(found, 100, 1, 1)
    assert [int.from_bytes(key[26:34], "big") for key, _ in made] == [102]
    assert rest == [(101, 10, b"\xff")]


def test_numbers_have_room() -> None:
    with pytest.raises(ValueError, match="stream, segment"):
        entries([], 0, 1 << 16, 1)


def test_whatever_stands_there_is_read_as_protobuf_reads_it_or_left() -> None:
    draw = random.Random(7)
    taken = sum(check(mutate(record(draw), draw)) for _ in range(5_000))
    assert taken > 300
