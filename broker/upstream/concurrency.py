"""How many questions a provider may be asked at once: fewer when answers take longer than they ordinarily do.

The gradient of Netflix' concurrency-limits (Gradient2Limit.java: short-term time against a slow average, a tolerance, room for
a small queue, smoothing) over windows as its WindowedLimit. Two things are different. The ordinary time is each interface's
own, for a provider's quick and slow interfaces share one limit, and are not to be taken for one that got slower. And it is
remembered by time, not by calls, or under load slow answers were soon the ordinary ones. Pure; seconds are handed in. What must
not go in here: who waits (permits.py).
"""

from __future__ import annotations

import math

from broker.config import Upstream

_TOLERANCE = 1.5  # so many times the ordinary time is still ordinary
_STEEPEST = 0.5  # one window takes away at most half, before smoothing
_QUEUE = 4.0  # the limit may grow by as many before it is noticed as time
_SMOOTHING = 0.2
_WINDOW_S, _WINDOW_CALLS = 0.1, 10  # a window ends after both
_ORDINARY_S = 300.0  # that the slow average remembers
_WARM_UP_CALLS = 10  # of which it is the plain mean
_RECOVERY, _RECOVERY_FACTOR = 2.0, 0.95  # an average that is so much above what is seen now comes down faster
_LEAST_S = 1e-6


class _Ordinary:
    """The time an interface ordinarily takes: a mean at first, then an exponential one."""

    def __init__(self) -> None:
        self._calls = 0
        self._mean_s = 0.0
        self._seen_s = 0.0

    def compare(self, took_s: float, now_s: float) -> float:
        """Take one time into the average, and return how many times the average it is."""
        self._calls += 1
        weight = 1 / self._calls if self._calls <= _WARM_UP_CALLS else 1 - math.exp((self._seen_s - now_s) / _ORDINARY_S)
        self._seen_s = now_s
        self._mean_s += (took_s - self._mean_s) * weight
        if self._mean_s > took_s * _RECOVERY:
            self._mean_s *= _RECOVERY_FACTOR
        return took_s / self._mean_s


class ConcurrencyLimit:
    """One provider's limit. Begins at the most: before anything is known, a provider is not taken for a slow one."""

    def __init__(self, settings: Upstream, now_s: float) -> None:
        self._most = float(settings.max_connections_per_provider)
        self._least = min(float(settings.min_concurrency), self._most)
        self._limit = self._most
        self._ordinary: dict[str, _Ordinary] = {}
        self._began_s, self._calls, self._ratios, self._busiest = now_s, 0, 0.0, 0

    @property
    def limit(self) -> int:
        """Questions that may be on their way at once."""
        return int(self._limit)

    def observe(self, interface: str, took_s: float, in_flight: int, now_s: float) -> None:
        """Learn how long one question took, and how many were on their way when it ended, itself included."""
        took_s = max(took_s, _LEAST_S)
        self._ratios += self._ordinary.setdefault(interface, _Ordinary()).compare(took_s, now_s)
        self._calls += 1
        self._busiest = max(self._busiest, in_flight)
        if self._calls >= _WINDOW_CALLS and now_s - self._began_s >= _WINDOW_S:
            self._limit = self._next()
            self._began_s, self._calls, self._ratios, self._busiest = now_s, 0, 0.0, 0

    def _next(self) -> float:
        if self._busiest < self._limit / 2:
            return self._limit  # not the limit holds it up, so how it does says nothing of the limit
        gradient = max(_STEEPEST, min(1.0, _TOLERANCE * self._calls / self._ratios))
        wanted = self._limit * gradient + _QUEUE
        smoothed = self._limit + (wanted - self._limit) * _SMOOTHING
        return max(self._least, min(self._most, smoothed))
