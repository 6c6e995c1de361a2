"""How many audit records become durable a second, and how long who is answered after them waits, on one core.

Either so many callers wait at a time: each has a record of a hot call written, waits until it is durable, and has the next one
written; or so many records come a second. The waits stand beside what a bare pwrite and fdatasync of a batch of that size
takes on the same disk, measured in the same round. The last contender writes and syncs each record by itself. What must not go
in here: whether records are right (tests/test_journal*).
"""

from __future__ import annotations

import functools
import os
import select
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from broker._native import journal, merkle

CALLERS = (16, 256, 4096)
PACES = (2_000, 20_000, 100_000)  # records a second
ROUND_S = 0.7
MOST_SYNCS = 400
SAMPLED = 16  # every so-manieth record's wait is measured

Load = Callable[[journal.Writer], tuple[int, float, list[float]]]

RECORD = journal.encode(
    kind=2,
    consumer="district-hospital-7",
    operator="op-20417",
    device="terminal-3",
    interface="resident.basic",
    version=2,
    purpose="medical-insurance-settlement",
    matter="M-0417",
    case_id="2026-000417",
    request_id="5f1c7e52-93a1-4e7e-9b60-2f0f6a3c9e11",
    grant="g-00417",
    grant_version=1812,
    snapshot_version=1812,
    fields=["name", "birth_date", "address", "status"],
    outcome="FOUND",
    source="CACHE",
    took_us=41,
    request_digest=bytes(32),
    answer_digest=bytes(32),
    subject=bytes(32),
    method="broker.v1.ExchangeService/Call",
)


def _percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


@contextmanager
def _writer(directory: Path, algorithm: int, linger_us: int) -> Iterator[journal.Writer]:
    folder = Path(tempfile.mkdtemp(dir=directory))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    begin: dict[str, Any] = {"why": 1, "numbers": (1, 0, 0), "chain": bytes(32), "tree": (0, b""), "linger_us": linger_us}
    writer = journal.Writer(descriptor, "bench", algorithm=algorithm, boot=bytes(16), key=bytes(16), **begin)
    try:
        yield writer
    finally:
        writer.close()
        os.close(descriptor)
        shutil.rmtree(folder)


def _keep_waiting(writer: journal.Writer, callers: int) -> tuple[int, float, list[float]]:
    """Have so many records wait at any time; returns how many became durable, seconds, and waits in µs."""
    waits: list[float] = []
    asked: deque[tuple[int, float]] = deque()
    event, appended, start = writer.event, 0, time.perf_counter()
    os.set_blocking(event, True)
    while True:
        durable, now = writer.durable, time.perf_counter()
        while asked and asked[0][0] < durable:
            waits.append((now - asked.popleft()[1]) * 1e6)
        if now - start > ROUND_S:
            return durable, now - start, waits
        while appended < durable + callers:
            if appended % SAMPLED == 0:
                asked.append((appended, time.perf_counter()))
            writer.append(RECORD)
            appended += 1
        os.eventfd_read(event)


def _keep_pace(writer: journal.Writer, pace: int) -> tuple[int, float, list[float]]:
    """Have so many records written a second, whether those before are durable or not; returns as `_keep_waiting`."""
    waits: list[float] = []
    asked: deque[tuple[int, float]] = deque()
    event, appended, start = writer.event, 0, time.perf_counter()
    while True:
        durable, now = writer.durable, time.perf_counter()
        while asked and asked[0][0] < durable:
            waits.append((now - asked.popleft()[1]) * 1e6)
        if now - start > ROUND_S:
            return durable, now - start, waits
        while appended < (time.perf_counter() - start) * pace:
            asked.append((appended, start + appended / pace))  # when it came, not when we came to it
            writer.append(RECORD)
            appended += 1
        if select.select([event], [], [], max(start + (appended + 1) / pace - time.perf_counter(), 0))[0]:
            os.eventfd_read(event)


def _bare_syncs(directory: Path, size: int) -> list[float]:
    """What writing and syncing so many bytes takes, in microseconds, where room has been made and filled before."""
    batch = os.urandom(size)
    with tempfile.TemporaryFile(dir=directory) as file:
        descriptor, spent = file.fileno(), []
        count = min(MOST_SYNCS, (64 << 20) // size)
        os.pwrite(descriptor, bytes(count * size), 0)
        os.fsync(descriptor)
        for number in range(count):
            start = time.perf_counter()
            os.pwrite(descriptor, batch, number * size)
            os.fdatasync(descriptor)
            spent.append((time.perf_counter() - start) * 1e6)
    return spent


def _one_by_one(directory: Path) -> Reading:
    waits = _bare_syncs(directory, len(RECORD))
    beside = {"wait p50, µs": _percentile(waits, 0.5), "wait p99, µs": _percentile(waits, 0.99)}
    return Reading(1e6 * len(waits) / sum(waits), beside)


def _grouped(directory: Path, load: Load, algorithm: int, linger_us: int) -> Reading:
    with _writer(directory, algorithm, linger_us) as writer:
        cpu = time.process_time()
        records, seconds, waits = load(writer)
        cpu = time.process_time() - cpu
        facts = writer.facts()
    if facts["failures"] or facts["durable"] < records or not waits:
        raise Wrong("records were not written")
    bare = _bare_syncs(directory, max(facts["bytes"] // facts["batches"], 512))
    beside = {
        "wait p50, µs": _percentile(waits, 0.5),
        "wait p99, µs": _percentile(waits, 0.99),
        "bare sync p50, µs": _percentile(bare, 0.5),
        "bare sync p99, µs": _percentile(bare, 0.99),
        "records a batch": facts["durable"] / facts["batches"],
        "processor, µs a record": cpu / records * 1e6,
    }
    return Reading(records / seconds, beside)


def _contenders(directory: Path, load: Load) -> Iterator[Contender]:
    hashes = {"SHA-256": merkle.SHA256, "SM3": merkle.SM3}
    for name, linger_us in (("SHA-256", 200), ("SHA-256", 0), ("SHA-256", 1000), ("SM3", 200)):
        yield Contender(f"{name}, lingers {linger_us} µs", _round(directory, load, hashes[name], linger_us))
    yield Contender("each record by itself", lambda: _one_by_one(directory))


def _round(directory: Path, load: Load, algorithm: int, linger_us: int) -> Callable[[], Reading]:
    return lambda: _grouped(directory, load, algorithm, linger_us)


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    directory = Path(tempfile.mkdtemp(prefix="bench-audit-", dir=Path.cwd()))  # a disk: /tmp may be memory
    try:
        loads = {f"{callers:,} callers wait": functools.partial(_keep_waiting, callers=callers) for callers in CALLERS}
        loads |= {f"{pace:,} come a second": functools.partial(_keep_pace, pace=pace) for pace in PACES}
        sizes = {"bytes of a record": len(RECORD)}
        yield [Case(name, tuple(_contenders(directory, load)), sizes) for name, load in loads.items()]
    finally:
        shutil.rmtree(directory)


BENCHMARK = Benchmark(title="durable audit records, on one core", unit="records/s", higher_is_better=True, open=_open)
