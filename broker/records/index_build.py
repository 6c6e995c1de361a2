"""Builds the query index of a generation out of its records, and puts it in force by one transaction of the generation's data.

A build that is killed leaves files that nothing names. What must not go in here: reading and changing an index (index.py).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from broker._native import query_build, query_index
from broker.boot import read_boot_id
from broker.errors import BaseUnusable
from broker.records import index_files
from broker.records.packing import Learned, Packer
from broker.records.store import Indexed, Store

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12

_ROWS_A_BATCH = 50_000
_LEAST_CHANGES = 4096
_ROWS_A_CHANGE = 16  # a delta has room for changes of so large a part of the base

Progress = Callable[[int], object]  # told how many records are done, time and again


class Built(NamedTuple):
    """What became of an index."""

    records: int
    bytes: int
    dropped_keys: int  # that too many records share


def boot_bytes() -> bytes:
    """Return the current boot as a delta notes it; zeros where it is not known."""
    return bytes.fromhex(read_boot_id().replace("-", "") or "00" * 16)[:16].ljust(16, b"\0")


def build(store: Store, packer: Packer, progress: Progress = lambda _: None) -> Built:
    """Build an index of all records and put it in force. For who is `writing`.

    Raises:
        BaseUnusable: a record is damaged.
        OSError: there is no more room, or it cannot be written.
    """
    made = secrets.randbits(63) | 1
    path = index_files.index_file(store.directory, made)
    before = store.indexed()
    index_files.remove_others(store.directory, before.build if before else 0)
    with index_files.making(path) as file:
        _write(store, packer, file, made, progress)
    try:
        built = _with_delta(store.directory, made)
        if before:
            retire(store.directory, before.build)  # first: whoever reads it shall look, even if we are killed in between
        store.put_in_force(Indexed(build=made, entries=0))
    except BaseException:
        index_files.remove_others(store.directory, before.build if before else 0)
        raise
    index_files.remove_others(store.directory, made)
    return built


def capacity_of(rows: int) -> int:
    """Return how many changes a delta has room for before the index is to be built anew."""
    return max(_LEAST_CHANGES, rows // _ROWS_A_CHANGE)


def retire(directory: Path, build: int) -> None:
    """Tell readers of an index to look for another one."""
    with (
        contextlib.suppress(OSError, ValueError),  # what cannot be opened is read by nobody
        index_files.mapped(index_files.index_file(directory, build)) as file,
        index_files.mapped(index_files.delta_file(directory, build), writable=True) as delta,
        contextlib.closing(query_index.Index(file, delta, writable=True)) as index,
    ):
        index.retire(True)


def _with_delta(directory: Path, made: int) -> Built:
    with index_files.mapped(index_files.index_file(directory, made)) as memory:
        index = query_index.Index(memory)
        try:
            facts = index.facts()
            capacity = capacity_of(facts["rows"])
            size = query_index.delta_bytes(facts["rows"], facts["stride"], facts["keys_per_record"], capacity)
            with index_files.make_empty(index_files.delta_file(directory, made), size) as delta:
                query_index.make_delta(delta, index, capacity, boot_bytes())
                delta.flush()
        finally:
            index.close()
    return Built(facts["rows"], facts["bytes"] + size, facts["dropped_buckets"])


def _write(store: Store, packer: Packer, file: IO[bytes], made: int, progress: Progress) -> None:
    """Write the sections of an index file from the front: records, words of their keys, their heap; then all that is sorted."""
    sections = _Sections(file, len(store), packer.packing.record_bytes)
    for keys, columns in store.batches(_ROWS_A_BATCH):
        sections.write(keys, packer.pack(columns, len(keys)))
        progress(len(keys))
    if sections.slot != sections.rows:
        raise BaseUnusable(store.base.id, "is damaged; load it again")
    with sections.mapped_records() as memory, memoryview(memory)[sections.records_at :] as rows:
        learned = packer.packing.learn(rows[: sections.rows * sections.stride])
        with _postings(store.directory, rows, sections, learned) as postings:
            sections.seal(postings, packer.layout, learned, made)


@contextlib.contextmanager
def _postings(directory: Path, records: memoryview, sections: _Sections, learned: Learned) -> Iterator[query_build.Postings]:
    """Collect the keys of all records within scratch that is there as long as the context."""
    most = sections.rows * learned.keys_per_record
    scratch = index_files.Scratch(directory, query_build.scratch_bytes(most))
    postings = query_build.Postings(scratch.memory, most, learned.keys_per_record)
    try:
        for slot in range(0, sections.rows, _ROWS_A_BATCH):
            rows = records[slot * sections.stride : min(slot + _ROWS_A_BATCH, sections.rows) * sections.stride]
            scratch.reserve(postings.scratch_used(_ROWS_A_BATCH * learned.keys_per_record))
            postings.add(learned.keys(rows))
        yield postings
    finally:
        postings.close()
        scratch.close()


class _Sections:
    """The sections of an index file that are written record by record."""

    def __init__(self, file: IO[bytes], rows: int, stride: int) -> None:
        self.rows, self.stride = rows, stride
        self.slot = 0
        self._file = file
        self._at = query_build.places(rows, stride)
        self.records_at = self._at["records"]
        self._heap_bytes = 0

    def write(self, keys: list[bytes], records: Buffer) -> None:
        """Write packed records that follow on those before, and under which keys the base keeps them."""
        words, heap = query_build.key_words(keys, self._heap_bytes)
        _write_all(self._file, records, self._at["records"] + self.slot * self.stride)
        _write_all(self._file, words, self._at["words"] + self.slot * 8)
        _write_all(self._file, heap, self._at["heap"] + self._heap_bytes)
        self._heap_bytes += len(heap)
        self.slot += len(keys)

    def mapped_records(self) -> mmap.mmap:
        """Map the file as far as records go; of no records it has a header's length still."""
        os.ftruncate(self._file.fileno(), max(os.fstat(self._file.fileno()).st_size, self._at["words"]))
        return mmap.mmap(self._file.fileno(), self._at["words"])

    def seal(self, postings: query_build.Postings, layout: bytes, learned: Learned, made: int) -> None:
        """Write postings, what was learnt, checksums and header."""
        saved = learned.save()
        size = query_build.places(
            self.rows,
            self.stride,
            keys_per_record=learned.keys_per_record,
            pairs=postings.pairs,
            heap_bytes=self._heap_bytes,
            learned_bytes=len(saved),
        )["file"]
        os.posix_fallocate(self._file.fileno(), 0, size)
        with mmap.mmap(self._file.fileno(), size) as memory:
            written = postings.seal(
                memory,
                stride=self.stride,
                heap_bytes=self._heap_bytes,
                cap=learned.cap,
                layout=layout,
                learned=saved,
                build=made,
                built_at_ms=time.time_ns() // 1_000_000,
            )
            memory.flush()
        os.ftruncate(self._file.fileno(), written)


def _write_all(file: IO[bytes], data: Buffer, at: int) -> None:
    left = memoryview(data).cast("B")
    while left:
        written = os.pwrite(file.fileno(), left, at)
        left, at = left[written:], at + written
