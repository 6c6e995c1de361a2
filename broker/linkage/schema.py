"""What is known of a record: fields, each of a kind, and how columns of Arrow become packed rows.

The kinds are the engine's own: they say how values of a field go wrong and how they are compared. What must not go in here:
the catalogue's types (whoever links records of the catalogue says which kind a field is of), blocking, weights.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from broker._native import linkage as native
from broker.linkage.cores import do_all, slices

_LINE = 64
Rows = npt.NDArray[np.uint8]  # a row a record


class Kind(IntEnum):
    """What a field is; the order is that of `Kind` in ext/linkage_cells.h."""

    PERSON_NAME = 0  # a whole name, in ideographs or letters
    GIVEN_NAME = 1  # in letters; may be swapped with the surname, if there is one of each
    SURNAME = 2
    RESIDENT_ID = 3  # GB 11643, of which a wrong one can be told
    IDENTIFIER = 4  # letters and digits that are nobody else's
    DATE = 5
    PHONE = 6
    ADDRESS = 7  # Chinese
    TEXT = 8  # a street, a place, a trade
    NUMBER = 9  # letters and digits that many have: of a house, a postcode
    CATEGORY = 10  # one of a few: sex, state


_MOST_TEXT = (1 << 31) - 1  # bytes that offsets of 32 bits reach
RESERVED = frozenset(("left", "right", "probability"))  # columns of the tables of pairs


class UnknownColumn(ValueError):
    """A table has no column of the name of a field, or one of another type than is read."""


@dataclass(frozen=True)
class Field:
    """A column and its kind."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Schema:
    """The fields that records are compared by, at most 16, in any order.

    Raises:
        ValueError: there are no fields, too many, two of one name, or one named as a column of the result.
    """

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ValueError("fields: two have the same name")
        if taken := sorted(RESERVED & set(names)):
            raise ValueError(f"fields: `{taken[0]}` is a column of what is found; give the column another name")
        _ = self.layout  # which refuses too many

    @classmethod
    def of(cls, kinds: Mapping[str, Kind]) -> Schema:
        """Make a schema from names and kinds."""
        return cls(tuple(Field(name, Kind(kind)) for name, kind in kinds.items()))

    @functools.cached_property
    def layout(self) -> native.Layout:
        """How these records are packed."""
        return native.Layout([field.kind for field in self.fields])

    def pack(self, table: pa.Table) -> Rows:
        """Pack the columns of a table that fields are named after; null is a missing value.

        Raises:
            UnknownColumn: a column is not there, or is neither text nor number nor date.
        """
        rows = _aligned(table.num_rows, self.layout.stride)
        columns = [_column(table, field) for field in self.fields]

        def pack(part: slice) -> None:
            self.layout.pack([column[part] for column in columns], rows[part])

        do_all(functools.partial(pack, part) for part in slices(len(rows)))
        return rows

    def pack_one(self, values: Sequence[str | None]) -> bytes:
        """Pack one record: a text or None for each field, in their order."""
        return self.layout.pack_one(tuple(values))


def _aligned(count: int, stride: int) -> Rows:
    """Make room for rows that begins with a line of the processor's cache, so that 64 bytes are one line and not two."""
    room = np.empty(count * stride + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + count * stride].reshape(count, stride)


def _column(table: pa.Table, field: Field) -> Any:
    if field.name not in table.column_names:
        raise UnknownColumn(f"{field.name}: there is no such column")
    column = table[field.name]
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or (kind == pa.date32() and field.kind is Kind.DATE)):
        try:
            column = column.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UnknownColumn(f"{field.name}: cannot be read as text") from error
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.nbytes > _MOST_TEXT and pa.types.is_string(column.type):
        column = column.cast(pa.large_string())
    return column.combine_chunks()
