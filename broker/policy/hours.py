"""Hours of grants as minutes of the week, and a time zone as offsets from UTC: all that the policy image knows of calendars."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterator
from functools import lru_cache

from broker.model.catalogue import DAYS

_DAY_MINUTES = 24 * 60
_FIRST, _LAST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
_BEFORE_ALL_MS = -(1 << 62)


@lru_cache(1000)  # hours of office are the same in most grants
def spans_of(hours: str) -> tuple[tuple[int, int], ...]:
    """Return half-open spans in minutes since Monday 00:00, one a day, for a text such as "fri-mon 08:30-17:30"."""
    days, _, clock = hours.partition(" ")
    begins, ends = (_minutes(text) for text in clock.split("-"))
    return tuple((day * _DAY_MINUTES + begins, day * _DAY_MINUTES + ends) for day in _days(days))


def _days(text: str) -> Iterator[int]:
    if text == "daily":
        yield from range(7)
        return
    first, _, last = text.partition("-")
    day, until = DAYS.index(first), DAYS.index(last or first)
    yield day
    while day != until:
        day = (day + 1) % 7
        yield day


def _minutes(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


@lru_cache(maxsize=8)
def zone_offsets(time_zone: str) -> tuple[tuple[int, int], ...]:
    """Return a zone's offsets between 2000 and 2100 as (from which moment on, offset), both in milliseconds."""
    zone = zoneinfo.ZoneInfo(time_zone)
    found = [(_BEFORE_ALL_MS, _offset_ms(_FIRST, zone))]
    day = _FIRST
    while day < _LAST:
        following = day + dt.timedelta(days=1)
        if _offset_ms(following, zone) != found[-1][1]:
            found.append((_change_ms(day, following, zone), _offset_ms(following, zone)))
        day = following
    return tuple(found)


def _offset_ms(moment: dt.datetime, zone: zoneinfo.ZoneInfo) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return int((offset or dt.timedelta()).total_seconds() * 1000)


def _change_ms(before: dt.datetime, after: dt.datetime, zone: zoneinfo.ZoneInfo) -> int:
    """Find the second in which the offset changes, by halving."""
    old = _offset_ms(before, zone)
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_ms(dt.datetime.fromtimestamp(middle, dt.UTC), zone) == old:
            low = middle
        else:
            high = middle
    return high * 1000
