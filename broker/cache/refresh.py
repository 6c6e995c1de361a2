"""Who may refresh a stale answer, and when: one at a time a key, and after a failure not again for a while.

Decides only; the asking is the exchange's. Monotonic seconds. What must not go in here: tasks, and what an answer is.
"""

from __future__ import annotations

import math

REST_S = 5.0  # a provider that failed is not asked again for the same stale answer before this
_MOST = 10_000  # keys remembered; beyond it those whose rest is over are forgotten


class Refreshes:
    """When each key may be refreshed next."""

    def __init__(self) -> None:
        self._not_before: dict[bytes, float] = {}

    def begin(self, key: bytes, now_s: float) -> bool:
        """Whether a refresh may start; if so it has started, until `ended` is told."""
        if now_s < self._not_before.get(key, -math.inf):
            return False
        if len(self._not_before) >= _MOST:
            self._forget(now_s)
        self._not_before[key] = math.inf
        return True

    def ended(self, key: bytes, now_s: float, *, ok: bool) -> None:
        """Learn how it went."""
        if ok:
            del self._not_before[key]
        else:
            self._not_before[key] = now_s + REST_S

    def _forget(self, now_s: float) -> None:
        self._not_before = {key: until for key, until in self._not_before.items() if until > now_s}
