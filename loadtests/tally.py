"""Counts what came of the calls of one run, and judges the run. What must not go in here: Locust, and printing (summary.py)."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping

import msgspec

MAX_FAILURE_RATIO = 0.001
PERCENTILES = (50, 95, 99)
_EXAMPLES = 5


class Tally:
    """Counters of a run, filled call by call."""

    def __init__(self) -> None:
        self.levels: Counter[str] = Counter()  # answered calls
        self.sources: Counter[str] = Counter()  # UPSTREAM, CACHE, STALE
        self.outcomes: Counter[str] = Counter()
        self.national_sources: Counter[str] = Counter()
        self.interfaces: Counter[str] = Counter()
        self.consumers: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()  # status codes
        self.over_rate = 0
        self.checked = 0
        self.broken: Counter[str] = Counter()
        self.examples: list[str] = []
        self.times_ms: dict[str, list[float]] = {}  # by source

    def answered(self, interface: str, consumer: str, level: str, outcome: str, source: str, ms: float) -> None:
        """Count an answer."""
        self.levels[level] += 1
        self.sources[source] += 1
        self.outcomes[outcome] += 1
        self.interfaces[interface] += 1
        self.consumers[consumer] += 1
        self.times_ms.setdefault(source, []).append(ms)
        if level == "NATIONAL":
            self.national_sources[source] += 1

    def judged(self, interface: str, wrong: Mapping[str, str], invariants: int) -> None:
        """Count the invariants that were checked on an answer, and those that did not hold."""
        self.checked += invariants
        self.broken.update(wrong.keys())
        room = _EXAMPLES - len(self.examples)
        self.examples += [f"{interface}: {name}: {what}" for name, what in list(wrong.items())[:room]]

    def refused_for_rate(self) -> None:
        """Count a call beyond a grant's rate: a proper answer, and no failure."""
        self.over_rate += 1

    def failed(self, code: str) -> None:
        """Count a call that got no answer."""
        self.failures[code] += 1

    def _times(self) -> dict[str, list[float]]:
        return {"all": [ms for times in self.times_ms.values() for ms in times], **self.times_ms}

    def result(self, run: Mapping[str, float]) -> Result:
        """Sum up. `run` says what the run was made with."""
        return Result(
            run=dict(run),
            levels=dict(self.levels),
            sources=dict(self.sources),
            outcomes=dict(self.outcomes),
            national_sources=dict(self.national_sources),
            interfaces=dict(self.interfaces),
            consumers=dict(self.consumers),
            failures=dict(self.failures),
            over_rate=self.over_rate,
            checked=self.checked,
            broken=dict(self.broken),
            examples=tuple(self.examples),
            percentiles_ms={source: percentiles(times) for source, times in self._times().items()},
        )


def percentiles(times: list[float]) -> dict[str, float]:
    """Return the percentiles that are told; nothing of fewer than two times."""
    if len(times) < 2:
        return {}
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {f"p{percentile}": cuts[percentile - 1] for percentile in PERCENTILES}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run, summed up; what is written and told."""

    run: dict[str, float]
    levels: dict[str, int]
    sources: dict[str, int]
    outcomes: dict[str, int]
    national_sources: dict[str, int]
    interfaces: dict[str, int]
    consumers: dict[str, int]
    failures: dict[str, int]
    over_rate: int
    checked: int
    broken: dict[str, int]
    examples: tuple[str, ...]
    percentiles_ms: dict[str, dict[str, float]]

    @property
    def answered(self) -> int:
        """How many calls were answered."""
        return sum(self.levels.values())

    @property
    def failure_ratio(self) -> float:
        """Failures among the calls that were answered or failed."""
        failed = sum(self.failures.values())
        return failed / max(1, failed + self.answered)

    def problems(self) -> list[str]:
        """Say why the run is not a good one; nothing when it is."""
        found = [f"{count} answers broke an invariant: {name}" for name, count in self.broken.items()]
        if not self.answered or not self.checked:
            found.append("nothing was answered, so nothing was checked")
        if self.failure_ratio > MAX_FAILURE_RATIO:
            found.append(f"{self.failure_ratio:.2%} of the calls failed; {MAX_FAILURE_RATIO:.2%} may")
        return found
