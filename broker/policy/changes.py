"""What was changed in the control plane, by whom and how: written in the transaction that changes it, read for the audit log.

The database keeps it whether or not a broker has a log, for several brokers may follow one control plane, each with a log of
its own. What must not go in here: what is changed (store.py, workflow.py), and the log (audit/).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, DateTime, Integer, String, func, insert, literal, select

from broker.model.change import ADDED, Change, target_of
from broker.policy import bulk
from broker.policy.lives import By, utc
from broker.policy.tables import change, entry, revision

_COLUMNS = ("revision", "at", "actor", "method", "target", "outcome")


def note(connection: Connection, by: By, done: Iterable[tuple[str, str]], version: int | None = None) -> None:
    """Write down what was done: targets and outcomes; without a version, as of the newest revision."""
    now = _newest(connection) if version is None else version
    told = {"revision": now, "at": by.at, "actor": by.actor, "method": by.method}
    bulk.execute(connection, insert(change), (told | {"target": target, "outcome": outcome} for target, outcome in done))


def note_added(connection: Connection, by: By, kinds: Iterable[str], version: int) -> None:
    """Write down of every value that a revision has written that it is new, however many they are."""
    for kind in kinds:
        prefix = literal(target_of(kind, ""), String)
        rows = select(
            literal(version, Integer),
            literal(by.at, DateTime(timezone=True)),
            literal(by.actor, String),
            literal(by.method, String),
            prefix.concat(entry.c.key),
            literal(ADDED, String),
        ).where(entry.c.kind == kind, entry.c.version == version)
        connection.execute(insert(change).from_select(list(_COLUMNS), rows.order_by(entry.c.key)))


def since(connection: Connection, number: int, most: int) -> list[Change]:
    """Return the changes from a number on, in their order, at most so many."""
    rows = select(change).where(change.c.number >= number).order_by(change.c.number).limit(most)
    return [
        Change(
            number=row.number,
            revision=row.revision,
            at=utc(row.at).isoformat(),
            actor=row.actor,
            method=row.method,
            target=row.target,
            outcome=row.outcome,
        )
        for row in connection.execute(rows)
    ]


def _newest(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(revision.c.version), 0))).scalar_one())
