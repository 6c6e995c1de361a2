"""The rows of grants' lives: where each grant is, and every step that brought it there.

Everything runs in a transaction of the caller's. What must not go in here: what may follow on what (workflow.py for what is
decided, declared.py for what the directory says), and what is in force (store.py).
"""

from __future__ import annotations

import datetime as dt
import enum
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, DateTime, Row, Select, String, bindparam, func, insert, literal, select, update

from broker.model.catalogue import Grant, Moment
from broker.policy import bulk
from broker.policy.tables import grant_life, grant_transition

# Where a grant comes from. What was declared and is no longer in the directory, though nobody decided so, is `REMOVED`.
DIRECTORY, WORKFLOW, REMOVED = "directory", "workflow", "removed"


class State(enum.StrEnum):
    """Where a grant is in its life."""

    REQUESTED = "REQUESTED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    PAUSED = "PAUSED"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """A grant and where it is. Consumer and interface are those of the terms."""

    id: str
    origin: str
    state: State
    consumer: str
    interface: str
    provider: str  # of the newest version of the interface
    terms: Grant
    requested_at: dt.datetime
    decide_by: dt.datetime | None = None  # None: nothing was to be decided


class Transition(msgspec.Struct, frozen=True):
    """One step: the state after it, when, who, why."""

    state: State
    at: dt.datetime
    actor: str
    reason: str


class Known(NamedTuple):
    """What `declared.py` needs to know of every grant there ever was; the terms are not decoded, for there are many."""

    origin: str
    state: State
    interface: str
    provider: str
    document: bytes


class Step(NamedTuple):
    """A step to be recorded, with what the grant is after it."""

    id: str
    state: State
    origin: str
    document: bytes
    reason: str


class By(NamedTuple):
    """Who takes steps, and when."""

    actor: str
    at: dt.datetime


class _Ending(msgspec.Struct):
    valid_until: Moment


_ENDING = msgspec.msgpack.Decoder(_Ending)

# --- reading ------------------------------------------------------------------------------------------------------------


def lives() -> Select[Any]:
    """Begin a query for lives, to be narrowed by the caller and read by `life`."""
    return select(grant_life)


def life(row: Row[Any]) -> Life:
    """Read a row of `lives`."""
    return Life(
        id=row.id,
        origin=row.origin,
        state=State(row.state),
        consumer=row.consumer,
        interface=row.interface,
        provider=row.provider,
        terms=msgspec.msgpack.decode(row.terms, type=Grant),
        requested_at=_utc(row.requested_at),
        decide_by=_utc(row.decide_by) if row.decide_by else None,
    )


def read(connection: Connection, grant_id: str) -> Life | None:
    """Return one life; None if there is no such grant."""
    row = connection.execute(lives().where(grant_life.c.id == grant_id)).one_or_none()
    return life(row) if row else None


def read_all(connection: Connection, ids: Sequence[str]) -> list[Life]:
    """Return some lives, in order of id."""
    rows = lives().where(grant_life.c.id.in_(ids)).order_by(grant_life.c.id)
    return [life(row) for row in connection.execute(rows)]


def documents(connection: Connection, states: Iterable[State]) -> Iterator[tuple[str, bytes]]:
    """Yield id and terms of every grant in some states; not decoded, for there may be many."""
    rows = select(grant_life.c.id, grant_life.c.terms).where(grant_life.c.state.in_([state.value for state in states]))
    for key, document in connection.execution_options(yield_per=1000).execute(rows):
        yield key, bytes(document)


def end_of(document: bytes) -> dt.datetime:
    """Return when a grant ends, passing over the rest of its terms."""
    return _ENDING.decode(document).valid_until


def made_by(connection: Connection, request_id: str) -> Life | None:
    """Return the life that a request began; None if none did."""
    row = connection.execute(lives().where(grant_life.c.request_id == request_id)).one_or_none()
    return life(row) if row else None


def known(connection: Connection) -> dict[str, Known]:
    """Return what is known of every grant, by id."""
    columns = (grant_life.c[name] for name in ("id", "origin", "state", "interface", "provider", "terms"))
    return {
        key: Known(origin, State(state), interface, provider, bytes(document))
        for key, origin, state, interface, provider, document in connection.execute(select(*columns))
    }


def histories(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[Transition, ...]]:
    """Return every step of some grants, oldest first."""
    steps = grant_transition.c
    found: dict[str, list[Transition]] = defaultdict(list)
    rows = select(grant_transition).where(steps.id.in_(ids)).order_by(steps.id, steps.number)
    for row in connection.execute(rows):
        found[row.id].append(Transition(State(row.state), _utc(row.at), row.actor, row.reason))
    return {key: tuple(found[key]) for key in ids}


def _utc(moment: dt.datetime) -> dt.datetime:
    """SQLite forgets the offset, so every moment is written, and read, as UTC."""
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


# --- writing ------------------------------------------------------------------------------------------------------------


def begin(connection: Connection, begun: Iterable[tuple[Life, bytes]], request_id: str | None = None) -> None:
    """Write lives that are new, with the documents of their terms. Their first steps are recorded after."""
    rows = (_row(life) | {"terms": document, "request_id": request_id} for life, document in begun)
    bulk.execute(connection, insert(grant_life), rows)


def record_first(connection: Connection, by: By, reason: str) -> None:
    """Record the step that brought every life that has none yet to where it is, however many they are."""
    connection.execute(_FIRST, {"at": by.at, "actor": by.actor, "reason": reason})


def record(connection: Connection, steps: Iterable[Step], by: By) -> None:
    """Write down steps, each of another grant, and bring the lives to where they lead."""
    found = list(steps)
    after = ({"of": s.id, "to_state": s.state.value, "to_origin": s.origin, "to_terms": s.document} for s in found)
    bulk.execute(connection, _BRING, after)
    bulk.execute(
        connection,
        _NEXT,
        ({"of": s.id, "state": s.state.value, "at": by.at, "actor": by.actor, "reason": s.reason} for s in found),
    )


def move(connection: Connection, providers: Iterable[tuple[str, str]]) -> None:
    """Give grants, by id, to the providers that their interfaces have now."""
    bulk.execute(connection, _MOVE, ({"of": key, "to": provider} for key, provider in providers))


def _row(life: Life) -> dict[str, Any]:
    return {name: getattr(life, name) for name in life.__struct_fields__} | {"state": life.state.value}


_THIS = grant_life.c.id == bindparam("of")
_BRING = (
    update(grant_life)
    .where(_THIS)
    .values(state=bindparam("to_state"), origin=bindparam("to_origin"), terms=bindparam("to_terms"))
)
_MOVE = update(grant_life).where(_THIS).values(provider=bindparam("to"))
_SAID = (
    bindparam("at", type_=DateTime(timezone=True)),
    bindparam("actor", type_=String),
    bindparam("reason", type_=String),
)
_COLUMNS = ["id", "number", "state", "at", "actor", "reason"]
_ITS = select(grant_transition.c.id).where(grant_transition.c.id == grant_life.c.id)
_FIRST = insert(grant_transition).from_select(
    _COLUMNS, select(grant_life.c.id, literal(1), grant_life.c.state, *_SAID).where(~_ITS.exists())
)
# A step's number is one more than the greatest there is of its grant.
_NEXT = insert(grant_transition).from_select(
    _COLUMNS,
    select(
        bindparam("of", type_=String),
        func.coalesce(func.max(grant_transition.c.number), 0) + 1,
        bindparam("state", type_=String),
        *_SAID,
    ).where(grant_transition.c.id == bindparam("of", type_=String)),
)
