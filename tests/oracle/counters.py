"""The oracle of `broker._native.counters`: the limits of one grant, with exact integers, in the memory of one process.

The rate is a leaky bucket that holds `burst` calls and loses one each interval; the native code counts the same by a virtual
clock. What must not go in here: an import of the native module, or a trick for speed.
"""

from __future__ import annotations

from typing import NamedTuple

SPENT, RATE_USED_UP, DAY_USED_UP, TOTAL_USED_UP = range(4)
LEAP_NS = 3600 * 10**9  # what is further ahead than this was written by no clock of ours
MOST = 2**40 - 1  # calls of a day's block


class Terms(NamedTuple):
    """What a grant says of limits; a quota of 0 is none."""

    interval_ns: int
    burst: int
    quota_per_day: int
    quota_total: int


class Limits:
    """What is left of a grant."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.level_ns = 0  # of the bucket, at `seen_ns`
        self.seen_ns = 0
        self.day, self.left = 0, 0
        self.total = 0
        self.beyond_day, self.beyond = 0, 0
        self.beyond_total = 0

    def spend(self, now_ns: int, day: int) -> tuple[int, int]:
        """Take one call off every limit, or off none; returns what that came to, and how long to wait for the rate."""
        wait_ns = self._wait_ns(now_ns)
        if wait_ns:
            return RATE_USED_UP, wait_ns
        self._leak(now_ns)  # what has leaked away has, whether or not the quotas allow the call
        if self.terms.quota_per_day and not self._left_of(day):
            return DAY_USED_UP, 0
        if self.terms.quota_total and not self.total:
            return TOTAL_USED_UP, 0
        self.level_ns += self.terms.interval_ns
        self.left -= bool(self.terms.quota_per_day)
        self.total -= bool(self.terms.quota_total)
        return SPENT, 0

    def deposit(self, day: int, amount: int, beyond: int) -> None:
        """Add a block: of a day, which drops what is left of another, or of the grant's whole life where the day is 0."""
        if day:
            self.day, self.left = day, min(MOST, self._left_of(day) + amount)
            self.beyond_day, self.beyond = day, beyond
        else:
            self.total += amount
            self.beyond_total = beyond

    def remaining(self, now_ns: int, day: int) -> tuple[int, int | None, int | None]:
        """Return what is left of the burst, of the day and in all; None where there is no limit."""
        terms = self.terms
        level = min(max(0, self.level_ns + self.seen_ns - now_ns), terms.burst * terms.interval_ns)
        today = self._left_of(day) + (self.beyond if self.beyond_day == day else 0)
        return (
            (terms.burst * terms.interval_ns - level) // terms.interval_ns,
            today if terms.quota_per_day else None,
            self.total + self.beyond_total if terms.quota_total else None,
        )

    def _wait_ns(self, now_ns: int) -> int:
        room_ns = self.terms.burst * self.terms.interval_ns
        level = self.level_ns + self.seen_ns - now_ns
        if level > room_ns + LEAP_NS:  # the clock has gone back, and not by a little: as if the burst were used up now
            self.level_ns, self.seen_ns = room_ns, now_ns
            level = room_ns
        return max(0, max(0, level) + self.terms.interval_ns - room_ns)

    def _leak(self, now_ns: int) -> None:
        if now_ns > self.seen_ns:
            self.level_ns = max(0, self.level_ns - (now_ns - self.seen_ns))
            self.seen_ns = now_ns

    def _left_of(self, day: int) -> int:
        return self.left if self.day == day else 0
