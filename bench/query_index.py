"""The query index of a population: how fast it is built, opened, probed and changed, and how much it takes.

QUERY_INDEX_PEOPLE says of how many people (a million without; `make bench-large` asks for thirty). They are made, packed and
given keys before the clocks start: what is measured is the index. Probes are by the blocking keys of people drawn at random,
so that each finds its directory, slots and records in memory and not in cache; a quarter of them lack one half of their keys.
The writer of "probes beside a writer" is a process of its own, and so needs a second core to be one.
What must not go in here: whether candidates are the right ones (tests/test_query_index.py), but for a look at each round.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from broker._native import query_build, query_index
from broker.demo.synthetic import Register, Settings, blocks
from broker.model.catalogue import PersonSearch
from broker.records import index_files
from broker.records.person_packing import KINDS, PersonKeys, PersonPacking

PEOPLE = int(os.environ.get("QUERY_INDEX_PEOPLE", "1_000_000"))
PROBES = 20_000
CANDIDATES = 256
CHANGES = min(PEOPLE // 16, 200_000)  # in one round; a delta has room for a sixteenth
ROWS = 200_000
BOOT = bytes(16)
SEARCH = PersonSearch(**{kind: kind for kind in KINDS})


class World:
    """A population that is packed and has keys, in files that are mapped; and its index."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.packing = PersonPacking(SEARCH)
        self.records, self.names = self._people()
        self.learned: PersonKeys = self.packing.learn(self.records)
        self.size = 0

    def _people(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bytes_]]:
        stride = self.packing.record_bytes
        memory = index_files.make_empty(self.directory / "records", PEOPLE * stride)
        records = np.frombuffer(memory, np.uint8).reshape(PEOPLE, stride)
        names = np.empty(PEOPLE, "S18")
        slot = 0
        for block in blocks(Settings(people=PEOPLE, seed=7), (Register.POPULATION,)):
            people = block[Register.POPULATION]
            columns = {kind: people[kind].cast(pa.string()) for kind in KINDS}
            end = slot + people.num_rows
            records[slot:end] = self.packing.pack({kind: _one(column) for kind, column in columns.items()})
            names[slot:end] = np.array(columns["resident_id"].to_pylist(), "S18")
            slot = end
        if slot != PEOPLE:
            raise Wrong(f"{slot} of {PEOPLE} people")
        names.sort()  # slots are in order of the keys; which record is whose does not matter here
        return records, names

    def keys(self, begin: int, end: int) -> npt.NDArray[np.uint64]:
        """The keys of some of them."""
        return self.learned.keys(np.ascontiguousarray(self.records[begin:end]))

    # --- building ---------------------------------------------------------------------------------------------------

    def build(self) -> float:
        """Write the index; returns the seconds that took without making keys."""
        stride, most = self.packing.record_bytes, PEOPLE * self.learned.keys_per_record
        at = query_build.places(PEOPLE, stride)
        path = self.directory / "index"
        path.unlink(missing_ok=True)
        spent = 0.0
        with index_files.making(path) as file:
            scratch = index_files.Scratch(self.directory, query_build.scratch_bytes(most))
            postings = query_build.Postings(scratch.memory, most, self.learned.keys_per_record)
            for slot in range(0, PEOPLE, ROWS):
                keys = self.keys(slot, slot + ROWS)
                start = time.perf_counter()
                scratch.reserve(postings.scratch_used(keys.size))
                postings.add(keys)
                words, _ = query_build.key_words(self.names[slot : slot + ROWS].tolist(), 0)
                os.pwrite(file.fileno(), self.records[slot : slot + ROWS], at["records"] + slot * stride)
                os.pwrite(file.fileno(), words, at["words"] + slot * 8)
                spent += time.perf_counter() - start
            start = time.perf_counter()
            self._seal(file.fileno(), postings)
            spent += time.perf_counter() - start
            postings.close()
            scratch.close()
        self.size = path.stat().st_size
        return spent

    def _seal(self, descriptor: int, postings: query_build.Postings) -> None:
        shape = {"keys_per_record": self.learned.keys_per_record, "pairs": postings.pairs}
        stride, saved = self.packing.record_bytes, self.learned.save()
        size = query_build.places(PEOPLE, stride, learned_bytes=len(saved), **shape)["file"]
        os.posix_fallocate(descriptor, 0, size)
        with mmap.mmap(descriptor, size) as memory:
            size = postings.seal(
                memory,
                stride=stride,
                heap_bytes=0,
                cap=self.learned.cap,
                layout=bytes(32),
                learned=saved,
                build=1,
                built_at_ms=0,
            )
        os.ftruncate(descriptor, size)

    # --- using ------------------------------------------------------------------------------------------------------

    def opened(self, *, delta: Any = None, writable: bool = False) -> query_index.Index:
        """The index, mapped anew."""
        return query_index.Index(index_files.mapped(self.directory / "index"), delta, writable=writable)

    def delta(self, capacity: int) -> mmap.mmap:
        """A new, empty delta, in a file."""
        path = self.directory / "delta"
        path.unlink(missing_ok=True)
        size = query_index.delta_bytes(PEOPLE, self.packing.record_bytes, self.learned.keys_per_record, capacity)
        memory = index_files.make_empty(path, size)
        query_index.make_delta(memory, self.opened(), capacity, BOOT)
        return memory

    def queries(self, seed: int) -> tuple[npt.NDArray[np.int64], list[npt.NDArray[np.uint64]]]:
        """Slots drawn at random, and the keys to probe with for each."""
        draw = np.random.default_rng(seed)
        slots = draw.integers(0, PEOPLE, PROBES)
        keys = self.learned.keys(np.ascontiguousarray(self.records[slots]))
        keys[::4, : keys.shape[1] // 2] = 0
        return slots, list(keys)


def _one(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _probe_all(index: query_index.Index, keys: list[npt.NDArray[np.uint64]]) -> tuple[npt.NDArray[np.int64], int]:
    """Nanoseconds of each probe, as Python takes them, and how many candidates there were."""
    times, candidates = np.empty(len(keys), np.int64), 0
    clock, probe = time.perf_counter_ns, index.probe
    for row in keys:  # pages come into the map of this process but once
        probe(row, CANDIDATES)
    for i, row in enumerate(keys):
        start = clock()
        found = probe(row, CANDIDATES)
        times[i] = clock() - start
        candidates += len(found[0])
    return times, candidates


def _told(times: npt.NDArray[np.int64], candidates: int) -> Reading:
    p50, p99 = (float(value) / 1e3 for value in np.percentile(times, (50, 99)))
    return Reading(float(times.mean()) / 1e3, {"p50 us": p50, "p99 us": p99, "candidates": candidates / len(times)})


# --- rounds -----------------------------------------------------------------------------------------------------------


def _build_round(world: World) -> Reading:
    spent = world.build()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Reading(spent, {"bytes a person": world.size / PEOPLE, "us a person": spent / PEOPLE * 1e6, "peak MiB": peak})


def _open_round(world: World) -> Reading:
    slots, keys = world.queries(1)
    start = time.perf_counter()
    index = world.opened()
    found, _ = index.probe(keys[1], CANDIDATES)
    spent = time.perf_counter() - start
    if slots[1] not in found:
        raise Wrong("the first answer lacks the person asked for")
    return Reading(spent)


def _verify_round(world: World) -> Reading:
    index = world.opened()
    start = time.perf_counter()
    if index.damaged(0, index.facts()["chunks"]):
        raise Wrong("chunks are damaged")
    return Reading(time.perf_counter() - start)


def _put(world: World, index: query_index.Index, begin: int, count: int, batch: int) -> float:
    """Put records in that are there already, `batch` at a time, and publish each; returns the seconds that took."""
    order = np.random.default_rng(begin).integers(0, PEOPLE, count)
    keys, records = world.learned.keys(np.ascontiguousarray(world.records[order])), world.records[order]
    names = world.names[order].tolist()
    start = time.perf_counter()
    for at in range(0, count, batch):
        index.put(records[at : at + batch], np.ascontiguousarray(keys[at : at + batch]), names[at : at + batch])
        index.publish()
    return time.perf_counter() - start


def _put_round(world: World) -> Reading:
    index = world.opened(delta=world.delta(CHANGES), writable=True)
    spent = _put(world, index, 1, CHANGES, 1000)
    if index.changes()[0] != CHANGES:
        raise Wrong("not all changes are visible")
    return Reading(CHANGES / spent)


def _probe_round(world: World, changes: int) -> Reading:
    _, keys = world.queries(2)
    if not changes:
        return _told(*_probe_all(world.opened(), keys))
    delta = world.delta(max(changes, 1))
    _put(world, world.opened(delta=delta, writable=True), 2, changes, 1000)
    return _told(*_probe_all(world.opened(delta=delta), keys))


def _beside_round(world: World) -> Reading:
    """Probe while a child puts records in as fast as it can."""
    _, keys = world.queries(3)
    delta = world.delta(10 * CHANGES)
    reader = world.opened(delta=delta)
    child = multiprocessing.get_context("fork").Process(target=_write_on, args=(world, delta))
    child.start()
    try:
        while not reader.changes()[0]:
            time.sleep(0.001)
        before, start = reader.changes()[0], time.perf_counter()
        told = _told(*_probe_all(reader, keys))
        rate = (reader.changes()[0] - before) / (time.perf_counter() - start)
    finally:
        child.kill()
        child.join()
    if not rate:
        raise Wrong("the writer has ended before the reader")
    return Reading(told.value, {**told.beside, "upserts/s": rate})


def _write_on(world: World, delta: mmap.mmap) -> None:
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    writer = world.opened(delta=delta, writable=True)
    for turn in range(10):
        _put(world, writer, turn, CHANGES, 100)


# --- cases ------------------------------------------------------------------------------------------------------------


def _case(name: str, what: str, once: Callable[[], Reading], **sizes: int) -> Case:
    return Case(name, (Contender(what, once),), {"people": PEOPLE, **sizes})


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("QUERY_INDEX_DIRECTORY")) as directory:
        world = World(Path(directory))
        world.build()
        yield [
            _case("build, s", "from keys", lambda: _build_round(world)),
            _case("open to the first answer, s", "mapped", lambda: _open_round(world)),
            _case("verify all of it, s", "CRC-32C", lambda: _verify_round(world)),
            _case("a probe, us", "no changes", lambda: _probe_round(world, 0), probes=PROBES),
            _case("a probe after changes, us", "with a delta", lambda: _probe_round(world, CHANGES), changes=CHANGES),
            _case("a probe beside a writer, us", "with a delta", lambda: _beside_round(world), probes=PROBES),
            _case("us an upsert", "published by the thousand", lambda: _each(_put_round(world)), changes=CHANGES),
        ]


def _each(rate: Reading) -> Reading:
    return Reading(1e6 / rate.value, {"upserts/s": rate.value})


BENCHMARK = Benchmark(title="the query index of a population", unit="see case", higher_is_better=False, open=_open)
