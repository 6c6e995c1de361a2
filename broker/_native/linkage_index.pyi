"""Blocking keys, candidate pairs, their patterns, and clusters (ext/linkage_index.pyx, ext/linkage_keys.h and its siblings).

Atoms are the numbers of `broker.linkage.blocking.Atom`. A *pattern* is a level of four bits a field, that of the first field
lowest: 0 is missing, 1 is different, from 9 on the values are the same and ever rarer (ext/linkage_compare.h). The lock of the
interpreter is not held while a table is worked on.
"""

from collections.abc import Buffer, Sequence  # type: ignore[attr-defined]
from typing import final

from broker._native.linkage import Layout

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

def cluster(
    rows: int, lefts: Buffer, rights: Buffer, log_odds: Buffer, least: float, clip: float, uncompared: float, out: Buffer
) -> None:
    """Write (u32) the first row of its cluster for each row, from pairs (u32, u32) in falling order of their log odds (f64).

    Raises:
        ValueError: a pair is no two rows of the table, or the columns are not of one length.
    """
