"""How many records of the audit log are verified a second on one core, every hash of them, beside hashing each record alone.

The second contender hashes records of the same sizes by hashlib, one call each, and nothing else: what no verifier can leave
out. What must not go in here: whether verdicts are right (tests/test_audit_verify.py).
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import audit_log
from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from broker.audit.notes import Keys
from broker.audit.signer import open_key
from broker.audit.verify import verify

RECORDS = 300_000
ALGORITHMS = {1: "sha256", 2: "sm3"}


def _verifying(directory: Path) -> Reading:
    keys = Keys([open_key(directory, audit_log.ORIGIN).verifier])
    start = time.process_time_ns()
    report = verify(directory, keys, origin=audit_log.ORIGIN)
    spent = time.process_time_ns() - start
    if report.faults or report.streams[0].records != RECORDS:
        raise Wrong("the log is not as it was written")
    return Reading(RECORDS / spent * 1e6, {"covered": report.streams[0].covered})


def _hashing(records: list[bytes], algorithm: str) -> Reading:
    start = time.process_time_ns()
    for record in records:
        hashlib.new(algorithm, record)
    return Reading(len(records) / (time.process_time_ns() - start) * 1e6)


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    drawn = list(audit_log.records(RECORDS, audit_log.subjects(1000)))
    sizes = {"records": RECORDS, "bytes a record": sum(map(len, drawn)) // RECORDS, "records a batch": audit_log.A_BATCH}
    with tempfile.TemporaryDirectory() as scratch:
        cases = []
        for number, name in ALGORITHMS.items():
            directory = Path(scratch) / name
            audit_log.write(directory, drawn, number)
            audit_log.sign(directory).close()
            ours = Contender("verify", lambda directory=directory: _verifying(directory))  # type: ignore[misc]
            bare = Contender("hashlib, records alone", lambda name=name: _hashing(drawn, name))  # type: ignore[misc]
            cases.append(Case(name, (ours, bare), sizes))
        yield cases


BENCHMARK = Benchmark(title="verifying the audit log", unit="k records/s", higher_is_better=True, open=_open)
