"""People in a record base as the linkage engine has them: which field is of which kind, packed records, their keys, the model.

What must not go in here: files, and what is made of what a search finds (search.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from broker._native import linkage as native
from broker.linkage import Kind, Model, Schema, persons
from broker.model.catalogue import PersonSearch

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12

_KINDS: Mapping[str, Kind] = {
    "resident_id": Kind.RESIDENT_ID,
    "name": Kind.PERSON_NAME,
    "sex": Kind.CATEGORY,
    "birth_date": Kind.DATE,
    "address": Kind.ADDRESS,
    "phone": Kind.PHONE,
}


class PersonKeys:
    """A model of a base, and so the keys of its records (`packing.Learned`)."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.plan = model.blocking.plan(model.schema)
        self.keys_per_record = self.plan.width

    def keys(self, records: Buffer) -> Buffer:
        """Return a row of keys for each packed record."""
        rows = np.frombuffer(records, np.uint8).reshape(-1, self.model.schema.layout.stride)
        found = np.empty((len(rows), self.keys_per_record), np.uint64)
        self.plan.keys(rows, found)
        return found

    def save(self) -> bytes:
        """Return the model as it is written."""
        return self.model.to_json()


class PersonPacking:
    """How people are packed (`packing.Packing`)."""

    def __init__(self, search: PersonSearch) -> None:
        self.kinds = tuple(search.fields())
        self.fields = tuple(search.fields().values())  # of the base, in the same order
        self._schema = Schema.of({kind: _KINDS[kind] for kind in self.kinds})
        self.layout = persons.layout_of(self._schema)
        self.record_bytes = self._schema.layout.stride
        self._plain = ~np.frombuffer(native.rarity_mask(self._schema.layout), np.uint8)

    def pack(self, columns: Mapping[str, pa.Array]) -> Buffer:
        """Pack columns by kind."""
        return self._schema.pack(pa.table(dict(columns)))

    def learn(self, records: Buffer) -> PersonKeys:
        """Make the model of all records of a base, and note in them how rare their values are."""
        return PersonKeys(persons.model_of(self._schema, np.frombuffer(records, np.uint8).reshape(-1, self.record_bytes)))

    def recall(self, saved: bytes) -> PersonKeys:
        """Read a model. Raises ValueError where it is none of these fields."""
        model = Model.from_json(saved)
        if model.schema != self._schema:
            raise ValueError("is a model of other fields")
        return PersonKeys(model)

    def plain(self, records: Buffer) -> Buffer:
        """Return packed records without what was noted in them."""
        return np.frombuffer(records, np.uint8).reshape(-1, self.record_bytes) & self._plain
