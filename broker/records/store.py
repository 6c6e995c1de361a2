"""Reads and changes the records of a base. Reading follows the base's generations; what is written is seen at once.

What must not go in here: how a generation is filled and takes its place (load.py), and what a record says (rows.py).
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import lmdb
import msgspec
import structlog

from broker.config import Config
from broker.errors import BaseUnusable
from broker.model.catalogue import BaseDeclaration
from broker.records import generations, rows
from broker.records.rows import Damaged, Record, Row

FORMAT = 1
# No key of a record begins with NUL.
ABOUT = b"\0about"
INDEXED = b"\0indexed"

log = structlog.get_logger("records")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a generation says of itself."""

    format: int
    base: BaseDeclaration  # as it was declared when this was loaded
    loaded_at_ms: int


class Indexed(msgspec.Struct, frozen=True, kw_only=True):
    """Which query index is of these records. It is written together with them, so one that lags behind is known."""

    build: int
    entries: int  # of its delta, that are of these records
    transaction: int = 0  # that wrote this: if it is not the last one, somebody wrote who knows of no index


class Follower(Protocol):
    """What is changed together with the records of a base."""

    def put(self, row: Row) -> None:
        """A record takes its place."""

    def remove(self, key: bytes) -> None:
        """A record is gone, if it was there."""

    def prepare(self) -> Indexed | None:
        """Make all of it durable, seen by nobody yet; None where it could not follow, and nothing is indexed any more."""

    def publish(self) -> None:
        """The records are changed, durably."""

    def abandon(self) -> None:
        """The records are as they were."""


Columns = Mapping[str, Sequence[str | None]]  # by field


class Change:
    """Changes of a base that are made together."""

    def __init__(self, transaction: lmdb.Transaction, names: Sequence[str], follower: Follower | None) -> None:
        self._transaction = transaction
        self._names = names
        self._follower = follower

    def put(self, row: Row) -> bool:
        """Write a record; tells whether its key is new."""
        packed = rows.pack(row, self._names)
        if self._follower:
            self._follower.put(row)
        added = self._transaction.put(row.key, packed, overwrite=False)
        return bool(added) or not self._transaction.put(row.key, packed)

    def remove(self, key: bytes) -> bool:
        """Delete a record; tells whether there was one."""
        if self._follower:
            self._follower.remove(key)
        return bool(self._transaction.delete(key))


class Store:
    """One generation of a base, open for reading or for changes. Two of the same in one process corrupt it (LMDB)."""

    def __init__(self, environment: lmdb.Environment, base: BaseDeclaration) -> None:
        self._environment = environment
        self.base = base
        self.about = self._read_about()
        self._names = tuple(self.about.base.fields)

    def find(self, key: bytes) -> Record | None:
        """Return a record by its key, or None.

        Raises:
            BaseUnusable: what is stored is damaged.
            MapResizedError: another process has made the base larger than this one expects; open it again.
        """
        try:
            with self._environment.begin(buffers=False) as transaction:
                stored = transaction.get(key)
        except lmdb.MapResizedError:
            raise
        except lmdb.Error as error:
            raise BaseUnusable(self.base.id, "is damaged; load it again") from error
        return None if stored is None else self._unpacked(key, stored)

    @property
    def disk_bytes(self) -> int:
        """What it takes on disk."""
        return (self.directory / generations.DATA).stat().st_size

    def __len__(self) -> int:
        with self._environment.begin() as transaction:
            about_itself = sum(transaction.get(key) is not None for key in (ABOUT, INDEXED))
            return int(transaction.stat(self._environment.open_db(txn=transaction))["entries"]) - about_itself

    def __iter__(self) -> Iterator[tuple[bytes, Record]]:
        """Yield every record, in order of its key, as of one moment. Raises BaseUnusable."""
        for key, stored in self._stored():
            yield key, self._unpacked(key, stored)

    def damaged(self) -> Iterator[bool]:
        """Read every record and tell of each whether it is damaged, or stands under a key that is not its own."""
        for key, stored in self._stored():
            try:
                record = dict(zip(self._names, rows.unpack(key, stored), strict=True))
            except (Damaged, msgspec.MsgspecError, ValueError):
                yield True
            else:
                again = rows.read_row(self.about.base, record)
                yield not isinstance(again, Row) or again.key != key

    def batches(self, size: int) -> Iterator[tuple[list[bytes], Columns]]:
        """Yield keys and columns of so many records at a time, in order of the keys, as of one moment. Raises BaseUnusable."""
        each = self._stored()
        while batch := list(itertools.islice(each, size)):
            try:
                values = zip(*(rows.unpack(key, stored) for key, stored in batch), strict=True)
                columns = dict(zip(self._names, values, strict=True))
            except (Damaged, msgspec.MsgspecError, ValueError):
                raise BaseUnusable(self.base.id, "a record is damaged; run `broker records check`") from None
            yield [key for key, _ in batch], columns

    @contextlib.contextmanager
    def changing(self, follower: Follower | None = None) -> Iterator[Change]:
        """Change records within the context: all of it, durably, at its end, or with an exception nothing of it."""
        try:
            with self._environment.begin(write=True) as transaction:
                yield Change(transaction, self._names, follower)
                _note_index(transaction, follower.prepare() if follower else None)
        except BaseException:
            if follower:
                follower.abandon()
            raise
        if follower:
            follower.publish()

    def put_in_force(self, index: Indexed) -> None:
        """Note, durably, which query index is of the records as they are."""
        with self._environment.begin(write=True) as transaction:
            _note_index(transaction, index)
        self._environment.sync(True)

    def indexed(self) -> Indexed | None:
        """Return which query index is of the records as they are now; None if none is."""
        with self._environment.begin() as transaction:
            stored, now = transaction.get(INDEXED), transaction.id()
        try:
            found = msgspec.json.decode(stored, type=Indexed) if stored else None
        except msgspec.MsgspecError:
            return None
        return found if found and found.transaction == now else None

    @property
    def directory(self) -> Path:
        """Where the generation is."""
        return Path(self._environment.path())

    def free_dead_readers(self) -> None:
        """Let pages be used again that are kept for readers which were killed."""
        self._environment.reader_check()

    def close(self) -> None:
        """Close it; nothing of it may be used any more."""
        self._environment.close()

    def _stored(self) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._environment.begin(buffers=False) as transaction:
                yield from ((key, stored) for key, stored in transaction.cursor() if key[:1] != b"\0")
        except lmdb.Error as error:
            raise BaseUnusable(self.base.id, "is damaged; load it again") from error

    def _unpacked(self, key: bytes, stored: bytes) -> Record:
        try:
            return dict(zip(self._names, rows.unpack(key, stored), strict=True))
        except (Damaged, msgspec.MsgspecError, ValueError):
            raise BaseUnusable(self.base.id, "a record is damaged; run `broker records check`") from None

    def _read_about(self) -> About:
        try:
            with self._environment.begin() as transaction:
                stored = transaction.get(ABOUT)
            about = msgspec.json.decode(stored or b"", type=About)
        except (lmdb.Error, msgspec.MsgspecError):
            raise BaseUnusable(self.base.id, "does not say what it holds; load it again") from None
        problem = drift(about, self.base)
        if problem:
            raise BaseUnusable(self.base.id, f"{problem}; load it again")
        return about


def _note_index(transaction: lmdb.Transaction, index: Indexed | None) -> None:
    if index:
        noted = msgspec.structs.replace(index, transaction=transaction.id())
        transaction.put(INDEXED, msgspec.json.encode(noted))
    else:
        transaction.delete(INDEXED)


def drift(about: About, base: BaseDeclaration) -> str:
    """Say why what was loaded under one declaration cannot be read under another; "" if it can.

    A field that is new reads as not held, one that has gone is not read. A field cannot change what it means, nor the key.
    """
    if about.format != FORMAT:
        return f"is of format {about.format}, not {FORMAT}"
    if about.base.key != base.key:
        return "was loaded under another key"
    for name, field in base.fields.items():
        held = about.base.fields.get(name)
        if held is None and field.required:
            return f"was loaded without the field `{name}`, which is required"
        if held is not None and field.required and not held.required:
            return f"was loaded when the field `{name}` was not required"
        if held is not None and held.type is not field.type:
            return f"was loaded when the field `{name}` was of type {held.type}"
    return ""


def directory_of(config: Config, base: str) -> Path:
    """Return where a base is kept."""
    return config.path("{data_dir}/records") / base


def map_bytes(config: Config) -> int:
    """Return the most that a base may take."""
    return config.records.map_size_gib << 30


def open_store(config: Config, base: BaseDeclaration, *, readonly: bool) -> Store:
    """Open the current generation of a base.

    Raises:
        BaseUnusable: nothing was loaded, it is damaged, or was loaded under a declaration that no longer fits.
    """
    directory = directory_of(config, base.id)
    generation = generations.current(directory)
    try:
        environment = generations.open_generation(directory / generation, map_bytes(config), readonly=readonly)
    except BaseUnusable:
        if generations.current(directory) == generation:
            raise
        return open_store(config, base, readonly=readonly)  # it was loaded anew in between
    try:
        return Store(environment, base)
    except BaseException:
        environment.close()
        raise


class Bases:
    """The bases that this process reads, each opened when it is first asked for and again when it was loaded anew."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._names: dict[str, str] = {}  # of the files that name current generations: one is looked at for each record
        self._open: dict[str, tuple[Store, tuple[int, int]]] = {}

    def find(self, base: BaseDeclaration, key_parts: Mapping[str, str]) -> Record | None:
        """Return the record under canonical values of the key, or None.

        Raises:
            BaseUnusable: there is nothing to read.
        """
        try:
            return self.look_up(base, key_parts)
        except BaseUnusable as error:
            log.warning("record base cannot be read", base=base.id, why=error.why)
            raise

    def look_up(self, base: BaseDeclaration, key_parts: Mapping[str, str]) -> Record | None:
        """Return what `find` does, for who has nothing to tell an operator. Raises BaseUnusable as it does."""
        key = rows.key_of([key_parts[name] for name in base.key])
        return self.record(base, key) if len(key) <= rows.MAX_KEY_BYTES else None

    def record(self, base: BaseDeclaration, key: bytes) -> Record | None:
        """Return the record that is stored under a key, or None, also after another process has made the base larger.

        Raises:
            BaseUnusable: there is nothing to read.
        """
        try:
            return self.store(base).find(key)
        except lmdb.MapResizedError:
            self._open.pop(base.id)[0].close()
            return self.store(base).find(key)

    def readable(self, base: BaseDeclaration) -> bool:
        """Tell whether there is something to read."""
        try:
            self.store(base)
        except BaseUnusable:
            return False
        return True

    def close(self) -> None:
        """Close all."""
        for store, _ in self._open.values():
            store.close()
        self._open.clear()

    def close_replaced(self) -> None:
        """Close what was loaded anew since: until then it keeps its place on the disk, even if nobody asks for it any more."""
        for base, (store, named) in tuple(self._open.items()):
            if self._stamp(base) != named:
                self._open.pop(base)
                store.close()

    def store(self, base: BaseDeclaration) -> Store:
        """Return the current generation of a base, open. Raises BaseUnusable as `open_store`."""
        named = self._stamp(base.id)
        held = self._open.get(base.id)
        if held and held[1] == named and held[0].base == base:
            return held[0]
        if held:
            self._open.pop(base.id)[0].close()
        store = open_store(self._config, base, readonly=True)
        with contextlib.suppress(lmdb.Error):
            store.free_dead_readers()  # or processes that are killed again and again use the places of all readers up
        self._open[base.id] = store, named
        return store

    def _stamp(self, base: str) -> tuple[int, int]:
        """Return what changes when the current generation does: another file takes the name."""
        name = self._names.get(base)
        if name is None:
            name = self._names[base] = str(directory_of(self._config, base) / generations.CURRENT)
        try:
            found = os.stat(name)  # noqa: PTH116 - for each record: a Path takes ten times as long
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns


def names_of(base: BaseDeclaration) -> dict[str, str]:
    """Return the names that columns may have: those of fields, and their titles."""
    return {field.title: name for name, field in base.fields.items() if field.title} | {name: name for name in base.fields}
