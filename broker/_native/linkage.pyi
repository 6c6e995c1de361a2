"""Linkage of records: packing, blocking keys, candidate pairs and their patterns (ext/linkage.pyx, ext/linkage_*.c).

A *layout* says where the cell of each field stands in a packed row. Kinds and atoms are numbers: `broker.linkage.schema.Kind`,
`broker.linkage.blocking.Atom`. A *pattern* is a level of four bits a field, that of the first field lowest: 0 is missing, 1 is
different, from 9 on the values are the same and ever rarer (ext/linkage_compare.h). Rows are contiguous buffers of whole
records. The interpreter's lock is not held while a table is worked on.
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

def rarity_mask(layout: Layout) -> bytes:
    """Return a row in which the bits that `count_rarity` writes are set, and no others."""

@final
class KeyPlan:
    """Rules that make the blocking keys of a record. Atoms are (field, kind of atom); rules one or two places in them."""

    layout: Layout

    def __init__(self, layout: Layout, atoms: Sequence[tuple[int, int]], rules: Sequence[tuple[int, int | None]]) -> None:
        """Take rules.

        Raises:
            ValueError: they name what there is not or what does not suit, or make more than 128 keys a record.
        """

    @property
    def width(self) -> int: ...  # keys of a record
    @property
    def places(self) -> tuple[int, ...]: ...  # where the keys of each rule begin, and where the last ends
    def keys(self, rows: Buffer, out: Buffer) -> None:
        """Write `width` keys of 64 bits a row; 0 is no key.

        Raises:
            ValueError: `out` is of another size.
        """

@final
class Index:
    """The keys of a table, which it keeps a hold on, and which record has them (ext/postings.h)."""

    dropped: int  # keys of records that are in no bucket, because more than the cap have them

    def __init__(self, plan: KeyPlan, rows: Buffer, cap: int) -> None: ...
    def find(
        self, left: Buffer, first: int, step: int, count: int, weights: Buffer, least: float, within: bool
    ) -> tuple[bytes, bytes, bytes, bytes, int, int]:
        """Compare rows of `left` with those that share a key; `within`: it is the same table, and each pair comes once.

        `weights` are 16 x 16 floats by field and level, of whose sum at least `least` is kept. Return columns of rows on the
        left (u32), on the right (u32), patterns (u64) and sums (f32); how many pairs were compared; and of how many rows not
        all candidates were looked at.

        Raises:
            ValueError: the rows are not within the table, or there are not 256 weights.
        """

def compare(layout: Layout, left: Buffer, right: Buffer, lefts: Buffer, rights: Buffer, out: Buffer) -> None:
    """Write the patterns (u64) of given pairs, by rows (u32) of two tables.

    Raises:
        ValueError: a row is not of its table, or the columns are not of one length.
    """
