"""How people of a record base are packed for a search, by what its fields hold, and what is learnt from all of them.

What must not go in here: record bases, indexes, and how values are packed and keys made (broker/linkage).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from broker._native import linkage, linkage_index
from broker.linkage import Kind, Model, Schema, persons
from broker.linkage.model import DIFFERENT, SAME, levels_of
from broker.model.catalogue import PersonSearch

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12

KINDS = {
    "name": Kind.PERSON_NAME,
    "resident_id": Kind.RESIDENT_ID,
    "sex": Kind.CATEGORY,
    "birth_date": Kind.DATE,
    "address": Kind.ADDRESS,
    "phone": Kind.PHONE,
}


class PersonKeys:
    """The model of a base, and so which keys its people have; see `broker.records.packing.Learned`."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.plan = model.blocking.plan(model.schema)
        self.keys_per_record = self.plan.width
        self.cap = model.blocking.cap
        self._everyday_bits = persons.everyday_bits(model)

    def keys(self, records: Buffer) -> npt.NDArray[np.uint64]:
        """Return a row of keys for each packed record."""
        rows = _rows(records, self.model.schema)
        found = np.empty((len(rows), self.keys_per_record), np.uint64)
        self.plan.keys(rows, found)
        return found

    def noted(self, records: Buffer) -> npt.NDArray[np.uint8]:
        """Return packed records that came later with the rarity that most values have, as nobody has counted theirs."""
        rows = _rows(records, self.model.schema).copy()
        linkage.note_rarity(self.model.schema.layout, rows, self._everyday_bits)
        return rows

    def save(self) -> bytes:
        """Return all of this as `PersonPacking.recall` wants it."""
        return self.model.to_json()


class PersonPacking:
    """Packed records of people; see `broker.records.packing.Packing`."""

    def __init__(self, search: PersonSearch) -> None:
        self.fields = search.fields()  # of the base, by what they hold
        self.schema = Schema.of({kind: KINDS[kind] for kind in self.fields})
        self.record_bytes = self.schema.layout.stride
        self.layout = persons.layout_of(self.schema)

    def pack(self, columns: Mapping[str, pa.Array]) -> npt.NDArray[np.uint8]:
        """Pack columns of texts, each named by what it holds."""
        return self.schema.pack(pa.table(dict(columns)))

    def learn(self, records: Buffer) -> PersonKeys:
        """Note in each record how rare its values are, and make the model of all."""
        return PersonKeys(persons.model_of(self.schema, _rows(records, self.schema)))

    def recall(self, saved: bytes) -> PersonKeys:
        """Return what was learnt before. Raises ValueError for what was not saved, or is of other fields."""
        model = Model.from_json(saved)
        if model.schema != self.schema:
            raise ValueError("is of other fields")
        return PersonKeys(model)

    def differing(self, records: Buffer, others: Buffer) -> int:
        """Count the records that differ from the one at the same place in a field that both have."""
        left, right = _rows(records, self.schema), _rows(others, self.schema)
        places = np.arange(len(left), dtype=np.uint32)
        patterns = np.empty(len(left), np.uint64)
        linkage_index.compare(self.schema.layout, left, right, places, places, patterns)
        levels = levels_of(patterns, len(self.schema.fields))
        return int(((levels >= DIFFERENT) & (levels < SAME)).any(axis=1).sum())


def _rows(records: Buffer, schema: Schema) -> npt.NDArray[np.uint8]:
    return np.frombuffer(records, np.uint8).reshape(-1, schema.layout.stride)
