"""The life of a grant: what may follow on what, and carrying it out in one transaction of the control plane.

A grant is in force exactly while it is APPROVED and not over; the step and its effect are one transaction, so that running
cores see neither without the other. What must not go in here: who may do what (standing.py), what the catalogue directory says
(declared.py), and any use from the event loop (all calls block; callers use a thread).
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from broker.errors import InvalidRequest, NotFound, WrongState
from broker.model.change import grant_target
from broker.policy import changes, lives, terms
from broker.policy.database import Database
from broker.policy.lives import REMOVED, WORKFLOW, By, Life, State, Step, Transition
from broker.policy.store import encode_value, new_revision, put_in_force, take_out_of_force
from broker.policy.wording import CLOCK

MAX_STEPS = 1000  # of a grant that may be approved once more: its history is told in one message


class Verb(enum.StrEnum):
    """What is done to a grant."""

    REQUEST = "request"
    APPROVE = "approve"
    REJECT = "reject"
    PAUSE = "pause"
    REVOKE = "revoke"
    EXPIRE = "expire"


# Every pair that is not here is refused. None: there is no such grant yet.
FOLLOWS: Mapping[tuple[State | None, Verb], State] = {
    (None, Verb.REQUEST): State.REQUESTED,
    (State.REQUESTED, Verb.APPROVE): State.APPROVED,
    (State.REQUESTED, Verb.REJECT): State.REJECTED,
    (State.REQUESTED, Verb.REVOKE): State.REVOKED,  # withdrawn
    (State.REQUESTED, Verb.EXPIRE): State.EXPIRED,
    (State.APPROVED, Verb.PAUSE): State.PAUSED,
    (State.APPROVED, Verb.REVOKE): State.REVOKED,
    (State.APPROVED, Verb.EXPIRE): State.EXPIRED,
    (State.PAUSED, Verb.APPROVE): State.APPROVED,
    (State.PAUSED, Verb.REVOKE): State.REVOKED,
    (State.PAUSED, Verb.EXPIRE): State.EXPIRED,
}
EXPIRES = frozenset(state for state, verb in FOLLOWS if verb is Verb.EXPIRE and state)


class Story(msgspec.Struct, frozen=True):
    """A grant and every step of its life, oldest first."""

    life: Life
    transitions: tuple[Transition, ...]


class Decision(NamedTuple):
    """What somebody wants done to a grant, and why."""

    verb: Verb
    actor: str
    reason: str = ""
    method: str = ""  # of the RPC or the command


# --- deciding: pure -----------------------------------------------------------------------------------------------------


def follow(state: State | None, verb: Verb) -> State:
    """Return the state that a verb leads to.

    Raises:
        WrongState: it cannot follow on that state.
    """
    try:
        return FOLLOWS[state, verb]
    except KeyError:
        raise WrongState(f"the grant is {state}: {verb} cannot follow on that") from None


def shown(life: Life, now: dt.datetime) -> State:
    """Return where a grant is, told as expired from the moment it is over and not only when that has been written down."""
    return State.EXPIRED if life.state in EXPIRES and life.terms.valid_until <= now else life.state


def is_overdue(life: Life, now: dt.datetime) -> bool:
    """Whether the provider should have decided."""
    return shown(life, now) is State.REQUESTED and life.decide_by is not None and life.decide_by <= now


def decide(life: Life, verb: Verb, now: dt.datetime) -> State:
    """Return what becomes of a grant.

    Raises:
        WrongState: the verb cannot follow on where the grant is.
    """
    state = follow(shown(life, now), verb)
    if state is State.APPROVED and life.origin == REMOVED:
        raise WrongState(f"the grant is {life.state}, and no longer stands in the catalogue directory")
    return state


_SLICE = 500

# --- acting -------------------------------------------------------------------------------------------------------------

Permit = Callable[[Life], None]  # raises where the caller may not do to this grant what it wants done


def act(database: Database, grant_id: str, decision: Decision, permit: Permit, now: dt.datetime) -> Story:
    """Do something to a grant; returns it as it is afterwards.

    Raises:
        NotFound: there is no such grant.
        WrongState: it cannot follow on where the grant is, or what is in force.
        CallerError: whatever `permit` raises.
    """
    with database.writing() as connection:
        life = lives.read(connection, grant_id)
        if life is None:
            raise NotFound("no such grant")
        permit(life)
        state = decide(life, decision.verb, now)
        if state is State.APPROVED:
            _check_approvable(connection, life, now)
        move(connection, [life], state, decision, now)
        return tell(connection, msgspec.structs.replace(life, state=state))


def _check_approvable(connection: Connection, life: Life, now: dt.datetime) -> None:
    """Much may have changed since the request. A declared grant was judged, with its directory, when that was applied.

    Only approving is ever refused for the length of the history: whatever is in force can be stopped.
    """
    if lives.length(connection, life.id) >= MAX_STEPS:
        raise WrongState(f"the grant has had {MAX_STEPS} steps, as many as it may; ask for a new grant")
    if life.origin == WORKFLOW:
        found = tuple(terms.problems(life.terms, terms.surroundings(connection, life.terms), now))
        if found:
            raise WrongState(f"the grant cannot be approved as things are: {InvalidRequest(*found)}")


def expire_due(database: Database, now: dt.datetime) -> int:
    """Write down of every grant that is over that it is; returns how many.

    They are looked for without keeping anybody from writing, and looked at again before it is written down, some at a time.
    """
    with database.reading() as connection:
        due = lives.over(connection, EXPIRES, now)
    decision, expired = Decision(Verb.EXPIRE, CLOCK, "valid_until has passed"), 0
    for at in range(0, len(due), _SLICE):
        with database.writing() as connection:
            found = [life for life in lives.read_all(connection, due[at : at + _SLICE]) if shown(life, now) is not life.state]
            move(connection, found, State.EXPIRED, decision, now)
            expired += len(found)
    return expired


def move(connection: Connection, moved: Iterable[Life], state: State, decision: Decision, now: dt.datetime) -> None:
    """Record that grants have gone over to a state, and put them in force or take them out accordingly."""
    found, by, version = list(moved), By(decision.actor, now, decision.method), None
    steps = [Step(life.id, state, life.origin, encode_value(life.terms), decision.reason) for life in found]
    lives.record(connection, steps, by)
    ended = [("grants", life.id) for life in found if life.state is State.APPROVED and state is not State.APPROVED]
    if ended:
        version = new_revision(connection, removed=len(ended))
        take_out_of_force(connection, version, ended)
    if state is State.APPROVED:
        version = new_revision(connection, added=len(found))
        for life in found:
            put_in_force(connection, version, life.origin, {("grants", life.id): encode_value(life.terms)})
    changes.note(connection, by, ((grant_target(life.id), state.value) for life in found), version)


def tell(connection: Connection, life: Life) -> Story:
    """Return a grant with its history."""
    return Story(life, lives.histories(connection, [life.id])[life.id])
