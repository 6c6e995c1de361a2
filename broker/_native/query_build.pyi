"""Building a query index (ext/postings.c, ext/record_keys.c): pairs of a blocking key and a slot are collected in scratch,
partition by partition, and then sorted by counting into the file itself. Time is linear in the pairs, memory is the caller's.
"""

from collections.abc import Buffer  # type: ignore[attr-defined]
from typing import TypedDict, final

class Places(TypedDict):
    """Offsets of sections in the file, and how big it may become."""

    records: int
    words: int
    heap: int
    file: int

def scratch_bytes(most_pairs: int) -> int:
    """Return how much scratch it takes to collect so many pairs."""

def key_words(keys: list[bytes], heap_at: int) -> tuple[bytes, bytes]:
    """Return a word of 8 bytes for each key of a record, and what belongs into the heap at `heap_at` for them.

    Raises:
        ValueError: a key is not of 1 to 511 bytes.
    """

def places(
    rows: int, stride: int, *, keys_per_record: int = 0, pairs: int = 0, heap_bytes: int = 0, learned_bytes: int = 0
) -> Places:
    """Return where sections are in the file of an index; up to the heap they depend on rows and stride alone.

    Raises:
        ValueError: no record is that big, or has that many keys.
        OverflowError: there are more pairs than an index takes.
    """

@final
class Postings:
    """Pairs of a key and a slot, being collected; slots count from 0, a row each."""

    def __init__(self, scratch: Buffer, most_pairs: int, keys_per_record: int) -> None:
        """Begin. Raises ValueError if the scratch is smaller than `scratch_bytes(most_pairs)`."""

    def close(self) -> None:
        """Give the scratch back."""

    @property
    def pairs(self) -> int:
        """How many pairs there are so far."""

    def scratch_used(self, more_pairs: int) -> int:
        """Return how much of the scratch, from its beginning, is in use when so many more pairs have been added."""

    def add(self, keys: Buffer) -> None:
        """Add rows of keys, words of 64 bits; 0 is no key.

        Raises:
            ValueError: these are no whole rows.
            OverflowError: there were more pairs than announced, or than 2³¹-1; nothing can be added any more.
        """

    def seal(
        self,
        file: Buffer,
        *,
        stride: int,
        heap_bytes: int,
        cap: int,
        layout: bytes,
        learned: bytes,
        build: int,
        built_at_ms: int,
    ) -> int:
        """Write postings, checksums and header into a file that has its other sections; returns how long it has become.

        `learned` is kept for who makes keys. Buckets of more than `cap` slots are left empty: a key that so many share tells
        nobody apart. 0 is no cap.

        Raises:
            ValueError: the file is smaller than `places` has it for what was added.
            OverflowError: there are more pairs than an index takes.
        """
