"""The query index of a record base, open: for readers, who follow changes and rebuilds, and for who changes the base.

The record base is the truth. It notes, with every change, which build of the index is of its records and how many entries of
the delta belong to them (`store.Indexed`); an index that it does not name, or that lacks entries it names, is refused and built
anew from the records. Headers are verified when an index is opened; the contents in a thread, a piece at a time, while it is
used already: what a damaged one proposes is read from the base, which has checksums of its own, and once damage is found the
index is refused. Verifying all of it first would take seconds at 30 million records; verifying each piece before its first
use, a look-up and a branch for every cache line of a probe.
What must not go in here: building (index_build.py), and what is asked of an index.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import structlog

from broker._native.query_index import Full, Index, Unusable
from broker.errors import BaseBusy, BaseUnusable
from broker.model.catalogue import BaseDeclaration
from broker.records import generations, index_files
from broker.records.index_build import boot_bytes
from broker.records.packing import PACKINGS, Packer
from broker.records.rows import Record, Row
from broker.records.store import Bases, Indexed, Store

_CHUNKS_A_PIECE = 64  # MiB that are verified between two looks at whether to stop
_ROWS_A_BATCH = 10_000  # packed together
_LOOK_S = 1.0
_AGAIN = "run `broker records index`"

log = structlog.get_logger("records")


class _Files:
    """An index and its delta, mapped."""

    def __init__(self, store: Store, packer: Packer, noted: Indexed, *, writable: bool) -> None:
        try:
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(index_files.mapped(index_files.index_file(store.directory, noted.build)))
                delta_file = index_files.delta_file(store.directory, noted.build)
                delta = stack.enter_context(index_files.mapped(delta_file, writable=writable))
                self.index = Index(file, delta, writable=writable)
                stack.callback(self.index.close)
                facts = self.index.facts()
                if (facts["layout"], facts["build"]) != (packer.layout, noted.build):
                    raise Unusable("is of records that were packed otherwise")
                self._close = stack.pop_all().close
        except Unusable:
            raise
        except (OSError, ValueError) as error:
            raise Unusable("cannot be read, or is gone") from error

    def close(self) -> None:
        """Unmap both."""
        self._close()


class OpenIndex:
    """The index of one state of a base, open for reading. Changes are seen as they are published, while it `is_current`."""

    def __init__(self, store: Store, packer: Packer) -> None:
        """Open what the base names.

        Raises:
            BaseUnusable: it names none, or that is missing, damaged, cut off, of another layout, or lacks changes of the base.
        """
        noted = _noted(store)
        self.build = noted.build
        self.damaged_chunks = 0
        self._look_again_at = time.monotonic() + _LOOK_S
        self._stop = threading.Event()
        self._verifier: threading.Thread | None = None
        try:
            _mend_after_boot(store, packer, noted)
            self._files = _Files(store, packer, noted, writable=False)
        except Unusable as error:
            raise BaseUnusable(store.base.id, f"its query index {error}; {_AGAIN}") from error
        self.native = self._files.index
        try:
            self.native.see(noted.entries)
        except Unusable as error:
            self._files.close()
            raise BaseUnusable(store.base.id, f"its query index {error}; {_AGAIN}") from error

    def is_current(self, store: Store) -> bool:
        """Whether this is still the index of the base.

        Looks into the base when a writer says so, and else once a second: a writer that was killed between its commit and the
        publishing of what the commit knows of cannot say so.
        """
        if self.damaged_chunks:
            return False
        if not self.native.is_retired and time.monotonic() < self._look_again_at:
            return True
        self._look_again_at = time.monotonic() + _LOOK_S
        noted = store.indexed()
        if noted is None or noted.build != self.build:
            return False
        try:
            self.native.see(noted.entries)
        except Unusable:
            return False
        return True

    def verify(self) -> int:
        """Verify everything, or up to a `close`; returns how many chunks were found damaged so far."""
        chunks = self.native.facts()["chunks"]
        for begin in range(0, chunks, _CHUNKS_A_PIECE):
            if self._stop.is_set():
                break
            self.damaged_chunks += self.native.damaged(begin, begin + _CHUNKS_A_PIECE)
        return self.damaged_chunks

    def verify_beside(self, base: str) -> None:
        """Verify in a thread of its own, which also brings the file into memory."""

        def verify() -> None:
            if self.verify():
                log.error("query index is damaged", base=base, chunks=self.damaged_chunks)

        self._verifier = threading.Thread(target=verify, name="verify-index", daemon=True)
        self._verifier.start()

    def close(self) -> None:
        """Close it; nothing of it may be used any more."""
        self._stop.set()
        if self._verifier:
            self._verifier.join()
        self._files.close()


def _noted(store: Store) -> Indexed:
    noted = store.indexed()
    if noted is None:
        raise BaseUnusable(store.base.id, f"no query index is of its records; {_AGAIN}")
    return noted


def _mend_after_boot(store: Store, packer: Packer, noted: Indexed) -> None:
    """Make the links of a delta again if the machine went down since: what of them reached the disk, and when, is not known."""
    files = _Files(store, packer, noted, writable=False)
    try:
        is_of_this_boot = files.index.boot() == boot_bytes()
    finally:
        files.close()
    if not is_of_this_boot:
        try:
            with generations.writing(store.directory.parent):
                IndexChanges(store, packer).close()
        except BaseBusy:
            raise Unusable("is being mended by another process; try again") from None


class IndexChanges:
    """Changes of an index that go with those of its base, for who is `writing`: appended, then published or abandoned."""

    def __init__(self, store: Store, packer: Packer) -> None:
        """Open it and bring it into the state that the base knows of.

        Raises:
            Unusable: there is none, or it is not of the state of the base.
        """
        noted = store.indexed()
        if noted is None:
            raise Unusable("is not there")
        self.is_full = False
        self._noted = noted
        self._packer = packer
        self._delta = index_files.delta_file(store.directory, noted.build)
        self._keys: list[bytes] = []
        self._records: list[Record] = []
        self._files = _Files(store, packer, noted, writable=True)
        self._index = self._files.index
        try:
            self._learned = packer.packing.recall(self._index.learned())
            if self._index.boot() != boot_bytes():
                self._index.relink(noted.entries, boot_bytes())
            self._index.mend(noted.entries)
            self._index.retire(False)
        except ValueError as error:
            self._files.close()
            raise error if isinstance(error, Unusable) else Unusable("has learnt what cannot be read") from error

    def put(self, row: Row) -> None:
        """A record takes its place."""
        self._keys.append(row.key)
        self._records.append(row.record)
        if len(self._keys) == _ROWS_A_BATCH:
            self._append()

    def remove(self, key: bytes) -> None:
        """A record is gone, if it was there."""
        self._append()
        self._try(lambda: self._index.remove([key]))

    def prepare(self) -> Indexed | None:
        """Make all that was appended durable, seen by nobody yet; None if there was no room for it."""
        self._append()
        if self.is_full:
            return None
        index_files.sync(self._delta)
        return Indexed(build=self._noted.build, entries=self._index.appended())

    def publish(self) -> None:
        """Let it be seen; or, if there was no room for it, tell readers that another index will take the place of this one."""
        if self.is_full:
            self._index.retire(True)
        else:
            self._index.publish()

    def abandon(self) -> None:
        """Undo what was appended."""
        self._index.mend(self._noted.entries)

    def close(self) -> None:
        """Close it."""
        self._files.close()

    def _append(self) -> None:
        keys, records = self._keys, self._records
        if not keys:
            return
        self._keys, self._records = [], []
        self._try(lambda: self._put(records, keys))

    def _put(self, records: list[Record], keys: list[bytes]) -> None:
        columns = {name: [record[name] for record in records] for name in self._packer.fields.values()}
        packed = self._packer.pack(columns, len(records))
        self._index.put(self._learned.noted(packed), self._learned.keys(packed), keys)

    def _try(self, change: Callable[[], object]) -> None:
        """Append, if there is room; once there is none, nothing more is appended."""
        if self.is_full:
            return
        try:
            change()
        except Full:
            self.is_full = True


class Indexes:
    """The indexes that this process reads, each opened when it is first asked for and again when another takes its place."""

    def __init__(self, bases: Bases) -> None:
        self._bases = bases
        self._open: dict[str, tuple[Store, OpenIndex]] = {}

    def of(self, base: BaseDeclaration) -> OpenIndex:
        """Return the index of a base as it is now.

        Raises:
            BaseUnusable: there is nothing to read, or no index that is of it.
        """
        store = self._bases.store(base)
        held = self._open.get(base.id)
        if held and held[0] is store and held[1].is_current(store):
            return held[1]
        self._forget(base.id)
        packer = PACKINGS.packer(base.search)
        if packer is None:
            raise BaseUnusable(base.id, "is not declared to be searched")
        opened = OpenIndex(store, packer)
        opened.verify_beside(base.id)
        self._open[base.id] = store, opened
        return opened

    def close(self) -> None:
        """Close all."""
        for base in tuple(self._open):
            self._forget(base)

    def _forget(self, base: str) -> None:
        if base in self._open:
            self._open.pop(base)[1].close()
