"""Adds what the fronts have answered to the metrics of the core, whose page is the one that monitoring reads.

A front counts in a file that outlives it, so nothing is lost with one that dies, and no counter ever goes back. What must not
go in here: which metrics there are otherwise (`telemetry/metrics.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from broker._native.shared import BUCKET_BOUNDS_S
from broker.errors import DirectoryUnusable
from broker.serve.board import CONNECTED, FOLLOWS, SERVES, TALLIES, NamedCounts, is_alive, open_tally
from broker.serve.front_plans import CALLS, MATCHES
from broker.telemetry import metrics

_NOW = (b"front/open", b"front/calls")  # which are over with the front that tells of them
_SERVICE = "broker.v1.ExchangeService"
# By the first part of a slot's name: where the answers came from, and how grpc's metrics name the method.
_ANSWERS = {
    kinds[held]: (source, ("unary", _SERVICE, method))
    for held, source in ((False, "CACHE"), (True, "RECORDS"))
    for kinds, method in ((CALLS, "Call"), (MATCHES, "Match"))
}


class FrontCounts(Collector):
    """Reads the tallies in a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / TALLIES
        self._seen: dict[tuple[str, bytes], tuple[int, int]] = {}
        self._tallies: dict[Path, NamedCounts] = {}
        self._fronts: dict[bytes, int] = defaultdict(int)  # sums over all fronts, which do not go back when one begins anew
        self._open = self._calls = 0
        self._counting = False
        self.absorb()  # what was counted before this core began, the last one has told
        self._counting = True

    def absorb(self) -> None:
        """Add to the metrics what has been counted since the last time."""
        self._open = self._calls = 0
        for file in sorted(self._directory.glob("*.tally")):
            try:
                tally = self._tallies[file] if file in self._tallies else NamedCounts(open_tally(file))
            except DirectoryUnusable:
                continue
            self._tallies[file] = tally
            lives = False
            for name, found, not_found in tally.all():
                if name == FOLLOWS:
                    lives = is_alive(not_found)
                elif lives or name not in _NOW:
                    self._absorb_one(file.name, name, found, not_found)

    def collect(self) -> Iterator[Metric]:
        """Give the fronts' own metrics."""
        yield GaugeMetricFamily("broker_front_connections", "Connections of consumers that fronts have open.", value=self._open)
        yield GaugeMetricFamily("broker_front_calls", "Calls on their way through fronts.", value=self._calls)
        for name, text in (
            ("accepted", "Connections of consumers that fronts have taken."),
            ("relayed", "Calls that fronts have passed on to the core."),
            ("unavailable", "Calls that fronts have refused because the core was not there."),
            ("unaudited", "Answers, counted as such, that fronts took back because they could not be put down."),
        ):
            yield CounterMetricFamily(f"broker_front_{name}", text, value=self._fronts[f"front/{name}".encode()])
        closed = CounterMetricFamily("broker_front_closed", "Connections and streams ended by a limit.", labels=["limit"])
        for key, count in sorted(self._fronts.items()):
            if key.startswith(b"closed/"):
                closed.add_metric([key.removeprefix(b"closed/").decode(errors="replace")], count)
        yield closed
        yield self._times()

    def _absorb_one(self, file: str, name: bytes, found: int, not_found: int) -> None:
        seen = self._seen.get((file, name), (0, 0))
        self._seen[file, name] = found, not_found
        if not self._counting:
            return
        kind, _, rest = name.decode(errors="replace").partition("/")
        if name in (SERVES, CONNECTED):
            return
        if name == b"front/open":
            self._open += found
        elif name == b"front/calls":
            self._calls += found
        elif kind not in _ANSWERS:
            self._fronts[name] += found - seen[0] if found >= seen[0] else found  # less than before: the front began anew
        else:
            level, _, interface = rest.partition("/")
            self._count_answers(kind, level, interface, "FOUND", found - seen[0])
            self._count_answers(kind, level, interface, "NOT_FOUND", not_found - seen[1])

    def _count_answers(self, kind: str, level: str, interface: str, outcome: str, count: int) -> None:
        if count <= 0:
            return
        source, method = _ANSWERS[kind]
        metrics.calls.labels(level, interface, outcome, source).inc(count)
        for counter in (metrics.grpc_started, metrics.grpc_received, metrics.grpc_sent):
            counter.labels(*method).inc(count)
        metrics.grpc_handled.labels(*method, "OK").inc(count)

    def _times(self) -> Metric:
        family = HistogramMetricFamily(
            "broker_front_handling_seconds", "Time a front took for the answers that it gave itself."
        )
        sums, busy_ns = [0] * (len(BUCKET_BOUNDS_S) + 1), 0
        for tally in self._tallies.values():
            _, one_ns, buckets = tally.tally.times()
            busy_ns += one_ns
            sums = [so_far + count for so_far, count in zip(sums, buckets, strict=True)]
        bounds = [*(f"{bound:g}" for bound in BUCKET_BOUNDS_S), "+Inf"]
        cumulative = [sum(sums[: at + 1]) for at in range(len(sums))]
        family.add_metric([], buckets=list(zip(bounds, cumulative, strict=True)), sum_value=busy_ns / 1e9)
        return family
