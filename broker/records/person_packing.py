"""How people of a record base are packed for a search: by the linkage engine, by what the fields of the base hold.

What must not go in here: record bases, indexes, and how values are packed and keys made (broker/linkage).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from broker._native import linkage_index as native
from broker.linkage import Kind, Schema
from broker.linkage.blocking import Atom, Blocking, choose
from broker.linkage.estimate import rarities
from broker.linkage.model import DIFFERENT, SAME, levels_of
from broker.model.catalogue import PersonSearch

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12

FORMAT = 1  # of cells and keys; raise it when the engine packs otherwise
MOST_KEYS = 32  # places in a row of keys: the index is to stay small, and a search has several fields that find a person

# Keys are chosen as for a base of so many: the engine looks at a sample of 20,000, in which a key that two people share counts
# for more than the cap in a base of many millions, so that no key could be told from one that is of use.
_CHOSEN_BY = 1_000_000

KINDS = {
    "name": Kind.PERSON_NAME,
    "resident_id": Kind.RESIDENT_ID,
    "sex": Kind.CATEGORY,
    "birth_date": Kind.DATE,
    "address": Kind.ADDRESS,
    "phone": Kind.PHONE,
}


class _Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[list[tuple[int, int]]]
    cap: int


class PersonKeys:
    """Which blocking keys the people of a base have."""

    def __init__(self, schema: Schema, blocking: Blocking) -> None:
        self._schema = schema
        self._blocking = blocking
        self._plan = blocking.plan(schema)
        self.keys_per_record = self._plan.width
        self.cap = blocking.cap

    def keys(self, records: Buffer) -> npt.NDArray[np.uint64]:
        """Return a row of keys for each packed record."""
        rows = _rows(records, self._schema)
        found = np.empty((len(rows), self.keys_per_record), np.uint64)
        self._plan.keys(rows, found)
        return found

    def save(self) -> bytes:
        """Return all of this as `PersonPacking.recall` wants it."""
        rules = [[(field, int(atom)) for field, atom in rule] for rule in self._blocking.rules]
        return msgspec.json.encode(_Saved(rules, self._blocking.cap))


class PersonPacking:
    """Packed records of people; see `broker.records.packing.Packing`."""

    def __init__(self, search: PersonSearch) -> None:
        self.schema = Schema.of({kind: KINDS[kind] for kind in search.fields()})
        self.record_bytes = self.schema.layout.stride
        self.layout = msgspec.json.encode([FORMAT, self.schema.layout.kinds, self.schema.layout.places])

    def pack(self, columns: Mapping[str, pa.Array]) -> npt.NDArray[np.uint8]:
        """Pack columns of texts, each named by what it holds."""
        return self.schema.pack(pa.table(dict(columns)))

    def learn(self, records: Buffer) -> PersonKeys:
        """Note in each record how rare its values are, and choose the keys that find few others."""
        rows = _rows(records, self.schema)
        rarities(self.schema, [rows])
        some = np.ascontiguousarray(rows[:: max(1, len(rows) // _CHOSEN_BY)])
        return PersonKeys(self.schema, choose(self.schema, some, MOST_KEYS))

    def recall(self, saved: bytes) -> PersonKeys:
        """Return what was learnt before. Raises ValueError for what was not saved."""
        found = msgspec.json.decode(saved, type=_Saved)  # whose error is a ValueError
        rules = tuple(tuple((field, Atom(atom)) for field, atom in rule) for rule in found.rules)
        return PersonKeys(self.schema, Blocking(rules, found.cap))

    def differing(self, records: Buffer, others: Buffer) -> int:
        """Count the records that differ from the one at the same place in a field that both have."""
        left, right = _rows(records, self.schema), _rows(others, self.schema)
        places = np.arange(len(left), dtype=np.uint32)
        patterns = np.empty(len(left), np.uint64)
        native.compare(self.schema.layout, left, right, places, places, patterns)
        levels = levels_of(patterns, len(self.schema.fields))
        return int(((levels >= DIFFERENT) & (levels < SAME)).any(axis=1).sum())


def _rows(records: Buffer, schema: Schema) -> npt.NDArray[np.uint8]:
    return np.frombuffer(records, np.uint8).reshape(-1, schema.layout.stride)
