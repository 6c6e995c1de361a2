"""Hours as minutes of the week, and time zones as offsets: the same as the calendar says, at any moment."""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker._native.policy import Image
from broker.policy.hours import spans_of, zone_offsets
from tests.image_kit import NOW_MS, granted, image_of
from tests.oracle.policy import DAYS

# Half an hour and more beside UTC, half an hour of summer time, none since 1991, summer time but for Ramadan, and midnights
# that are no moment of the day.
ZONES = ("America/St_Johns", "Australia/Lord_Howe", "Asia/Shanghai", "Africa/Casablanca", "America/Santiago", "UTC")
MOMENTS_MS = st.integers(int(dt.datetime(2000, 1, 2, tzinfo=dt.UTC).timestamp()) * 1000, 4_102_000_000_000)
MINUTE_MS = 60_000


@functools.lru_cache(maxsize=8)
def image_in(zone: str) -> Image:
    return Image(image_of(granted(), zone=zone))


def local(zone: str, at_ms: int) -> dt.datetime:
    moment = dt.datetime.fromtimestamp(at_ms // 1000, dt.UTC) + dt.timedelta(milliseconds=at_ms % 1000)
    return moment.astimezone(zoneinfo.ZoneInfo(zone))


def day_of(zone: str, at_ms: int) -> int:
    return local(zone, at_ms).date().toordinal() - dt.date(1970, 1, 1).toordinal()


# --- zones ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ZONES)
@settings(deadline=None)
@given(at_ms=MOMENTS_MS)
def test_a_zones_offset_is_that_of_the_calendar(zone: str, at_ms: int) -> None:
    offset_ms = [offset for begins, offset in zone_offsets(zone) if begins <= at_ms][-1]
    expected = local(zone, at_ms).utcoffset()
    assert expected is not None
    assert dt.timedelta(milliseconds=offset_ms) == expected
    assert image_in(zone).day(at_ms) == day_of(zone, at_ms)


@pytest.mark.parametrize("zone", ZONES)
def test_every_change_of_a_zone_is_right_to_the_millisecond(zone: str) -> None:
    changes = zone_offsets(zone)[1:]
    for at_ms, offset_ms in changes:
        before, after = local(zone, at_ms - 1).utcoffset(), local(zone, at_ms).utcoffset()
        assert before != after == dt.timedelta(milliseconds=offset_ms)
        for near_ms in (at_ms - 1, at_ms, at_ms + 1):
            assert image_in(zone).day(near_ms) == day_of(zone, near_ms)
    assert bool(changes) == (zone not in {"Asia/Shanghai", "UTC"})


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=30, deadline=None)
@given(at_ms=MOMENTS_MS, change=st.integers(0, 2**16), off_minutes=st.integers(-1500, 1500))
def test_a_day_ends_with_the_first_moment_of_a_later_one(zone: str, at_ms: int, change: int, off_minutes: int) -> None:
    image, changes = image_in(zone), zone_offsets(zone)[1:]
    if changes:  # days of 23 and 25 hours are rare, so they are sought out
        at_ms = changes[change % len(changes)][0] + off_minutes * MINUTE_MS
    ends_ms = image.next_day_ms(at_ms)
    assert at_ms < ends_ms <= at_ms + 25 * 60 * MINUTE_MS
    assert image.day(ends_ms) > image.day(at_ms)
    assert all(image.day(minute) <= image.day(at_ms) for minute in range(at_ms, ends_ms, MINUTE_MS))
    assert image.day(ends_ms - 1) <= image.day(at_ms)


@pytest.mark.parametrize("at_ms", [0, -1, 1, -86_400_000, -(2**52), 2**52])
def test_days_are_numbered_without_a_gap_on_both_sides_of_1970(at_ms: int) -> None:
    image = image_in("UTC")
    assert image.day(at_ms) == at_ms // 86_400_000
    assert image.next_day_ms(at_ms) == (at_ms // 86_400_000 + 1) * 86_400_000


# --- hours ------------------------------------------------------------------------------------------------------------

MINUTES = st.integers(0, 24 * 60)
ANY_DAYS = st.just("daily") | st.sampled_from(DAYS) | st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)).map("-".join)


def clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@settings(deadline=None)
@given(days=ANY_DAYS, span=st.lists(MINUTES, min_size=2, max_size=2, unique=True).map(sorted))
@example(days="daily", span=[0, 24 * 60])
@example(days="sun-sat", span=[0, 1])
@example(days="fri-mon", span=[23 * 60 + 59, 24 * 60])
def test_spans_are_the_minutes_that_the_text_names(days: str, span: list[int]) -> None:
    begins, ends = span
    found = sorted(spans_of(f"{days} {clock(begins)}-{clock(ends)}"))
    first, _, last = days.partition("-")
    if days == "daily":
        expected = list(range(7))
    else:
        length = (DAYS.index(last or first) - DAYS.index(first)) % 7 + 1
        expected = sorted((DAYS.index(first) + n) % 7 for n in range(length))
    assert found == [(24 * 60 * day + begins, 24 * 60 * day + ends) for day in expected]


def test_hours_hold_from_their_first_minute_to_their_last_millisecond() -> None:
    """NOW is a Sunday, half past eight in the morning in Shanghai."""
    image = Image(image_of(granted(hours=("sun 08:30-08:31",))))
    expected = {NOW_MS - 1: 1, NOW_MS: 5, NOW_MS + MINUTE_MS - 1: 5, NOW_MS + MINUTE_MS: 1}
    for at_ms, verdict in expected.items():
        assert image.decide(0, "i", 0, "P1", "M1", "U1", 0, at_ms, at_ms)[0] == verdict
    assert image.decide(0, "i", 0, "P1", "M1", "U1", 0, NOW_MS, NOW_MS + MINUTE_MS)[0] == 1, "both moments must be within"
