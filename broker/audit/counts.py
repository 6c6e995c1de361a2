"""What a stream tells of itself, as metrics.

What must not go in here: anything else of a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from prometheus_client import Counter

from broker._native import journal
from broker.telemetry import metrics

if TYPE_CHECKING:
    from broker._native.journal import Facts

_Counted = Literal["durable", "batches", "bytes", "sync_ns", "failures"]
# What is counted of a writer's facts, in what, and by which unit.
_COUNTERS: tuple[tuple[_Counted, Counter, float], ...] = (
    ("durable", metrics.audit_records, 1),
    ("batches", metrics.audit_batches, 1),
    ("bytes", metrics.audit_bytes, 1),
    ("sync_ns", metrics.audit_sync_seconds, 1e9),
    ("failures", metrics.audit_failures, 1),
)


class StreamCounts:
    """Keeps the metrics of one stream."""

    def __init__(self, stream: str, seen: Facts) -> None:
        self._counters = [(fact, counter.labels(stream), unit) for fact, counter, unit in _COUNTERS]
        self._waiting, self._open = metrics.audit_waiting.labels(stream), metrics.audit_open.labels(stream)
        self._seen = seen
        self.count(seen)

    def count(self, facts: Facts) -> None:
        """Put what has changed since the last time into the metrics."""
        for fact, counter, unit in self._counters:
            counter.inc((facts[fact] - self._seen[fact]) / unit)
        self._waiting.set(facts["queued"])
        self._open.set(facts["state"] == journal.OPEN)
        self._seen = facts
