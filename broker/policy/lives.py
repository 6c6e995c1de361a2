"""The rows of grants' lives: where each grant is, and every step that brought it there.

Everything runs in a transaction of the caller's. What must not go in here: what may follow on what (workflow.py for what is
decided, declared.py for what the directory says), and what is in force (store.py).
"""

from __future__ import annotations

import datetime as dt
import enum
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, DateTime, Row, Select, String, bindparam, func, insert, literal, select, update

from broker.model.catalogue import Grant, Identifier, Moment
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
    consumer: str
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
    """Who takes steps, when, and by which RPC or command."""

    actor: str
    at: dt.datetime
    method: str = ""


class _Ending(msgspec.Struct):
    valid_until: Moment


_ENDING = msgspec.msgpack.Decoder(_Ending)
_OF_LIFE = tuple(grant_life.c[name] for name in Life.__struct_fields__)
# The last days that there are cannot be told in every time zone, and a database may tell times in its own.
_FIRST_END, _LAST_END = dt.datetime(2, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC)

# --- reading ------------------------------------------------------------------------------------------------------------


def could_be(grant_id: str) -> bool:
    """Whether a text could be an identifier. What could not is asked of no database: some refuse it, as no text at all."""
    try:
        msgspec.convert(grant_id, Identifier)
    except msgspec.ValidationError:
        return False
    return True


def lives() -> Select[Any]:
    """Begin a query for lives, to be narrowed by the caller and read by `life`."""
    return select(*_OF_LIFE)


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
        requested_at=utc(row.requested_at),
        decide_by=utc(row.decide_by) if row.decide_by else None,
    )


def read(connection: Connection, grant_id: str) -> Life | None:
    """Return one life; None if there is no such grant."""
    if not could_be(grant_id):
        return None
    row = connection.execute(lives().where(grant_life.c.id == grant_id)).one_or_none()
    return life(row) if row else None


def read_all(connection: Connection, ids: Sequence[str]) -> list[Life]:
    """Return some lives, in order of id."""
    rows = lives().where(grant_life.c.id.in_(ids)).order_by(grant_life.c.id)
    return [life(row) for row in connection.execute(rows)]


def over(connection: Connection, states: Iterable[State], now: dt.datetime) -> list[str]:
    """Return the ids of grants in some states whose time has passed."""
    ended = grant_life.c.state.in_([state.value for state in states]), grant_life.c.valid_until <= now
    return list(connection.execute(select(grant_life.c.id).where(*ended)).scalars())


def waiting(connection: Connection, consumer: str, now: dt.datetime) -> int:
    """Count a consumer's requests that nobody has decided."""
    its = grant_life.c.consumer == consumer, grant_life.c.state == State.REQUESTED.value, grant_life.c.valid_until > now
    return int(connection.execute(select(func.count()).select_from(grant_life).where(*its)).scalar_one())


def length(connection: Connection, grant_id: str) -> int:
    """Count the steps of a grant."""
    its = select(func.count()).select_from(grant_transition).where(grant_transition.c.id == grant_id)
    return int(connection.execute(its).scalar_one())


def made_by(connection: Connection, request_id: str) -> Life | None:
    """Return the life that a request began; None if none did."""
    row = connection.execute(lives().where(grant_life.c.request_id == request_id)).one_or_none()
    return life(row) if row else None


def known(connection: Connection) -> dict[str, Known]:
    """Return what is known of every grant, by id."""
    columns = (grant_life.c[name] for name in ("id", "origin", "state", "consumer", "interface", "provider", "terms"))
    return {
        key: Known(origin, State(state), consumer, interface, provider, bytes(document))
        for key, origin, state, consumer, interface, provider, document in connection.execute(select(*columns))
    }


def histories(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[Transition, ...]]:
    """Return every step of some grants, oldest first."""
    steps = grant_transition.c
    found: dict[str, list[Transition]] = defaultdict(list)
    rows = select(grant_transition).where(steps.id.in_(ids)).order_by(steps.id, steps.number)
    for row in connection.execute(rows):
        found[row.id].append(Transition(State(row.state), utc(row.at), row.actor, row.reason))
    return {key: tuple(found[key]) for key in ids}


def utc(moment: dt.datetime) -> dt.datetime:
    """SQLite forgets the offset, so every moment is written, and read, as UTC."""
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


# --- writing ------------------------------------------------------------------------------------------------------------


def begin(connection: Connection, begun: Iterable[tuple[Life, bytes]], request_id: str | None = None) -> None:
    """Write lives that are new, with the documents of their terms. Their first steps are recorded after."""
    rows = (_row(life, document) | {"request_id": request_id} for life, document in begun)
    bulk.execute(connection, insert(grant_life), rows)


def record_first(connection: Connection, by: By, reason: str) -> None:
    """Record the step that brought every life that has none yet to where it is, however many they are."""
    connection.execute(_FIRST, {"at": by.at, "actor": by.actor, "reason": reason})


def record(connection: Connection, steps: Iterable[Step], by: By) -> None:
    """Write down steps, each of another grant, and bring the lives to where they lead."""
    found = list(steps)
    bulk.execute(connection, _BRING, (_after(step) for step in found))
    bulk.execute(
        connection,
        _NEXT,
        ({"of": s.id, "state": s.state.value, "at": by.at, "actor": by.actor, "reason": s.reason} for s in found),
    )


def move(connection: Connection, providers: Iterable[tuple[str, str]]) -> None:
    """Give grants, by id, to the providers that their interfaces have now."""
    bulk.execute(connection, _MOVE, ({"of": key, "to": provider} for key, provider in providers))


def _row(life: Life, document: bytes) -> dict[str, Any]:
    values = {name: getattr(life, name) for name in life.__struct_fields__}
    return values | {"state": life.state.value, "terms": document, "valid_until": _end(document)}


def _after(step: Step) -> dict[str, Any]:
    values = {"of": step.id, "to_state": step.state.value, "to_origin": step.origin}
    return values | {"to_terms": step.document, "to_end": _end(step.document)}


def _end(document: bytes) -> dt.datetime:
    """Return when a grant ends, passing over the rest of its terms."""
    end = _ENDING.decode(document).valid_until
    return min(max(end, _FIRST_END), _LAST_END).astimezone(dt.UTC)


_THIS = grant_life.c.id == bindparam("of")
_BRING = (
    update(grant_life)
    .where(_THIS)
    .values(
        state=bindparam("to_state"),
        origin=bindparam("to_origin"),
        terms=bindparam("to_terms"),
        valid_until=bindparam("to_end"),
    )
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
