"""The answer cache: one LMDB environment in ``<data_dir>/cache``, written by this process and read by many.

It can lose anything and must never be in the way: a read that fails is a miss, a write that fails is not made, and both are
counted. Only a purge that cannot be completed is an error, because it is a promise about people's data. All calls are short and
made on one thread; no transaction outlives its call. What must not go in here: how long an answer may be used (`freshness`),
which rows an entry has (`rows`), when to throw everything away (`environment`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb
import msgspec
import structlog

from broker._native.cachekey import Entry, read_entry
from broker.boot import read_boot_id
from broker.cache import environment
from broker.cache.rows import KEY_BYTES, Tag, Tags, Transaction, tag_row
from broker.config import Cache
from broker.errors import BrokerError

__all__ = ["CacheStat", "CacheStore", "Tag", "Tags"]

BATCH = 256  # entries removed by one call of `sweep` or in one transaction of `purge`: some milliseconds of the event loop
EVICT_PER_WRITE = 4  # a write into a full cache puts out more than it brings in, so that bursts between sweeps are harmless
# LMDB copies every page that it changes and uses the old one again two transactions later. A map with less than this free
# (it matters below 2 MiB) could hold no transaction at all.
RESERVE_BYTES = 96 * 4096

log = structlog.get_logger("cache")


class CacheStat(msgspec.Struct, frozen=True):
    """How full the cache is."""

    entries: int
    used_bytes: int  # of pages in use
    map_bytes: int


class CacheStore:
    """The answer cache of one data directory.

    Raises on construction:
        DirectoryUnusable: ``<data_dir>/cache`` cannot be made or written.
        RuntimeError: this process has it open already.
    """

    def __init__(self, data_dir: Path, settings: Cache, boot_id: Callable[[], str] = read_boot_id) -> None:
        self._directory = data_dir / "cache"
        map_bytes = settings.map_size_mib << 20
        self._fill_bytes = min(int(settings.fill_ratio * map_bytes), map_bytes - RESERVE_BYTES)
        self._env, self._rows = environment.open_environment(self._directory, settings, boot_id())
        self._logged: set[str] = set()
        self.failures = 0  # operations that LMDB refused for another reason than a full map
        self.damaged = 0  # reads that found an entry and could not use it
        self.unwritten = 0  # writes that were given up
        self.ended = 0  # entries removed because their time was over
        self.evicted = 0  # entries removed to make room
        self.purged = 0  # entries removed because somebody said so

    def read(self, key: bytes) -> Entry | None:
        """Return a copy of the entry; None when there is none or it cannot be used.

        Raises:
            ValueError: the key is not 32 bytes, and there is something under it.
        """
        try:
            with self._env.begin(db=self._rows.entries, buffers=True) as txn:
                data = txn.get(key)
                if data is None:
                    return None
                entry = read_entry(key, data)
        except lmdb.Error as error:
            self._note("read", error)
            return None
        if entry is None:
            self.damaged += 1
        return entry

    def write(self, key: bytes, entry: bytes, *, ends_at_ms: int, tags: Tags) -> bool:
        """Keep an entry in place of what the key had; False when it could not be kept, which is nobody's error.

        Raises:
            ValueError: the key is not 32 bytes.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"key: must be {KEY_BYTES} bytes")
        try:
            try:
                self._put(key, entry, ends_at_ms, tags)
            except lmdb.MapFullError:
                self._make_room()
                self._put(key, entry, ends_at_ms, tags)
        except lmdb.Error as error:
            self._note("write", error)
            self.unwritten += 1
            return False
        return True

    def purge_some(self, tag: Tag, name: str | bytes) -> int:
        """Remove entries under a tag, at most `BATCH` a call, and return how many; 0: none of them can be read any more.

        Raises:
            BrokerError: the databases are damaged and cannot even be emptied; the next start discards them.
        """
        row = tag_row(tag, name)
        try:
            removed = self._remove(self._find(lambda txn: self._rows.tagged(txn, row, BATCH)))
        except lmdb.Error as error:
            self._note("purge", error)
            return self.clear()
        self.purged += removed
        return removed

    def clear(self) -> int:
        """Remove everything and return how many entries there were. Raises BrokerError as `purge_some` does."""
        removed = self._clear()
        self.purged += removed
        return removed

    def _clear(self) -> int:
        removed = 0
        try:
            try:
                return self._drop()
            except lmdb.MapFullError:
                while keys := self._find(lambda txn: self._rows.soonest(txn, BATCH)):
                    removed += self._remove(keys)
                return removed
        except lmdb.Error as error:
            environment.condemn(self._directory)
            raise BrokerError("the cache is damaged and could not be emptied; restart the broker") from error

    def sweep(self, now_ms: int) -> int:
        """Remove what has ended, then what ends soonest while the map is too full; at most `BATCH` entries a call.

        Returns how many were removed: when it is `BATCH` there may be more to do at once.
        """
        try:
            ended = self._remove(self._find(lambda txn: self._rows.ended(txn, now_ms, BATCH)))
            self.ended += ended
            evicted = self._evict(min(self._surplus(), BATCH - ended))
        except lmdb.Error as error:
            self._note("sweep", error)
            return 0
        return ended + evicted

    def stat(self) -> CacheStat:
        """How full the cache is."""
        with self._env.begin() as txn:
            return CacheStat(self._rows.count(txn), self._rows.used_bytes(txn), self._env.info()["map_size"])

    def check_readers(self) -> int:
        """Free the places of readers that died, which would keep old pages from being used again; return how many."""
        return self._env.reader_check()

    def check(self) -> list[str]:
        """Say which entries do not have exactly their rows. Reads everything; for tests and for a look by hand."""
        with self._env.begin() as txn:
            return self._rows.check(txn)

    def close(self) -> None:
        """Close the environment; harmless when it is closed."""
        environment.close_environment(self._directory, self._env)

    # --- transactions -------------------------------------------------------------------------------------------------

    def _find(self, query: Callable[[Transaction], list[bytes]]) -> list[bytes]:
        with self._env.begin() as txn:
            return query(txn)

    def _put(self, key: bytes, entry: bytes, ends_at_ms: int, tags: Tags) -> None:
        evicted = 0
        with self._env.begin(write=True) as txn:
            if self._rows.used_bytes(txn) > self._fill_bytes:
                evicted = sum(self._rows.remove(txn, soonest) for soonest in self._rows.soonest(txn, EVICT_PER_WRITE))
            self._rows.put(txn, key, entry, ends_at_ms, tags)
        self.evicted += evicted

    def _remove(self, keys: Sequence[bytes]) -> int:
        """Remove entries that an index named and return how many there were.

        An index that names what does not exist is damaged, and then no index can be trusted to name what does: everything goes.
        """
        removed = self._remove_in_halves(keys)
        if removed < len(keys):
            self._note("remove", lmdb.CorruptedError("an index names entries that do not exist"))
            removed += self._drop()
        return removed

    def _remove_in_halves(self, keys: Sequence[bytes]) -> int:
        """Remove entries in one transaction if there is room for it, else in halves: removing copies pages first, too."""
        if not keys:
            return 0
        try:
            return self._remove_at_once(keys)
        except lmdb.MapFullError:
            self._tick()
        if len(keys) == 1:
            return self._remove_at_once(keys)
        middle = len(keys) // 2
        return self._remove_in_halves(keys[:middle]) + self._remove_in_halves(keys[middle:])

    def _remove_at_once(self, keys: Sequence[bytes]) -> int:
        with self._env.begin(write=True) as txn:
            return sum(self._rows.remove(txn, key) for key in keys)

    def _tick(self) -> None:
        """Commit next to nothing, after which the pages that the transaction before has freed can be used."""
        with self._env.begin(write=True) as txn:
            self._rows.touch(txn)

    def _drop(self) -> int:
        with self._env.begin(write=True) as txn:
            return self._rows.drop(txn)

    # --- room ---------------------------------------------------------------------------------------------------------

    def _surplus(self) -> int:
        """How many entries of average size are too many."""
        stat = self.stat()
        excess = stat.used_bytes - self._fill_bytes
        return -(-excess * stat.entries // stat.used_bytes) if excess > 0 else 0

    def _make_room(self) -> None:
        """Evict an eighth of what there is: enough for many writes, without emptying a small map."""
        self._evict(min(BATCH, self.stat().entries // 8 + 1))
        self._tick()

    def _evict(self, count: int) -> int:
        evicted = self._remove(self._find(lambda txn: self._rows.soonest(txn, count)))
        self.evicted += evicted
        return evicted

    def _note(self, operation: str, error: lmdb.Error) -> None:
        """Count a failure, tell it once an operation, and have damaged data discarded by the next start."""
        if isinstance(error, lmdb.MapFullError):
            return
        self.failures += 1
        if isinstance(error, environment.UNREADABLE):
            environment.condemn(self._directory)
        if operation not in self._logged:
            self._logged.add(operation)
            log.warning("cache failed", operation=operation, reason=str(error))
