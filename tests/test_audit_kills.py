"""A process that writes a stream under load is killed, again and again: what it said to be durable is in the log, once.

`AUDIT_KILLS=1000 pytest tests/test_audit_kills.py`, or `make chaos-audit`, kills more often. What must not go in here: power
cuts (test_audit_power.py).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker._native import journal_check
from broker._native.journal_check import Walk
from broker.v1.audit_pb2 import AuditRecord
from tests import journal_kit as kit

KILLS = int(os.environ.get("AUDIT_KILLS", "8"))


class Nursery:
    """Forks writers one after the other (tests/support/audit_writer.py)."""

    def __init__(self, directory: Path, name: str) -> None:
        command = [sys.executable, "-m", "tests.support.audit_writer", "nursery", str(directory), name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.said: dict[str, int] = {}  # token and sequence

    def round(self, seconds: float) -> int:
        """Let a writer write for so long after its first record, and kill it; returns how much more was said."""
        before, stdin, stdout = len(self.said), self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(b"go\n")
        stdin.flush()
        pid = int(stdout.readline().split()[1])
        self._take(stdout.readline())
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        for line in iter(stdout.readline, b"ended\n"):
            self._take(line)
        return len(self.said) - before

    def _take(self, line: bytes) -> None:
        sequence, token = line.decode().split()
        assert token not in self.said
        self.said[token] = int(sequence)

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    found = Nursery(tmp_path / "audit", "front-0")
    yield found
    found.close()


def stored(folder: Path) -> Iterator[tuple[int, str]]:
    """The sequence and the token of each record of a stream, all of which is verified meanwhile."""
    walk = Walk(1)
    for _, data in kit.segments(folder):
        walk.begin_segment(data[:256])
        at = 256
        while True:
            first, end = walk.records, walk.take(data, at, len(data), walk.batches + 1)[0]
            if end == at:
                break
            for number, (_, record) in enumerate(journal_check.records_at(data, at, len(data))):
                yield first + number, AuditRecord.FromString(record).request_id
            at = end


@pytest.mark.timeout(60 + KILLS)
def test_what_was_said_is_in_the_log_once(nursery: Nursery, tmp_path: Path) -> None:
    draw = random.Random(KILLS)
    rounds = [nursery.round(draw.choice((0.0, 0.01, 0.05, 0.1))) for _ in range(KILLS)]
    folder = tmp_path / "audit" / "front-0"
    places: dict[str, int] = {}
    for sequence, token in stored(folder):
        assert token not in places, "a record is there twice"
        places[token] = sequence
    assert all(places.get(token) == sequence for token, sequence in nursery.said.items())
    assert len(kit.segments(folder)) >= KILLS
    assert min(rounds) > 0
    if KILLS <= 100:
        assert kit.fault(folder) is None
    left = sum(header[12] > 0 for header, _ in kit.segments(folder))
    sys.stdout.write(f"{KILLS} kills, {len(nursery.said)} records said, {len(places)} stored, {left} torn batches\n")
