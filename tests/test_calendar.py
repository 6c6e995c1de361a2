"""Working days of China: holidays, the weekends that are worked for them, and years that have not been announced yet."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest

from broker.model.catalogue import ShareType
from broker.policy.calendar import DAYS, working_days_after

SHANGHAI = zoneinfo.ZoneInfo("Asia/Shanghai")


def _last_day(asked: str, days: int) -> str:
    """The day, in Shanghai, at whose end the time is over."""
    end = working_days_after(dt.datetime.fromisoformat(f"{asked}T10:00").replace(tzinfo=SHANGHAI), days, SHANGHAI)
    local = end.astimezone(SHANGHAI)
    assert local.time() == dt.time()
    return str(local.date() - dt.timedelta(days=1))


@pytest.mark.parametrize(
    ("asked", "days", "last"),
    [
        ("2026-07-14", 2, "2026-07-16"),  # a Tuesday
        ("2026-07-17", 2, "2026-07-21"),  # a Friday: the weekend does not count
        ("2026-07-18", 2, "2026-07-21"),  # a Saturday
        ("2026-07-14", 7, "2026-07-23"),
        ("2026-07-14", 12, "2026-07-30"),
        # National Day 2026: 1 to 7 October are free, Sunday 20 September and Saturday 10 October are worked instead.
        ("2026-09-30", 2, "2026-10-09"),
        ("2026-09-30", 3, "2026-10-10"),
        ("2026-09-30", 7, "2026-10-15"),
        ("2026-09-18", 1, "2026-09-20"),
        ("2026-09-19", 1, "2026-09-20"),
        ("2026-10-03", 1, "2026-10-08"),
        # New Year: 1 to 3 January 2026 are free, Sunday the 4th is worked.
        ("2025-12-31", 1, "2026-01-04"),
        ("2025-12-30", 2, "2026-01-04"),
        # Spring Festival 2026, of the calendar of the moon: 15 to 23 February; Saturdays the 14th and the 28th are worked.
        ("2026-02-13", 2, "2026-02-24"),
        ("2026-02-27", 1, "2026-02-28"),
        # Not announced yet: the holidays that the law names.
        ("2029-09-28", 2, "2029-10-05"),
    ],
)
def test_working_days(asked: str, days: int, last: str) -> None:
    assert _last_day(asked, days) == last


def test_the_day_is_that_of_the_time_zone() -> None:
    late = dt.datetime(2026, 7, 14, 16, 30, tzinfo=dt.UTC)  # half past midnight on Wednesday in Shanghai
    assert working_days_after(late, 1, SHANGHAI) == dt.datetime(2026, 7, 16, 16, 0, tzinfo=dt.UTC)
    assert working_days_after(late, 1, dt.UTC) == dt.datetime(2026, 7, 16, 0, 0, tzinfo=dt.UTC)


def test_how_long_a_provider_has() -> None:
    shared = {kind for kind in ShareType if kind is not ShareType.NOT_SHARED}
    assert DAYS.keys() == {(kind, mounted) for kind in shared for mounted in (True, False)}
    assert sorted(DAYS.values()) == [2, 2, 7, 12]
