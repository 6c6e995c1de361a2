"""Quotas in the control plane: what has been handed out of each, exactly, over all cores that share the database.

A core reserves a block before it spends from it, so what a crash loses is handed out and not used: it wastes, and never
exceeds. A row is locked while it changes; a writer of the catalogue is not waited for. All calls block. What must not go in
here: how big a block is and when it is spent (spend.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.policy.database import Database
from broker.policy.tables import quota_subject, quota_use

# Periods: the number of a day, five digits from 1997 to 2243; "s" and a day for how many subjects it has; and what never ends.
TOTAL = "total"
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Reserved(NamedTuple):
    """What a reservation got."""

    granted: int
    beyond: int  # what nobody has reserved yet


class Quotas:
    """The quotas in one database. Each method raises DirectoryUnusable when it does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, grant: str, period: str, want: int, limit: int) -> Reserved:
        """Hand out at most `want` calls of a period's `limit`."""
        with self._database.updating() as connection:
            used = _locked(connection, grant, period)
            granted = max(0, min(want, limit - used))
            if granted:
                _set(connection, grant, period, used + granted)
        return Reserved(granted, max(0, limit - used - granted))

    def admit(self, grant: str, day: str, subject: bytes, limit: int) -> bool:
        """Count a subject (16 bytes, a keyed hash) of a day; False if it is new and `limit` others were there before it."""
        period = f"s{day}"
        with self._database.updating() as connection:
            used = _locked(connection, grant, period)
            if _is_known(connection, grant, day, subject):
                return True
            if used >= limit:
                return False
            connection.execute(insert(quota_subject).values(grant_id=grant, day=day, subject=subject))
            _set(connection, grant, period, used + 1)
        return True

    def subjects(self, grant: str, day: str) -> set[bytes]:
        """Return every subject that was counted on a day."""
        held = select(quota_subject.c.subject).where(quota_subject.c.grant_id == grant, quota_subject.c.day == day)
        with self._database.reading() as connection:
            return {bytes(subject) for subject in connection.execute(held).scalars()}

    def forget(self, before_day: int) -> int:
        """Remove what was counted of days that are over; returns the number of subjects that were."""
        over = [quota_use.c.period < str(before_day), quota_use.c.period.between("s", f"s{before_day - 1}")]
        with self._database.updating() as connection:
            connection.execute(delete(quota_use).where(quota_use.c.period != TOTAL, or_(*over)))
            return connection.execute(delete(quota_subject).where(quota_subject.c.day < str(before_day))).rowcount


def _locked(connection: Connection, grant: str, period: str) -> int:
    """Return what is used of a period; its row is made where there is none, and locked to the end of the transaction."""
    make = _INSERTS[connection.dialect.name](quota_use).values(grant_id=grant, period=period, used=0)
    connection.execute(make.on_conflict_do_nothing())
    row = select(quota_use.c.used).where(quota_use.c.grant_id == grant, quota_use.c.period == period).with_for_update()
    return int(connection.execute(row).scalar_one())


def _set(connection: Connection, grant: str, period: str, used: int) -> None:
    row = update(quota_use).where(quota_use.c.grant_id == grant, quota_use.c.period == period)
    connection.execute(row.values(used=used))


def _is_known(connection: Connection, grant: str, day: str, subject: bytes) -> bool:
    at = (quota_subject.c.grant_id == grant, quota_subject.c.day == day, quota_subject.c.subject == subject)
    return connection.execute(select(quota_subject.c.day).where(*at)).first() is not None
