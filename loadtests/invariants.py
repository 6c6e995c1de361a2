"""What must hold of every answer, whatever the load. One function an invariant, in one table.

An invariant gets what was asked (with the register's own record) and the message that came back, and says what is wrong: names
of fields and rules, never a value, or "" when it holds. What must not go in here: Locust, gRPC, and counting (tally.py).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from broker.demo.question import RHYTHMS
from broker.model.catalogue import Freshness
from broker.v1 import exchange_pb2 as pb
from loadtests.mix import Asked

_CLOCK_SLACK_S = 1.0  # between our clock reading and the broker's
_LEVELS = {"NATIONAL": pb.LEVEL_NATIONAL, "PROVINCIAL": pb.LEVEL_PROVINCIAL, "CITY": pb.LEVEL_CITY}


class Seen(NamedTuple):
    """One answer beside its question."""

    asked: Asked
    answer: pb.CallResponse
    payload: Mapping[str, Any]
    received_at: dt.datetime

    @property
    def freshness(self) -> Freshness:
        """What the interface allows."""
        return RHYTHMS[self.asked.question.rhythm].freshness

    @property
    def age_s(self) -> float:
        """Age as the answer tells it."""
        return self.answer.provenance.age.ToTimedelta().total_seconds()

    @property
    def ttl_s(self) -> tuple[float, float]:
        """Least and greatest time to live of such an answer, after jitter."""
        fresh = self.freshness
        ttl = fresh.ttl_s if self.asked.record else fresh.negative_ttl_s
        return ttl * (1 - fresh.jitter_ratio), ttl * (1 + fresh.jitter_ratio)


def _outcome(seen: Seen) -> str:
    expected = pb.OUTCOME_FOUND if seen.asked.record else pb.OUTCOME_NOT_FOUND
    return "" if seen.answer.outcome == expected else "the outcome is not the register's"


def _empty(seen: Seen) -> str:
    empty = seen.answer.outcome == pb.OUTCOME_NOT_FOUND
    return "no record, but a payload" if empty and seen.answer.payload else ""


def _mask(seen: Seen) -> str:
    return _fields("outside the grant", seen.payload.keys() - seen.asked.granted)


def _complete(seen: Seen) -> str:
    expected = seen.asked.granted if seen.answer.outcome == pb.OUTCOME_FOUND else frozenset()
    return _fields("granted, not given", expected - seen.payload.keys())


def _subject(seen: Seen) -> str:
    word = seen.asked.question.keys[0]
    return "" if seen.payload.get(word, seen.asked.arguments[word]) == seen.asked.arguments[word] else "another subject"


def _record(seen: Seen) -> str:
    held = seen.asked.record or {}
    return _fields("not as the register has them", {word for word, value in seen.payload.items() if held.get(word) != value})


def _fields(what: str, words: set[str] | frozenset[str]) -> str:
    return f"{what}: {', '.join(sorted(words))}" if words else ""


def _interface(seen: Seen) -> str:
    said, question = seen.answer.provenance, seen.asked.question
    expected = (question.id, question.department, _LEVELS[question.owner.level])
    right = (said.interface, said.provider, said.level) == expected and said.version >= 1
    return "" if right else "provenance names another interface, version, provider or level"


def _digest(seen: Seen) -> str:
    same = seen.answer.provenance.digest == hashlib.sha256(seen.answer.payload).digest()
    return "" if same else "the digest is not the payload's"


def _age(seen: Seen) -> str:
    said = seen.answer.provenance
    if not said.HasField("fetched_at") or not said.HasField("age") or seen.age_s < 0:
        return "no time, or a negative age"
    elapsed_s = (seen.received_at - said.fetched_at.ToDatetime(tzinfo=dt.UTC)).total_seconds()
    return "" if elapsed_s - seen.age_s >= -_CLOCK_SLACK_S else "fetched later than its age says"


def _source(seen: Seen) -> str:
    said = seen.answer.provenance
    if said.source == pb.SOURCE_UPSTREAM:
        return "fresh from the provider, but aged or stale" if seen.age_s or said.stale else ""
    if said.source != pb.SOURCE_CACHE:
        return "from neither provider nor cache"
    return "" if seen.freshness.cacheable else "from the cache, which the interface does not allow"


def _stale(seen: Seen) -> str:
    least_s, most_s = seen.ttl_s
    fresh = seen.freshness
    if not seen.answer.provenance.stale:
        return "older than its time to live, and not marked stale" if seen.age_s > most_s else ""
    allowed_s = most_s + max(fresh.stale_while_revalidate_s, fresh.stale_if_error_s)
    if allowed_s == most_s or seen.age_s > allowed_s:
        return "stale, which the interface does not allow"
    return "marked stale within its time to live" if seen.age_s < least_s else ""


INVARIANTS: dict[str, Callable[[Seen], str]] = {
    "outcome is the register's": _outcome,
    "no record, no payload": _empty,
    "no field outside the grant": _mask,
    "every granted field": _complete,
    "about the subject asked": _subject,
    "values are the register's": _record,
    "provenance names the interface asked": _interface,
    "digest is the payload's": _digest,
    "age is coherent": _age,
    "source is allowed": _source,
    "stale only where allowed": _stale,
}


def broken(asked: Asked, answer: pb.CallResponse, received_at: dt.datetime) -> dict[str, str]:
    """Return what is wrong with an answer, by invariant; nothing when all is well."""
    try:
        payload = msgspec.json.decode(answer.payload, type=dict[str, Any]) if answer.payload else {}
    except msgspec.DecodeError:
        return {"the payload is a JSON object": "it is not"}
    seen = Seen(asked, answer, payload, received_at)
    return {name: wrong for name, holds in INVARIANTS.items() if (wrong := holds(seen))}
