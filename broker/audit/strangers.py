"""Refusals cost who is refused nothing: so many of one caller are put down one by one, the others are counted, or they would
fill the disk. Of all that nobody knows together fewer than of one who is known.

What must not go in here: writing them down (accesses.py), and who is known.
"""

from __future__ import annotations

from collections import Counter

PER_SECOND, BURST = 10.0, 100.0
KNOWN_PER_SECOND, KNOWN_BURST = 100.0, 1000.0
MOST_SAID = 64  # characters of each text that is kept of who is not known


class Strangers:
    """A bucket that fills with time: who finds something in it is put down by itself. Times are seconds of one clock."""

    def __init__(self, per_second: float = PER_SECOND, burst: float = BURST) -> None:
        """Args: per_second, burst: how many are put down one by one, each second and at once."""
        self._per_second, self._burst = per_second, burst
        self._left, self._at = burst, 0.0
        self._counted: Counter[str] = Counter()

    def admits(self, reason: str, now_s: float) -> bool:
        """Whether this one is put down by itself; else it is counted under its reason."""
        self._left = min(self._burst, self._left + max(0.0, now_s - self._at) * self._per_second)
        self._at = now_s
        if self._left < 1:
            self._counted[reason] += 1
            return False
        self._left -= 1
        return True

    def counted(self) -> dict[str, int]:
        """Return how many were counted, by reason, since they were last told."""
        return dict(self._counted)

    def told(self, reason: str, count: int) -> None:
        """Take off what has been put down."""
        self._counted[reason] -= count
        self._counted += Counter()  # which drops what is 0
