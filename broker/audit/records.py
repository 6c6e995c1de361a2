"""Finds records of the log by their identifier, `<stream>.<sequence>`, and reads what is kept of a segment.

What must not go in here: what a record says, and whether it was changed (verify.py, proofs.py).
"""

from __future__ import annotations

import bisect
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from broker._native import journal_check
from broker.audit.layout import HEADER_BYTES, HeaderDamaged, contents, header_of, segment_file, segments_of
from broker.errors import AuditRefused
from broker.v1.audit_pb2 import AuditRecord

MOST_BYTES = 65_536
_IDENTIFIER = re.compile(r"(?P<stream>[A-Za-z0-9_-]{1,32})\.(?P<sequence>[0-9]{1,20})", re.ASCII)


class RecordId(NamedTuple):
    """Where a record is."""

    stream: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.stream}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> RecordId:
        """Read an identifier. Raises AuditRefused."""
        parts = _IDENTIFIER.fullmatch(text)
        if parts is None:
            raise AuditRefused("the identifier of a record is <stream>.<number>, such as front-0.48211")
        return cls(parts["stream"], int(parts["sequence"]))


class Found(NamedTuple):
    """A record in its batch."""

    segment: int
    batch: bytes  # the 120 bytes of its header that are hashed
    place: int  # in the batch
    records: list[bytes]  # of the batch


def end_of(folder: Path, segment: int, size: int) -> int:
    """Return where what counts of a segment ends: the next one's header says so; `size` while none follows. Raises OSError."""
    with contextlib.suppress(FileNotFoundError, HeaderDamaged):
        return min(header_of(segment_file(folder, segment + 1)).valid, size)
    return size


def find(folder: Path, sequence: int) -> Found:
    """Return a record of a stream with its batch.

    Raises:
        AuditRefused: it is not there, or what should hold it is damaged.
    """
    segments = segments_of(folder)
    numbers = list(segments)
    try:
        place = bisect.bisect_right(numbers, sequence, key=lambda number: header_of(segments[number]).first_record)
        if place:
            data = contents(segments[numbers[place - 1]])
            end = end_of(folder, numbers[place - 1], len(data))
            at = journal_check.find_batch(data, HEADER_BYTES, end, sequence)
            if at >= 0:
                first = int.from_bytes(data[at + 24 : at + 32], "big")
                records = [record for _, record in journal_check.records_at(data, at, end)]
                return Found(numbers[place - 1], data[at : at + 120], sequence - first, records)
    except (HeaderDamaged, ValueError, IndexError, OSError) as error:
        raise AuditRefused(
            f"audit stream {folder.name}: what should hold record {sequence} cannot be read ({error})"
        ) from error
    raise AuditRefused(f"audit stream {folder.name}: has no record {sequence} here; it may have been archived")


def told(stream: str, sequence: int, record: bytes) -> AuditRecord:
    """Return a record as it is told: with its identifier. Raises DecodeError of protobuf."""
    made = AuditRecord.FromString(record)
    made.audit_id = str(RecordId(stream, sequence))
    return made


def batches(
    folder: Path, segment: int, at: int = HEADER_BYTES, end: int | None = None
) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield, for each batch of a segment from an offset on, its offset, its first sequence, and its records.

    Raises:
        OSError, ValueError: it cannot be read, or lengths do not add up.
    """
    for place, first, found in located(folder, segment, at, end):
        yield place, first, [record for _, record in found]


def located(
    folder: Path, segment: int, at: int = HEADER_BYTES, end: int | None = None
) -> Iterator[tuple[int, int, list[tuple[int, bytes]]]]:
    """Yield what `batches` does, each record with its own offset."""
    data = contents(segment_file(folder, segment), at, end)
    most = end_of(folder, segment, at + len(data)) - at
    place = 0
    while (last := _batch_at(data, place, most)) is not None:
        first, following = last
        yield at + place, first, [(at + where, record) for where, record in journal_check.records_at(data, place, most)]
        place = following


def _batch_at(data: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Return the first sequence of the batch at an offset, and where it ends; None where there is none."""
    header = data[at : min(at + 120, end)]
    size = int.from_bytes(header[4:8], "big")
    if len(header) < 120 or header[:4] != b"BATC" or at + 124 + size > end:
        return None
    return int.from_bytes(header[24:32], "big"), at + 124 + size
