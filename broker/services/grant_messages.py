"""Turns grants into messages of `grants.proto`, and what a message asks for into plain values.

What must not go in here: whether the terms could be granted (policy/request.py), and who may do what.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from broker.errors import InvalidRequest, Violation
from broker.model.catalogue import Disclosure, Grant
from broker.policy.lives import WORKFLOW, State, Transition
from broker.policy.workflow import Story, shown
from broker.v1 import grants_pb2 as pb

STATES = {
    State.REQUESTED: pb.GRANT_STATE_REQUESTED,
    State.APPROVED: pb.GRANT_STATE_APPROVED,
    State.REJECTED: pb.GRANT_STATE_REJECTED,
    State.PAUSED: pb.GRANT_STATE_PAUSED,
    State.REVOKED: pb.GRANT_STATE_REVOKED,
    State.EXPIRED: pb.GRANT_STATE_EXPIRED,
}
_STATES_BY_NUMBER = {number: state for state, number in STATES.items()}
_DISCLOSURES = {Disclosure.DATA: pb.DISCLOSURE_DATA, Disclosure.VERDICT_ONLY: pb.DISCLOSURE_VERDICT_ONLY}
_DISCLOSURES_BY_NUMBER = {pb.DISCLOSURE_UNSPECIFIED: Disclosure.DATA} | {n: d for d, n in _DISCLOSURES.items()}
# Fields that have the same name and, but for tuples, the same type on both sides.
_LISTS = ("purposes", "matters", "fields", "caller_units", "hours")
_PLAIN = (
    "consumer",
    "interface",
    "legal_basis",
    "quota_per_day",
    "quota_total",
    "subjects_per_day",
    "stale_allowed",
    "embargo_class",
    "operator_required",
    "device_required",
)
_DEFAULT_AT_ZERO = ("rate_per_second", "burst")
_MOMENTS: tuple[Literal["valid_from", "valid_until"], ...] = ("valid_from", "valid_until")


def grant(story: Story, now: dt.datetime) -> pb.Grant:
    """Describe a grant and its life."""
    life, state = story.life, shown(story.life, now)
    message = pb.Grant(
        id=life.id,
        terms=_terms(life.terms),
        state=STATES[state],
        transitions=(_transition(step) for step in story.transitions),
        declared=life.origin != WORKFLOW,
    )
    if state is State.REQUESTED and life.decide_by is not None:
        message.decide_by.CopyFrom(_timestamp(life.decide_by))
    return message


def _terms(terms: Grant) -> pb.GrantTerms:
    plain = {name: getattr(terms, name) for name in (*_PLAIN, *_LISTS, *_DEFAULT_AT_ZERO)}
    message = pb.GrantTerms(
        **plain,
        valid_from=_timestamp(terms.valid_from),
        valid_until=_timestamp(terms.valid_until),
        disclosure=_DISCLOSURES[terms.disclosure],
    )
    if terms.cache_max_age_s is not None:
        message.cache_max_age_s = terms.cache_max_age_s
    return message


def _transition(step: Transition) -> pb.GrantTransition:
    return pb.GrantTransition(state=STATES[step.state], at=_timestamp(step.at), actor=step.actor, reason=step.reason)


def _timestamp(moment: dt.datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def terms(message: pb.GrantTerms) -> dict[str, Any]:
    """Return what a message asks for, by name. What is not set is left out.

    Raises:
        InvalidRequest: a time or the disclosure is none.
    """
    values: dict[str, Any] = {name: getattr(message, name) for name in _PLAIN}
    values |= {name: list(getattr(message, name)) for name in _LISTS}
    values |= {name: getattr(message, name) for name in _DEFAULT_AT_ZERO if getattr(message, name) != 0}
    values |= {name: _moment(message, name) for name in _MOMENTS if message.HasField(name)}
    if message.HasField("cache_max_age_s"):
        values["cache_max_age_s"] = message.cache_max_age_s
    disclosure = _DISCLOSURES_BY_NUMBER.get(message.disclosure)
    if disclosure is None:
        raise InvalidRequest(Violation("terms.disclosure", "is not a disclosure"))
    return values | {"disclosure": disclosure.value}


def _moment(message: pb.GrantTerms, name: str) -> dt.datetime:
    stamp: Timestamp = getattr(message, name)
    try:
        return stamp.ToDatetime(dt.UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(Violation(f"terms.{name}", "is not a time")) from None


def states(numbers: Any) -> frozenset[State]:
    """Return states by their numbers in the contract.

    Raises:
        InvalidRequest: there is no such state.
    """
    found = frozenset(_STATES_BY_NUMBER[number] for number in numbers if number in _STATES_BY_NUMBER)
    if len(found) != len(set(numbers)):
        raise InvalidRequest(Violation("states", "must be states of a grant"))
    return found
