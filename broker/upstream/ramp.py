"""How a provider that is back is asked again: at the rate it had before, then twice as much each second.

While a provider was away, cached answers have ended and callers come back: asked all at once it would go away again. Its rate
is an exponential mean of what was sent. Pure; monotonic seconds are handed in. What must not go in here: when a
provider is away.
"""

from __future__ import annotations

import math

_RATE_S = 60.0  # that the mean of the rate remembers
_LEAST_PER_S = 5.0  # no provider is ordinarily asked less: below it, rates are accidents
_LENGTH_S = 5.0  # after which 32 times the rate would be let through; then all is
_BURST_S = 0.2  # of the ordinary rate at once


class Ramp:
    """Counts what is sent, and after `begin` lets through so much of it."""

    def __init__(self, now_s: float) -> None:
        self._since_s = self._seen_s = now_s
        self._sum = 0.0  # of calls, each weighed by its age
        self._began_s: float | None = None
        self._ordinary = _LEAST_PER_S
        self._tokens = 0.0
        self._taken_s = now_s

    @property
    def ordinary_per_s(self) -> float:
        """What was sent a second, when anything was last sent."""
        known = 1 - math.exp(-max(self._seen_s - self._since_s, 1.0) / _RATE_S)
        return max(_LEAST_PER_S, self._sum / _RATE_S / known)

    def sent(self, now_s: float) -> None:
        """A question is sent."""
        self._sum = self._sum * math.exp((self._seen_s - now_s) / _RATE_S) + 1
        self._seen_s = now_s

    def begin(self, now_s: float) -> None:
        """The provider is back; the time it was away is no part of its rate."""
        self._ordinary = self.ordinary_per_s
        self._since_s += now_s - self._seen_s
        self._seen_s = self._began_s = self._taken_s = now_s
        self._tokens = 1.0

    def is_on(self, now_s: float) -> bool:
        """Whether it limits anything now."""
        return self._began_s is not None and now_s - self._began_s < _LENGTH_S

    def take(self, now_s: float) -> bool:
        """Whether one more question may be sent."""
        if self._began_s is None or not self.is_on(now_s):
            return True
        earlier, later = 2 ** (self._taken_s - self._began_s), 2 ** (now_s - self._began_s)
        gained = self._ordinary * (later - earlier) / math.log(2)  # the integral of what doubles each second
        self._tokens = min(max(1.0, self._ordinary * _BURST_S), self._tokens + gained)
        self._taken_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
