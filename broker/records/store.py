"""Reads and changes the records of a base. Reading follows the base's generations; what is written is seen at once.

What must not go in here: how a generation is filled and takes its place (load.py), and what a record says (rows.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import lmdb
import msgspec
import structlog

from broker.config import Config
from broker.errors import BaseUnusable
from broker.model.catalogue import BaseDeclaration
from broker.records import generations, rows
from broker.records.rows import Damaged, Record, Row

FORMAT = 1
ABOUT = b"\0about"  # no key of a record begins with NUL

log = structlog.get_logger("records")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a generation says of itself."""

    format: int
    base: BaseDeclaration  # as it was declared when this was loaded
    loaded_at_ms: int


class Change:
    """Changes of a base that are made together."""

    def __init__(self, transaction: lmdb.Transaction, names: Sequence[str]) -> None:
        self._transaction = transaction
        self._names = names

    def put(self, row: Row) -> bool:
        """Write a record; tells whether its key is new."""
        packed = rows.pack(row, self._names)
        added = self._transaction.put(row.key, packed, overwrite=False)
        return bool(added) or not self._transaction.put(row.key, packed)

    def remove(self, key: bytes) -> bool:
        """Delete a record; tells whether there was one."""
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
        return Path(self._environment.path(), generations.DATA).stat().st_size

    def __len__(self) -> int:
        return int(self._environment.stat()["entries"]) - 1  # less what it says of itself

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

    @contextlib.contextmanager
    def changing(self) -> Iterator[Change]:
        """Change records within the context: all of it, durably, at its end, or with an exception nothing of it."""
        with self._environment.begin(write=True) as transaction:
            yield Change(transaction, self._names)

    def free_dead_readers(self) -> None:
        """Let pages be used again that are kept for readers which were killed."""
        self._environment.reader_check()

    def close(self) -> None:
        """Close it; nothing of it may be used any more."""
        self._environment.close()

    def _stored(self) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._environment.begin(buffers=False) as transaction:
                yield from ((key, stored) for key, stored in transaction.cursor() if key != ABOUT)
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
        self._open: dict[str, tuple[Store, tuple[int, int]]] = {}

    def find(self, base: BaseDeclaration, key_parts: Mapping[str, str]) -> Record | None:
        """Return the record under canonical values of the key, or None.

        Raises:
            BaseUnusable: there is nothing to read.
        """
        key = rows.key_of([key_parts[name] for name in base.key])
        if len(key) > rows.MAX_KEY_BYTES:
            return None
        try:
            return self._find(base, key)
        except BaseUnusable as error:
            log.warning("record base cannot be read", base=base.id, why=error.why)
            raise

    def _find(self, base: BaseDeclaration, key: bytes) -> Record | None:
        try:
            return self._store(base).find(key)
        except lmdb.MapResizedError:
            self._open.pop(base.id)[0].close()
            return self._store(base).find(key)

    def readable(self, base: BaseDeclaration) -> bool:
        """Tell whether there is something to read."""
        try:
            self._store(base)
        except BaseUnusable:
            return False
        return True

    def close(self) -> None:
        """Close all."""
        for store, _ in self._open.values():
            store.close()
        self._open.clear()

    def _store(self, base: BaseDeclaration) -> Store:
        named = self._stamp(base.id)
        held = self._open.get(base.id)
        if held and held[1] == named and held[0].base == base:
            return held[0]
        if held:
            self._open.pop(base.id)[0].close()
        store = open_store(self._config, base, readonly=True)
        self._open[base.id] = store, named
        return store

    def _stamp(self, base: str) -> tuple[int, int]:
        """Return what changes when the current generation does: another file takes the name."""
        try:
            found = (directory_of(self._config, base) / generations.CURRENT).stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns


def names_of(base: BaseDeclaration) -> dict[str, str]:
    """Return the names that columns may have: those of fields, and their titles."""
    return {field.title: name for name, field in base.fields.items() if field.title} | {name: name for name in base.fields}
