"""The seam between a record base and what it is searched by: columns of a base become packed records and blocking keys.

What must not go in here: how either is made (person_packing.py and the linkage engine), and files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
import pyarrow as pa

from broker.model.catalogue import PersonSearch
from broker.records.person_packing import PersonPacking

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12

FORMAT = 1


class Learned(Protocol):
    """How keys are made of packed records, where that was chosen by looking at all of a base."""

    keys_per_record: int
    cap: int  # of records that share a key; one that more have tells nobody apart, and is left out

    def keys(self, records: Buffer) -> Buffer:
        """Return a row of `keys_per_record` words of 64 bits for each packed record, 0 for no key; contiguous."""
        ...

    def noted(self, records: Buffer) -> Buffer:
        """Return packed records of later changes with what `learn` would have noted in them, as far as it is known."""
        ...

    def save(self) -> bytes:
        """Return all of this as `Packing.recall` wants it."""
        ...


class Packing(Protocol):
    """How records are packed."""

    layout: bytes  # changes whenever that does
    record_bytes: int

    def pack(self, columns: Mapping[str, pa.Array]) -> Buffer:
        """Pack columns of texts as the base holds them, by what they hold: `name`, `birth_date`, … A null is not held."""
        ...

    def learn(self, records: Buffer) -> Learned:
        """Choose how keys are made, from all packed records of a base; may note in each what only all together tell."""
        ...

    def recall(self, saved: bytes) -> Learned:
        """Return what was learnt before. Raises ValueError for what was not saved."""
        ...

    def differing(self, records: Buffer, others: Buffer) -> int:
        """Count the packed records that do not say what the one at the same place among the others says."""
        ...


class Packer:
    """A packing, applied to the fields of one base."""

    def __init__(self, search: PersonSearch, packing: Packing) -> None:
        self.fields = search.fields()
        self.packing = packing
        self.layout = hashlib.sha256(msgspec.msgpack.encode([FORMAT, packing.layout, self.fields])).digest()

    def pack(self, columns: Mapping[str, Sequence[str | None]], count: int) -> Buffer:
        """Pack so many records of the base: columns by field; one that was declared since the base was loaded is not there."""
        nothing = [None] * count
        return self.packing.pack(
            {kind: pa.array(columns.get(name, nothing), pa.string()) for kind, name in self.fields.items()}
        )


PackingOf = Callable[[PersonSearch], Packing]


class Packings:
    """Which packing a search uses; with none, no base has an index."""

    def __init__(self, made: PackingOf | None) -> None:
        self._made = made

    def offer(self, made: PackingOf | None) -> None:
        """Use a packing from now on, or none."""
        self._made = made

    def packer(self, search: PersonSearch | None) -> Packer | None:
        """Return how records are packed for a search; None where nothing is searched, or nobody knows how."""
        return Packer(search, self._made(search)) if search and self._made else None


PACKINGS = Packings(PersonPacking)
