"""Retry budget of one provider: a part of the calls, and so many a second, so that retries never multiply an outage.

A token bucket as Finagle's `RetryBudget` (twitter/finagle, finagle-core, service/RetryBudget.scala): each call puts a part of a
token in, time puts in the rest, each retry takes one out. Pure; monotonic seconds are handed in. What must not go in here: what
may be retried (guard.py).
"""

from __future__ import annotations

from broker.config import Upstream

_MOST = 10.0  # tokens kept: what was not used in good times is not spent at once in bad ones


class RetryBudget:
    """Retries up to any moment: at most 1, `retry_ratio` of the calls and `retry_per_second` a second."""

    def __init__(self, settings: Upstream, now_s: float) -> None:
        self._ratio = settings.retry_ratio
        self._per_second = settings.retry_per_second
        self._tokens = 1.0 if self._ratio or self._per_second else 0.0
        self._seen_s = now_s

    def deposit(self, now_s: float) -> None:
        """A call is sent."""
        self._pass(now_s)
        self._tokens = min(_MOST, self._tokens + self._ratio)

    def withdraw(self, now_s: float) -> bool:
        """Whether there may be a retry; if so it is paid for."""
        self._pass(now_s)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _pass(self, now_s: float) -> None:
        self._tokens = min(_MOST, self._tokens + (now_s - self._seen_s) * self._per_second)
        self._seen_s = now_s
