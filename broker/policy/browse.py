"""Finding grants: those that somebody may see, filtered, page by page in order of id.

What must not go in here: who may see which (standing.py says so), and tokens of pages.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, or_

from broker.errors import InvalidRequest, Violation
from broker.policy import lives
from broker.policy.database import Database
from broker.policy.lives import Life, State
from broker.policy.standing import Standing, sees
from broker.policy.tables import grant_life
from broker.policy.workflow import EXPIRES, Story


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
    """Return the grants that follow on an id, as many as asked for, and whether there are more.

    Raises:
        InvalidRequest: names what is to be narrowed by and could not be an identifier.
    """
    named = {"consumer": wanted.consumer, "interface": wanted.interface, "after": after}
    wrong = [Violation(name, "must be an identifier") for name, text in named.items() if text and not lives.could_be(text)]
    if wrong:
        raise InvalidRequest(*wrong)
    rows = lives.lives().where(*_conditions(wanted, standing, now), grant_life.c.id > after)
    with database.reading() as connection:
        found = [lives.life(row) for row in connection.execute(rows.order_by(grant_life.c.id).limit(size + 1))]
        return _told(connection, found[:size]), len(found) > size


def _conditions(wanted: Selection, standing: Standing, now: dt.datetime) -> Iterator[ColumnElement[bool]]:
    life = grant_life.c
    if not standing.operator:
        yield or_(life.consumer.in_(sorted(standing.holders)), life.provider.in_(sorted(standing.approves)))
    if wanted.consumer:
        yield life.consumer == wanted.consumer
    if wanted.interface:
        yield life.interface == wanted.interface
    if wanted.states:
        yield _shown_as(wanted.states, now)
    if wanted.overdue:
        yield _shown_as(frozenset({State.REQUESTED}), now)
        yield life.decide_by <= now


def _shown_as(states: frozenset[State], now: dt.datetime) -> ColumnElement[bool]:
    """As `workflow.shown`: what is over is told as expired, written down or not."""
    life = grant_life.c
    within = and_(life.state.in_(sorted(states & EXPIRES)), life.valid_until > now)
    over = and_(life.state.in_(sorted(EXPIRES)), life.valid_until <= now)
    ways = [life.state.in_(sorted(states - EXPIRES)), within, *([over] if State.EXPIRED in states else [])]
    return or_(*ways)


def _told(connection: Connection, found: list[Life]) -> list[Story]:
    histories = lives.histories(connection, [life.id for life in found])
    return [Story(life, histories[life.id]) for life in found]
