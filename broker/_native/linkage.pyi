"""Packed records: layouts, packing, rarity (ext/linkage.pyx, ext/linkage_cells.h, ext/linkage_rarity.h).

A *layout* says where the cell of each field stands in a packed row. Kinds are the numbers of `broker.linkage.schema.Kind`. Rows
are contiguous buffers of whole records. The interpreter's lock is not held while a column is packed or counted.
"""

from collections.abc import Buffer, Sequence  # type: ignore[attr-defined]
from typing import final

from broker._native.normal_columns import ArrowArray

@final
class Layout:
    """Where cells stand. Missing values are cells of zeros."""

    kinds: tuple[int, ...]

    def __init__(self, kinds: Sequence[int]) -> None:
        """Lay out fields.

        Raises:
            ValueError: there are no fields, more than 16, a kind that there is not, or a record would be too long.
        """

    @property
    def stride(self) -> int: ...  # bytes of a row
    @property
    def places(self) -> tuple[int, ...]: ...  # of cells in a row
    def pack(self, columns: Sequence[ArrowArray], rows: Buffer) -> None:
        """Write all rows: a column a field, of string or large_string, or date32 for a date.

        Raises:
            TypeError: a column is of another type.
            ValueError: there are not as many columns as fields, or not as many values as rows.
        """

    def pack_one(self, values: tuple[str | None, ...]) -> bytes:
        """Return the row of one record. Raises as `pack`."""

def count_rarity(layout: Layout, field: int, tables: Sequence[Buffer]) -> tuple[list[float], int, int]:
    """Count the values of a field over one table or two, and write into each cell how rare its value is.

    Values far too frequent for their kind become missing. Return, by bits of rarity, the probability that two random rows agree
    on a value of it; how many rows had a value; and how many of them became missing.
    """
