"""The course of a working day: how many calls when, relative to the mean of office hours, and how a day is compressed.

What must not go in here: Locust, and who asks what (mix.py).
"""

from __future__ import annotations

import math
from typing import NamedTuple

DAY_H = 24
OFFICE_HOURS = ((8, 12), (14, 18))
_PEAKS_H, _WIDTH_H, _NIGHT = (10.0, 16.0), 1.3, 0.02
_MINUTE_H = 1 / 60


def _hump(hour: float) -> float:
    return _NIGHT + sum(math.exp(-(((hour - peak) / _WIDTH_H) ** 2) / 2) for peak in _PEAKS_H)


def _minutes(start: int, end: int) -> list[float]:
    return [start + minute * _MINUTE_H for minute in range((end - start) * 60)]


_OFFICE = [_hump(hour) for start, end in OFFICE_HOURS for hour in _minutes(start, end)]
_OFFICE_MEAN = sum(_OFFICE) / len(_OFFICE)
_DAY_MEAN = sum(map(_hump, _minutes(0, DAY_H))) / (DAY_H * 60) / _OFFICE_MEAN
PEAK = max(_OFFICE) / _OFFICE_MEAN


def course(hour: float) -> float:
    """How busy an hour of the day is; 1 is the mean of office hours."""
    return _hump(hour % DAY_H) / _OFFICE_MEAN


class CompressedDay(NamedTuple):
    """One day in so many seconds, at so many calls a second of its own time in office hours."""

    seconds: float
    office_rate: float

    @property
    def factor(self) -> float:
        """How many times faster than the clock on the wall."""
        return DAY_H * 3600 / self.seconds

    @property
    def peak_rate(self) -> float:
        """Calls a second, of the wall's clock, at the busiest moment."""
        return self.office_rate * self.factor * PEAK

    @property
    def calls(self) -> float:
        """Calls due over the whole day."""
        return _DAY_MEAN * self.office_rate * self.factor * self.seconds

    def hour(self, elapsed_s: float) -> float:
        """What time of the day it is."""
        return elapsed_s / self.seconds * DAY_H

    def users(self, elapsed_s: float, most: int) -> int | None:
        """How many of the users are at work; None when the day is over."""
        if elapsed_s >= self.seconds:
            return None
        return max(1, round(most * course(self.hour(elapsed_s)) / PEAK))
