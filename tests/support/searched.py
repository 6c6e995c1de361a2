"""A record base that is searched, and a packing that any test can see through: names, dates and ids, cut to size and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from broker.model.catalogue import BaseDeclaration, PersonSearch
from broker.records.packing import Packed
from tests.support import records

SEARCH = {"name": "name", "resident_id": "resident_id", "birth_date": "birth_date"}


def base(**changes: Any) -> BaseDeclaration:
    return records.base(**({"search": SEARCH} | changes))


def key_of(kind: str, value: str | None) -> int:
    """The key that records have which hold a value."""
    if value is None:
        return 0
    return int.from_bytes(hashlib.blake2b(f"{kind}={value}".encode(), digest_size=8).digest(), "little") or 1


class PlainPacking:
    """16 bytes of UTF-8 for each of name, date and id; a key for each."""

    layout = b"plain"
    record_bytes = 48
    keys_per_record = 3

    def __init__(self, search: PersonSearch) -> None:
        self.kinds = tuple(search.fields())[:3]

    def pack(self, columns: Mapping[str, pa.Array]) -> Packed:
        rows = list(zip(*(columns[kind].to_pylist() for kind in self.kinds), strict=True))
        packed = b"".join((value or "").encode()[:16].ljust(16, b"\0") for row in rows for value in row)
        keys = [[key_of(kind, value) for kind, value in zip(self.kinds, row, strict=True)] for row in rows]
        return Packed(packed, np.array(keys, np.uint64).reshape(len(rows), 3))
