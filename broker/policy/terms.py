"""Whether a grant could be in force: what its terms must be, in words for whoever wrote them, and what they must fit to.

Judged when a grant is requested, and once more when it is approved, by what is in force in that transaction. What must not go
in here: who may ask for what (standing.py), and what becomes of a grant (workflow.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import msgspec
from sqlalchemy import Connection, select

from broker.errors import InvalidRequest, Violation
from broker.model.catalogue import Consumer, Grant, Group, Interface, Resource, ShareType
from broker.policy.tables import entry, mount_state
from broker.policy.validate import grant_problems

_CODES = "1 to 64 of A-Z a-z 0-9 . _ / - that begin with a letter or digit"
_COUNT = "must be a whole number from 0 (no limit) to 1000000000000"
_TIME = "must be a time with an offset, like 2027-01-01T00:00:00+08:00"
_YES_OR_NO = "must be true or false"
# What every term must be, for people: the types themselves say it in regular expressions.
RULES: Mapping[str, str] = {
    "consumer": "must be the identifier of a consumer or a group",
    "interface": "must be the identifier of an interface",
    "purposes": f"must be one or more codes, each {_CODES}",
    "fields": "must be one or more names of fields, each 1 to 64 of a-z 0-9 _ that begin with a letter",
    "valid_from": _TIME,
    "valid_until": _TIME,
    "matters": f"must be codes, each {_CODES}",
    "caller_units": f"must be codes, each {_CODES}",
    "hours": "must be like mon-fri 08:30-17:30, sat 09:00-12:00 or daily 00:00-24:00",
    "operator_required": _YES_OR_NO,
    "device_required": _YES_OR_NO,
    "legal_basis": "must be a text",
    "rate_per_second": "must be a number from 0.001 to 1000000",
    "burst": "must be a whole number from 1 to 1000000",
    "quota_per_day": _COUNT,
    "quota_total": _COUNT,
    "subjects_per_day": _COUNT,
    "disclosure": "must be DATA or VERDICT_ONLY",
    "cache_max_age_s": "must be a whole number of seconds, at most 366 days of them",
    "stale_allowed": _YES_OR_NO,
    "embargo_class": "must be a text",
}
_TYPES = {name: kind for name, kind in get_type_hints(Grant, include_extras=True).items() if name != "id"}
_REQUIRED = {field.encode_name for field in msgspec.structs.fields(Grant) if field.required}
_MOUNTED = "MOUNTED"


class Context(msgspec.Struct, frozen=True):
    """What is in force that a grant is judged by."""

    holders: set[str]
    interfaces: dict[str, list[Interface]]  # the versions of the one that is asked for, oldest first
    share_type: ShareType
    mounted: bool


# --- judging: pure ------------------------------------------------------------------------------------------------------


def read(terms: Mapping[str, Any], key: str) -> Grant:
    """Turn plain values into a grant of this id.

    Raises:
        InvalidRequest: names every one that is missing, is none, or does not fit its type.
    """
    found = [Violation(f"terms.{name}", "is required") for name in _TYPES if name in _REQUIRED and name not in terms]
    found += [Violation(f"terms.{name}", "is not a term") for name in terms if name not in _TYPES]
    for name, value in terms.items():
        try:
            msgspec.convert(value, _TYPES.get(name, Any))
        except msgspec.ValidationError as error:
            place = str(error).partition(" - at `$")[2]
            found.append(Violation(f"terms.{name}{place.rstrip('`')}", RULES[name]))
    if found:
        raise InvalidRequest(*found)
    return msgspec.convert({"id": key, **terms}, Grant)


def problems(grant: Grant, context: Context, now: dt.datetime) -> Iterator[Violation]:
    """Yield why a grant could not be in force."""
    for problem in grant_problems(grant, context.holders, context.interfaces):
        field, _, rule = problem.partition(": ")
        yield Violation(f"terms.{field}", rule)
    if grant.valid_until <= now:
        yield Violation("terms.valid_until", "must be in the future")
    if context.share_type is ShareType.NOT_SHARED:
        yield Violation("terms.interface", "is of a resource that is not shared")


# --- what is in force ---------------------------------------------------------------------------------------------------


def surroundings(connection: Connection, grant: Grant) -> Context:
    """Read what is in force and bears upon a grant. An interface without a resource counts as conditional and mounted."""
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
