"""Working days: until when a provider must have decided on a request.

Weekends, public holidays and the weekends that are worked in exchange for them come from the `holidays` library; a year whose
exchanges have not been announced yet counts by the holidays that the law names. What must not go in here: what becomes of a
request whose time has passed.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping

import holidays

from broker.model.catalogue import ShareType

COUNTRY = "CN"  # whose working days count
# Working days within which a provider decides, by how the resource is shared and whether it is mounted: two to admit the
# request, and where there is a condition to be looked at, five more, or ten where there is no interface yet that works.
DAYS: Mapping[tuple[ShareType, bool], int] = {
    (ShareType.UNCONDITIONAL, True): 2,
    (ShareType.UNCONDITIONAL, False): 2,
    (ShareType.CONDITIONAL, True): 2 + 5,
    (ShareType.CONDITIONAL, False): 2 + 10,
}


def working_days_after(moment: dt.datetime, days: int, zone: dt.tzinfo) -> dt.datetime:
    """Return the end of the working day that is so many working days after a moment; the day of the moment does not count."""
    today = moment.astimezone(zone).date()
    last = _calendar(today.year).get_nth_working_day(today, days)
    return dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), zone).astimezone(dt.UTC)


@functools.lru_cache(maxsize=4)
def _calendar(year: int) -> holidays.HolidayBase:
    """Days of a year and the next, all filled in here: threads that filled them in as they asked would meet."""
    return holidays.country_holidays(COUNTRY, years=(year, year + 1), expand=False)
