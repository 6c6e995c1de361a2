"""Keeps, across restarts, the state that each resource's mount is in and since when: the table `mount_state`.

All calls block; callers on an event loop use a thread. What must not go in here: what the states mean (model/mounts.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

from sqlalchemy import bindparam, delete, insert, select

from broker.model.mounts import Mount, MountState
from broker.policy.database import Database
from broker.policy.tables import mount_state


class MountStates:
    """The states kept in one database. Every method raises DirectoryUnusable when it does not answer or stays locked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> dict[str, Mount]:
        """Return every state kept, by the resource's code."""
        with self._database.reading() as connection:
            rows = connection.execute(select(mount_state.c.resource, mount_state.c.state, mount_state.c.since)).all()
        return {code: Mount(MountState(state), _milliseconds(since)) for code, state, since in rows}

    def write(self, changed: Mapping[str, Mount], gone: Collection[str], probed_at_ms: int) -> None:
        """Keep states that have changed in place of what was kept of these resources, and forget resources that have gone."""
        with self._database.writing() as connection:
            forgotten = [{"of": code} for code in (*changed, *gone)]
            if forgotten:
                connection.execute(delete(mount_state).where(mount_state.c.resource == bindparam("of")), forgotten)
            rows = [
                {
                    "resource": code,
                    "state": mount.state.value,
                    "since": _moment(mount.since_ms),
                    "probed_at": _moment(probed_at_ms),
                }
                for code, mount in changed.items()
            ]
            if rows:
                connection.execute(insert(mount_state), rows)


def _moment(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms // 1000, dt.UTC).replace(microsecond=ms % 1000 * 1000)


def _milliseconds(moment: dt.datetime) -> int:
    """Return a moment as it was written; SQLite gives it back without its time zone, which is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return round(aware.timestamp() * 1000)
