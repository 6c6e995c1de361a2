"""A request for a grant: what it must be to be looked at, until when the provider must have decided, and the life it begins.

Everything is checked against what is in force in the transaction that writes the request down. What must not go in here: what
terms must be (terms.py), who may ask for what (standing.py), and what becomes of the request (workflow.py).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection

from broker.errors import InvalidRequest, Violation, WrongState
from broker.model.catalogue import Grant
from broker.model.change import grant_target
from broker.policy import changes, lives, terms
from broker.policy.calendar import DAYS, working_days_after
from broker.policy.database import Database
from broker.policy.lives import WORKFLOW, By, Life, Step
from broker.policy.store import encode_value
from broker.policy.terms import Context
from broker.policy.workflow import Story, Verb, follow, tell

MAX_TERMS_BYTES = 16_384
MAX_REQUEST_ID_BYTES = 128
MAX_WAITING = 1000  # requests of one consumer or group; approvers have to read them
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: nothing in it is mistaken for anything else


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for: the terms by name, as plain values; what is not given is as in the catalogue directory."""

    terms: Mapping[str, Any]
    actor: str
    caller: str  # within whose requests a request id means something
    method: str = ""  # of the RPC or the command
    request_id: str = ""  # "": every request makes a grant


def request(database: Database, ask: Ask, zone: dt.tzinfo, now: dt.datetime) -> Story:
    """Write a request down; returns the grant it began, or the one that the same request has begun before.

    Raises:
        InvalidRequest: the terms are not such that they could be granted, or the request id was used with other terms.
        WrongState: the consumer has too many requests that wait.
    """
    grant, key = _read(ask.terms), _request_key(ask)
    with database.writing() as connection:
        before = lives.made_by(connection, key) if key else None
        if before is not None:
            if msgspec.structs.replace(before.terms, id=grant.id) != grant:
                raise InvalidRequest(Violation("request_id", "was used with other terms"))
            return tell(connection, before)
        context = terms.surroundings(connection, grant)
        problems = tuple(terms.problems(grant, context, now))
        if problems:
            raise InvalidRequest(*problems)
        if lives.waiting(connection, grant.consumer, now) >= MAX_WAITING:
            raise WrongState(f"the consumer has {MAX_WAITING} requests that wait for a decision, and may have no more")
        life = _begun(msgspec.structs.replace(grant, id=_free_id(connection)), context, zone, now)
        document = encode_value(life.terms)
        lives.begin(connection, [(life, document)], key)
        step = Step(life.id, life.state, WORKFLOW, document, grant.legal_basis)
        by = By(ask.actor, now, ask.method)
        lives.record(connection, [step], by)
        changes.note(connection, by, [(grant_target(life.id), life.state.value)])
        return tell(connection, life)


# --- judging: pure ------------------------------------------------------------------------------------------------------


def _read(asked: Mapping[str, Any]) -> Grant:
    grant = terms.read(asked, "new")
    found = [
        Violation(f"terms.{name}", "must be printable characters")
        for name in ("legal_basis", "embargo_class")
        if not getattr(grant, name).isprintable()
    ]
    if len(encode_value(grant)) > MAX_TERMS_BYTES:
        found.append(Violation("terms", f"must not be larger than {MAX_TERMS_BYTES} bytes"))
    if found:
        raise InvalidRequest(*found)
    return grant


def _request_key(ask: Ask) -> str | None:
    """Return what stands for a request id of this caller; consumers do not share request ids."""
    if len(ask.request_id.encode()) > MAX_REQUEST_ID_BYTES:
        raise InvalidRequest(Violation("request_id", f"must not be longer than {MAX_REQUEST_ID_BYTES} bytes"))
    return hashlib.sha256(f"{ask.caller}\0{ask.request_id}".encode()).hexdigest() if ask.request_id else None


def _begun(grant: Grant, context: Context, zone: dt.tzinfo, now: dt.datetime) -> Life:
    days = DAYS[context.share_type, context.mounted]
    return Life(
        id=grant.id,
        origin=WORKFLOW,
        state=follow(None, Verb.REQUEST),
        consumer=grant.consumer,
        interface=grant.interface,
        provider=context.interfaces[grant.interface][-1].provider,
        terms=grant,
        requested_at=now,
        decide_by=working_days_after(now, days, zone),
    )


def _free_id(connection: Connection) -> str:
    """Return an identifier that nobody has: 'r', the time in milliseconds, so that later ones come later, and chance."""
    while True:
        number = (time.time_ns() // 1_000_000 << 20) | secrets.randbits(20)
        found = "r" + "".join(_ALPHABET[number >> shift & 31] for shift in range(60, -5, -5))
        if lives.read(connection, found) is None:
            return found
