"""The query index of a record base: candidates for a search, and changes that are seen at once (ext/query_*.c, ext/postings.h).

An index is two mapped files. The first, written once by `query_build`, has the packed records, one *slot* each in order of the
keys under which the base keeps them, and postings from hashed blocking keys to slots. The second, the *delta*, has what changed
since; its slots follow on those of the first. One process changes a delta at a time, which its caller sees to; others read it
meanwhile, without locks, and see changes together when they are published.

Whatever is wrong with either file, nothing outside of it is read; what is found by a damaged one may be wrong or lacking.
"""

from collections.abc import Buffer  # type: ignore[attr-defined]
from typing import TypedDict, final

class Unusable(ValueError):
    """A file is not what it should be; the text says why, as the end of a sentence."""

class Full(Exception):
    """A delta has no room for more changes; the index has to be built anew."""

class Facts(TypedDict):
    """What an index says of itself."""

    layout: bytes  # digest of how records and keys are made
    build: int  # drawn for this file
    built_at_ms: int  # since 1970
    rows: int
    stride: int  # bytes of a record
    keys_per_record: int
    bits: int  # there are 2**bits buckets
    slots: int  # of the postings
    dropped_buckets: int  # that too many records shared
    dropped_slots: int
    bytes: int
    chunks: int  # that have checksums

@final
class Index:
    """An index and its delta, open. Memory stays borrowed until `close`."""

    def __init__(self, file: Buffer, delta: Buffer | None = None, *, writable: bool = False) -> None:
        """Look into mapped files; headers and what was learnt are verified, the rest is not.

        Raises:
            Unusable: one of them is damaged, cut off, of another format; or the delta is of another index.
        """

    def close(self) -> None:
        """Give the memory back.

        Raises:
            BufferError: another thread is verifying or counting.
        """

    def facts(self) -> Facts: ...
    def learned(self) -> bytes:
        """Return what was learnt from all records together when the index was built; it was verified."""

    def damaged(self, begin: int, end: int) -> int:
        """Verify chunks of 1 MiB from `begin` up to `end`; returns how many are not as written. Lets other threads run."""

    def changes(self) -> tuple[int, int]:
        """Return how many changes of the delta are visible, and how many it has room for; 0, 0 without a delta."""

    def boot(self) -> bytes:
        """Return under which boot of the machine the delta was linked: under another one its links may be of any age."""

    @property
    def is_retired(self) -> bool:
        """Whether another index may have taken the place of this one: who reads should look."""

    def see(self, known: int) -> None:
        """Let so many changes be visible at least: the record base knows of them.

        Raises:
            Unusable: the delta does not have them.
        """

    def probe(self, keys: Buffer, most: int) -> tuple[list[int], bool]:
        """Return slots of records in force that have one of the keys (words of 64 bits), and whether some were left out.

        Each slot comes once; at most `most`, at most 4096; changes first, then what shares the rarest keys. Some may have none
        of the keys: two keys can share a bucket. The cost does not grow with how many records share a key.
        """

    def record(self, slot: int) -> bytes | None:
        """Return a packed record, None if none is in force there."""

    def key(self, slot: int) -> bytes | None:
        """Return under which key the base keeps a record, None if none is in force there."""

    def find(self, key: bytes) -> int | None:
        """Return the slot of the record that the base keeps under a key. Raises ValueError for no key."""

    def live(self) -> int:
        """Count the records in force; linear in them."""

    def put(self, records: Buffer, keys: Buffer, record_keys: list[bytes]) -> None:
        """Append records, each in the place of the one with its key, if there is one. Not visible until `publish`.

        `records` are `stride` bytes each, `keys` as many words of 64 bits as a record has, 0 for none.

        Raises:
            Full: there is no room; what was appended before stays appended.
            ValueError: sizes do not fit, or the index was not opened for changes.
        """

    def remove(self, record_keys: list[bytes]) -> int:
        """Append that records are gone; returns how many of them were there. Raises as `put`."""

    def appended(self) -> int:
        """Return how many changes there will be when they are published."""

    def publish(self) -> None:
        """Let all that was appended be seen, at once. For when the record base knows of it, durably."""

    def mend(self, known: int) -> None:
        """Make void what was appended after the first `known` changes, by a writer that has ended before the base knew of it.

        Raises:
            Unusable: changes that the base does not know of were visible: this delta belongs to another state of it.
        """

    def relink(self, known: int, boot: bytes) -> None:
        """Make all links again from the first `known` changes, after the machine went down; other changes are gone.

        Raises:
            Unusable: one of the changes is damaged.
        """

    def retire(self, retired: bool) -> None:
        """Tell those who read this index that another one takes its place, or that none did."""

def delta_bytes(rows: int, stride: int, keys_per_record: int, capacity: int) -> int:
    """Return how big a delta with room for `capacity` changes is. Raises ValueError where none can be that big."""

def make_delta(memory: Buffer, index: Index, capacity: int, boot: bytes) -> None:
    """Make an empty delta for an index in memory of zeros; `boot` is 16 bytes. Raises ValueError where sizes do not fit."""
