"""A record base that is searched, and a packing that any test can see through: names, dates and ids, cut to size and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from broker.model.catalogue import BaseDeclaration, PersonSearch
from tests.support import records

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12

SEARCH = {"name": "name", "resident_id": "resident_id", "birth_date": "birth_date"}


def base(**changes: Any) -> BaseDeclaration:
    return records.base(**({"search": SEARCH} | changes))


def cell_of(value: str | None) -> bytes:
    """A value as it is packed."""
    return (value or "").encode()[:24].ljust(24, b"\0")


def key_of(place: int, cell: bytes) -> int:
    """The key that records have which hold a value."""
    return int.from_bytes(hashlib.blake2b(bytes([place]) + cell, digest_size=8).digest(), "little") or 1


def keys_of(*values: str | None) -> npt.NDArray[np.uint64]:
    """The keys to search with for a name, an id and a date, in the order of `PersonSearch`."""
    return np.array([0 if value is None else key_of(i, cell_of(value)) for i, value in enumerate(values)], np.uint64)


def has(record: bytes, *values: str | None) -> bool:
    """Whether a packed record holds these values, those of which there are any."""
    return bool(record) and all(
        value is None or record[i * 24 : (i + 1) * 24] == cell_of(value) for i, value in enumerate(values)
    )


def name_in(record: bytes) -> str:
    """The name that a packed record holds."""
    return record[:24].rstrip(b"\0").decode()


class PlainLearned:
    """A key for each field of 24 bytes."""

    keys_per_record, cap = 3, 1000

    def keys(self, records: Buffer) -> Buffer:
        cells = [bytes(cell) for cell in np.frombuffer(records, "V24")]
        return np.array([0 if cell == bytes(24) else key_of(i % 3, cell) for i, cell in enumerate(cells)], np.uint64)

    def save(self) -> bytes:
        return b"plain"


class PlainPacking:
    """24 bytes of UTF-8 for each of name, date and id; a key for each."""

    layout = b"plain"
    record_bytes = 72

    def __init__(self, search: PersonSearch) -> None:
        self.kinds = tuple(search.fields())[:3]

    def pack(self, columns: Mapping[str, pa.Array]) -> Buffer:
        rows = zip(*(columns[kind].to_pylist() for kind in self.kinds), strict=True)
        return b"".join(cell_of(value) for row in rows for value in row)

    def learn(self, _records: Buffer) -> PlainLearned:
        return PlainLearned()

    def recall(self, saved: bytes) -> PlainLearned:
        if saved != b"plain":
            raise ValueError("was not saved by this")
        return PlainLearned()

    def differing(self, records: Buffer, others: Buffer) -> int:
        return int(np.count_nonzero(np.frombuffer(records, "V72") != np.frombuffer(others, "V72")))
