"""A request for a grant: what it must be to be looked at, until when the provider must have decided, and the life it begins.

Everything is checked against what is in force in the transaction that writes the request down. What must not go in here: who
may ask for what (standing.py), and what becomes of the request (workflow.py).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import msgspec
from sqlalchemy import Connection, select

from broker.errors import InvalidRequest, Violation
from broker.model.catalogue import Consumer, Grant, Group, Interface, Resource, ShareType
from broker.policy import lives
from broker.policy.calendar import DAYS, working_days_after
from broker.policy.database import Database
from broker.policy.lives import WORKFLOW, By, Life, Step
from broker.policy.store import encode_value
from broker.policy.tables import entry, mount_state
from broker.policy.validate import grant_problems
from broker.policy.workflow import Story, Verb, follow, tell

MAX_TERMS_BYTES = 16_384
MAX_REQUEST_ID_BYTES = 128
_MOUNTED = "MOUNTED"
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: nothing in it is mistaken for anything else
_TYPES = {name: kind for name, kind in get_type_hints(Grant, include_extras=True).items() if name != "id"}
_REQUIRED = {field.encode_name for field in msgspec.structs.fields(Grant) if field.required}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for: the terms by name, as plain values; what is not given is as in the catalogue directory."""

    terms: Mapping[str, Any]
    actor: str
    caller: str  # within whose requests a request id means something
    request_id: str = ""  # "": every request makes a grant


class Context(msgspec.Struct, frozen=True):
    """What is in force that a request is judged by."""

    holders: set[str]
    interfaces: dict[str, list[Interface]]  # the versions of the one that is asked for, oldest first
    share_type: ShareType
    mounted: bool


def request(database: Database, ask: Ask, zone: dt.tzinfo, now: dt.datetime) -> Story:
    """Write a request down; returns the grant it began, or the one that the same request has begun before.

    Raises:
        InvalidRequest: the terms are not such that they could be granted, or the request id was used with other terms.
    """
    grant, key = _read(ask.terms), _request_key(ask)
    with database.writing() as connection:
        before = lives.made_by(connection, key) if key else None
        if before is not None:
            if msgspec.structs.replace(before.terms, id=grant.id) != grant:
                raise InvalidRequest(Violation("request_id", "was used with other terms"))
            return tell(connection, before)
        context = _context(connection, grant)
        problems = tuple(_problems(grant, context, now))
        if problems:
            raise InvalidRequest(*problems)
        life = _begun(msgspec.structs.replace(grant, id=_free_id(connection)), context, zone, now)
        document = encode_value(life.terms)
        lives.begin(connection, [(life, document)], key)
        step = Step(life.id, life.state, WORKFLOW, document, grant.legal_basis)
        lives.record(connection, [step], By(ask.actor, now))
        return tell(connection, life)


# --- judging: pure ------------------------------------------------------------------------------------------------------


def _read(terms: Mapping[str, Any]) -> Grant:
    """Turn plain values into terms, naming every one that does not fit its type."""
    found = [Violation(f"terms.{name}", "is required") for name in _TYPES if name in _REQUIRED and name not in terms]
    found += [Violation(f"terms.{name}", "is not a term") for name in terms if name not in _TYPES]
    for name, value in terms.items():
        try:
            msgspec.convert(value, _TYPES.get(name, Any))
        except msgspec.ValidationError as error:
            rule, _, place = str(error).partition(" - at `$")
            found.append(Violation(f"terms.{name}{place.rstrip('`')}", rule))
    if found:
        raise InvalidRequest(*found)
    grant = msgspec.convert({"id": "new", **terms}, Grant)
    if len(encode_value(grant)) > MAX_TERMS_BYTES:
        raise InvalidRequest(Violation("terms", f"must not be larger than {MAX_TERMS_BYTES} bytes"))
    return grant


def _request_key(ask: Ask) -> str | None:
    """Return what stands for a request id of this caller; consumers do not share request ids."""
    if len(ask.request_id.encode()) > MAX_REQUEST_ID_BYTES:
        raise InvalidRequest(Violation("request_id", f"must not be longer than {MAX_REQUEST_ID_BYTES} bytes"))
    return hashlib.sha256(f"{ask.caller}\0{ask.request_id}".encode()).hexdigest() if ask.request_id else None


def _problems(grant: Grant, context: Context, now: dt.datetime) -> Iterator[Violation]:
    for problem in grant_problems(grant, context.holders, context.interfaces):
        field, _, rule = problem.partition(": ")
        yield Violation(f"terms.{field}", rule)
    for name in ("legal_basis", "embargo_class"):
        if not getattr(grant, name).isprintable():
            yield Violation(f"terms.{name}", "must be printable characters")
    if grant.valid_until <= now:
        yield Violation("terms.valid_until", "must be in the future")
    if context.share_type is ShareType.NOT_SHARED:
        yield Violation("terms.interface", "is of a resource that is not shared")


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


# --- what is in force ---------------------------------------------------------------------------------------------------


def _context(connection: Connection, grant: Grant) -> Context:
    """Read what is in force and bears upon a request. An interface without a resource counts as conditional and mounted."""
    found = sorted(_interfaces(connection, grant.interface), key=lambda interface: interface.version)
    code = found[-1].resource if found else ""
    (resource,) = _values(connection, "resources", code, Resource) or (None,)
    state = connection.execute(select(mount_state.c.state).where(mount_state.c.resource == code)).scalar_one_or_none()
    holders = [
        *_values(connection, "consumers", grant.consumer, Consumer),
        *_values(connection, "groups", grant.consumer, Group),
    ]
    return Context(
        holders={holder.id for holder in holders},
        interfaces={grant.interface: found} if found else {},
        share_type=resource.share_type if resource else ShareType.CONDITIONAL,
        mounted=state is None or state == _MOUNTED,  # as long as no probe has found otherwise
    )


def _interfaces(connection: Connection, name: str) -> list[Interface]:
    rows = select(entry.c.document).where(entry.c.kind == "interfaces", entry.c.key.startswith(f"{name}@", autoescape=True))
    return [msgspec.msgpack.decode(document, type=Interface) for document in connection.execute(rows).scalars()]


def _values(connection: Connection, kind: str, key: str, type_: Any) -> list[Any]:
    rows = select(entry.c.document).where(entry.c.kind == kind, entry.c.key == key)
    return [msgspec.msgpack.decode(document, type=type_) for document in connection.execute(rows).scalars()]


def _free_id(connection: Connection) -> str:
    """Return an identifier that nobody has: 'r', the time in milliseconds, so that later ones come later, and chance."""
    while True:
        number = (time.time_ns() // 1_000_000 << 20) | secrets.randbits(20)
        found = "r" + "".join(_ALPHABET[number >> shift & 31] for shift in range(60, -5, -5))
        if lives.read(connection, found) is None:
            return found
