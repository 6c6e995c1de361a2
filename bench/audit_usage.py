"""How long it takes to tell who asked about one subject: the 99th of a hundred pages, over a log of a million records.

`BROKER_BENCH_RECORDS=10000000` has ten million. Subjects are drawn at random; one in a thousand lookups is of somebody about
whom very many asked. What must not go in here: whether pages are right (tests/test_audit_usage.py).
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import audit_log
from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from broker.audit.layout import HEADER_BYTES, segment_file
from broker.audit.tail import Place
from broker.audit.usage import UsageIndex

RECORDS = int(os.environ.get("BROKER_BENCH_RECORDS", "1000000"))
LOOKUPS = 1000
EACH = 20  # records a subject, on average
OFTEN = 20_000  # of the one whom very many asked about


def _percentiles(spent: list[float]) -> Reading:
    ordered = sorted(spent)
    beside = {"p50 ms": ordered[len(ordered) // 2] * 1e3, "most ms": ordered[-1] * 1e3}
    return Reading(ordered[len(ordered) * 99 // 100] * 1e3, beside)


def _look_up(index: UsageIndex, of: list[bytes]) -> Reading:
    draw, spent, told = random.Random(), [], 0
    for number in range(LOOKUPS):
        subject = of[0] if number % 1000 == 999 else draw.choice(of)
        start = time.perf_counter()
        page = index.find(subject)
        spent.append(time.perf_counter() - start)
        told += len(page.found)
    if told < LOOKUPS * EACH // 2:
        raise Wrong("too little was found")
    return _percentiles(spent)


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    of = audit_log.subjects(RECORDS // EACH)
    weights = [of[0]] * (OFTEN * len(of) // RECORDS) + of
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "audit"
        audit_log.write(directory, audit_log.records(RECORDS, weights))
        size = segment_file(directory / "front-0", 1).stat().st_size
        index = UsageIndex(directory)
        start = time.perf_counter()
        index.fill({"front-0": Place(1, max(size, HEADER_BYTES))})
        rate = RECORDS / (time.perf_counter() - start)
        sys.stderr.write(f"the index was filled with {rate / 1e3:.0f} k records/s\n")
        try:
            sizes = {"records": RECORDS, "subjects": len(of), "lookups": LOOKUPS}
            yield [Case("a page of 50", (Contender("find", lambda: _look_up(index, of)),), sizes)]
        finally:
            index.close()


BENCHMARK = Benchmark(title="who asked about a subject", unit="ms, p99", higher_is_better=False, open=_open)
