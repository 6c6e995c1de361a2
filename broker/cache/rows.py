"""The rows that make up one cached answer, in four databases, and what must hold between them.

    entries   key                        -> entry (`broker._native.cachekey`)       all that readers look at
    meta      key                        -> end time, four tag digests              how to find the rows below again
    ends      end time, big-endian + key -> nothing                                 in order of ending, for eviction
    tags      kind + digest              -> key, many                               for purge

Names are kept as digests only: outside the entry's body nothing says whom an answer is about. Every function works inside the
transaction it is given and lets LMDB's errors pass. What must not go in here: transactions, policy, clocks.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
from collections.abc import Iterator
from typing import TypeAlias

import lmdb
import msgspec

from broker._native.cachekey import read_entry

KEY_BYTES = 32
END_BYTES = 8
DIGEST_BYTES = 16

Transaction: TypeAlias = "lmdb.Transaction[bytes]"


class Tag(enum.IntEnum):
    """What entries can be purged by. The numbers are part of the stored format."""

    INTERFACE = 1
    PROVIDER = 2
    SUBJECT = 3
    QUESTION = 4


META_BYTES = END_BYTES + len(Tag) * DIGEST_BYTES


class Tags(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry can be purged by."""

    interface: str
    provider: str
    subject: str  # canonical
    question: bytes  # the key that all masks and encodings of one question share

    def rows(self) -> tuple[bytes, ...]:
        """Keys in the database `tags`, in order of `Tag`."""
        names: tuple[str | bytes, ...] = (self.interface, self.provider, self.subject, self.question)
        return tuple(tag_row(tag, name) for tag, name in zip(Tag, names, strict=True))


def tag_row(tag: Tag, name: str | bytes) -> bytes:
    """Key in the database `tags`."""
    text = name.encode() if isinstance(name, str) else name
    return bytes((tag,)) + hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


class Rows:
    """The four databases of one environment."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self.entries = environment.open_db(b"entries")
        self.meta = environment.open_db(b"meta")
        self.ends = environment.open_db(b"ends")
        self.tags = environment.open_db(b"tags", dupsort=True, dupfixed=True)
        self.all = (self.entries, self.meta, self.ends, self.tags)

    def put(self, txn: Transaction, key: bytes, entry: bytes, ends_at_ms: int, tags: Tags) -> None:
        """Write all rows of an entry in place of what the key had before."""
        self.remove(txn, key)
        end = ends_at_ms.to_bytes(END_BYTES, "big")
        rows = tags.rows()
        txn.put(key, entry, db=self.entries)
        txn.put(key, end + b"".join(row[1:] for row in rows), db=self.meta)
        txn.put(end + key, b"", db=self.ends)
        for row in rows:
            txn.put(row, key, db=self.tags)

    def remove(self, txn: Transaction, key: bytes) -> bool:
        """Remove all rows of an entry; False when there was none."""
        meta = txn.pop(key, db=self.meta)
        if meta is None:
            return False
        end, rows = split_meta(meta)
        txn.delete(key, db=self.entries)
        txn.delete(end + key, db=self.ends)
        for row in rows:
            txn.delete(row, key, db=self.tags)
        return True

    def drop(self, txn: Transaction) -> int:
        """Remove everything and return how many entries there were. Touches few pages, so it works in a full map."""
        count = self.count(txn)
        for database in self.all:
            txn.drop(database, delete=False)
        return count

    def touch(self, txn: Transaction) -> None:
        """Change one page, so that the transaction counts as one."""
        txn.put(b"touched", txn.id().to_bytes(8, "big"))

    def soonest(self, txn: Transaction, limit: int) -> list[bytes]:
        """Keys of the entries that end first."""
        return [row[END_BYTES:] for row in itertools.islice(_keys(txn, self.ends), limit)]

    def ended(self, txn: Transaction, now_ms: int, limit: int) -> list[bytes]:
        """Keys of entries whose end time has come, soonest first."""
        first_alive = (max(now_ms, -1) + 1).to_bytes(END_BYTES, "big")
        rows = itertools.takewhile(lambda row: row < first_alive, _keys(txn, self.ends))
        return [row[END_BYTES:] for row in itertools.islice(rows, limit)]

    def tagged(self, txn: Transaction, row: bytes, limit: int) -> list[bytes]:
        """Keys of entries under one tag."""
        with txn.cursor(db=self.tags) as cursor:
            if not cursor.set_key(row):
                return []
            return list(itertools.islice(cursor.iternext_dup(), limit))

    def count(self, txn: Transaction) -> int:
        """How many entries there are."""
        return txn.stat(self.entries)["entries"]

    def used_bytes(self, txn: Transaction) -> int:
        """Bytes of the pages that hold something. The file is no measure: it never shrinks and its free pages are reused."""
        stats = [txn.stat(), *(txn.stat(database) for database in self.all)]
        return sum((s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"]) * s["psize"] for s in stats)

    def check(self, txn: Transaction) -> list[str]:
        """Say what does not hold between the databases; keys are named by their first bytes. Reads everything."""
        problems = [problem for key, entry in txn.cursor(db=self.entries) for problem in self._check_entry(txn, key, entry)]
        count = self.count(txn)
        for name, database, expected in (("meta", self.meta, count), ("ends", self.ends, count), ("tags", self.tags, None)):
            rows = txn.stat(database)["entries"]
            if rows != (len(Tag) * count if expected is None else expected):
                problems.append(f"{name}: {rows} rows for {count} entries")
        return problems

    def _check_entry(self, txn: Transaction, key: bytes, entry: bytes) -> Iterator[str]:
        name = key[:4].hex()
        if read_entry(key, entry) is None:
            yield f"{name}: damaged"
        meta = txn.get(key, db=self.meta)
        if meta is None or len(meta) != META_BYTES:
            yield f"{name}: no meta"
            return
        end, rows = split_meta(meta)
        if txn.get(end + key, db=self.ends) is None:
            yield f"{name}: no row in ends"
        with txn.cursor(db=self.tags) as cursor:
            for tag, row in zip(Tag, rows, strict=True):
                if not cursor.set_key_dup(row, key):
                    yield f"{name}: no row for {tag.name.lower()}"


def split_meta(meta: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """End time and keys in the database `tags`, as they were written. Raises lmdb.CorruptedError when they cannot have been."""
    if len(meta) != META_BYTES:
        raise lmdb.CorruptedError("a row of `meta` has a wrong length")
    digests = (meta[at : at + DIGEST_BYTES] for at in range(END_BYTES, len(meta), DIGEST_BYTES))
    return meta[:END_BYTES], tuple(bytes((tag,)) + digest for tag, digest in zip(Tag, digests, strict=True))


def _keys(txn: Transaction, database: lmdb._Database) -> Iterator[bytes]:
    with txn.cursor(db=database) as cursor:
        yield from cursor.iternext(keys=True, values=False)
