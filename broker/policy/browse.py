"""Finding grants: those that somebody may see, filtered, page by page in order of id.

What must not go in here: who may see which (standing.py says so), and tokens of pages.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, or_

from broker.policy import lives
from broker.policy.database import Database
from broker.policy.lives import Life, State
from broker.policy.standing import Standing, sees
from broker.policy.tables import grant_life
from broker.policy.workflow import EXPIRES, Story

_BATCH = 500


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which grants are wanted; what is empty does not narrow."""

    consumer: str = ""
    interface: str = ""
    states: frozenset[State] = frozenset()
    overdue: bool = False  # requested still, although the provider should have decided


def read(database: Database, grant_id: str, standing: Standing) -> Story | None:
    """Return one grant; None if there is none that may be seen."""
    with database.reading() as connection:
        life = lives.read(connection, grant_id)
        return _told(connection, [life])[0] if life is not None and sees(standing, life) else None


def page(
    database: Database, wanted: Selection, standing: Standing, after: str, size: int, now: dt.datetime
) -> tuple[list[Story], bool]:
    """Return the grants that follow on an id, as many as asked for, and whether there are more."""
    with database.reading() as connection:
        found: list[Life] = []
        for life in _matching(connection, wanted, standing, after, now):
            if len(found) == size:
                return _told(connection, found), True
            found.append(life)
        return _told(connection, found), False


def _matching(connection: Connection, wanted: Selection, standing: Standing, after: str, now: dt.datetime) -> Iterator[Life]:
    """Yield lives batch by batch: what is over is told as expired, which only its terms can say."""
    while True:
        rows = lives.lives().where(*_conditions(wanted, standing, now), grant_life.c.id > after)
        batch = connection.execute(rows.order_by(grant_life.c.id).limit(_BATCH)).all()
        yield from (lives.life(row) for row in batch if not wanted.states or _shown(row, now) in wanted.states)
        if len(batch) < _BATCH:
            return
        after = batch[-1].id


def _shown(row: Row[Any], now: dt.datetime) -> State:
    """As `workflow.shown`, without reading the rest of the terms."""
    state = State(row.state)
    return State.EXPIRED if state in EXPIRES and lives.end_of(row.terms) <= now else state


def _conditions(wanted: Selection, standing: Standing, now: dt.datetime) -> Iterator[ColumnElement[bool]]:
    life = grant_life.c
    if not standing.operator:
        yield or_(life.consumer.in_(sorted(standing.holders)), life.provider.in_(sorted(standing.approves)))
    if wanted.consumer:
        yield life.consumer == wanted.consumer
    if wanted.interface:
        yield life.interface == wanted.interface
    if wanted.states:
        over = EXPIRES if State.EXPIRED in wanted.states else frozenset()
        yield life.state.in_(sorted(wanted.states | over))
    if wanted.overdue:
        yield life.state == State.REQUESTED.value
        yield life.decide_by <= now


def _told(connection: Connection, found: list[Life]) -> list[Story]:
    histories = lives.histories(connection, [life.id for life in found])
    return [Story(life, histories[life.id]) for life in found]
