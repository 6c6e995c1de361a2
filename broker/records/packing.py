"""The seam between a record base and what it is searched by: columns of a base become packed records and blocking keys.

What must not go in here: how either is made (that is the linkage engine's, which knows no record bases), and files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import pyarrow as pa

from broker.model.catalogue import PersonSearch

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12

FORMAT = 1


class Packed(NamedTuple):
    """Rows of `record_bytes` bytes, and rows of `keys_per_record` words of 64 bits, 0 for no key; both contiguous."""

    records: Buffer
    keys: Buffer


class Packing(Protocol):
    """How records are packed and which keys they have."""

    layout: bytes  # changes whenever either does
    record_bytes: int
    keys_per_record: int

    def pack(self, columns: Mapping[str, pa.Array]) -> Packed:
        """Pack columns of texts as the base holds them, by what they hold: `name`, `birth_date`, … A null is not held."""
        ...


class Packer:
    """A packing, applied to the fields of one base."""

    def __init__(self, search: PersonSearch, packing: Packing) -> None:
        self.fields = search.fields()
        self.record_bytes = packing.record_bytes
        self.keys_per_record = packing.keys_per_record
        self.layout = hashlib.sha256(msgspec.msgpack.encode([FORMAT, packing.layout, self.fields])).digest()
        self._packing = packing

    def pack(self, records: Sequence[Mapping[str, str | None]]) -> Packed:
        """Pack records of the base."""
        return self._packing.pack(
            {kind: pa.array([record.get(field) for record in records], pa.string()) for kind, field in self.fields.items()}
        )


PackingOf = Callable[[PersonSearch], Packing]


class Packings:
    """Which packing a search uses. Empty, no base has an index; who offers one sets it when the process starts."""

    def __init__(self) -> None:
        self._made: PackingOf | None = None

    def offer(self, made: PackingOf | None) -> None:
        """Use a packing from now on, or none."""
        self._made = made

    def packer(self, search: PersonSearch | None) -> Packer | None:
        """Return how records are packed for a search; None where nothing is searched, or nobody knows how."""
        return Packer(search, self._made(search)) if search and self._made else None


PACKINGS = Packings()
