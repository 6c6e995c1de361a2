"""An answer as a consumer's program wants it: decoded fields and provenance with Python's own times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.v1 import exchange_pb2 as pb


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where an answer comes from and how old it is."""

    source: str  # UPSTREAM, CACHE or RECORDS
    level: str  # NATIONAL, PROVINCIAL or CITY
    provider: str
    interface: str
    version: int
    fetched_at: dt.datetime
    age_s: float
    stale: bool
    digest: str  # SHA-256 of the payload, hexadecimal; "" of a comparison, which has none


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider holds about the subject, as far as the grant shows it."""

    found: bool
    fields: dict[str, Any]
    provenance: Provenance


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one asserted field."""

    verdict: str  # MATCH, CLOSE, MISMATCH or NOT_HELD
    score: float  # how alike the two are where the verdict is CLOSE, in (0, 1); else 0


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison says of a subject."""

    found: bool
    verdicts: dict[str, Compared]
    status: str  # VALID, CANCELLED, DECEASED or EXPIRED; "" if not known
    overall: str  # as `verdict`; "" where there is no record
    provenance: Provenance


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One subject that a search found."""

    probability: float  # that it is the one meant, in [0, 1]
    decision: str  # LINK, REVIEW or NONE
    verdicts: dict[str, Compared]
    fields: dict[str, Any]  # what the grant shows; empty where that is verdicts alone
    guards: tuple[str, ...]  # what lowered the decision, e.g. TWIN


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """Who may be meant, the most probable first, and the advice over all."""

    candidates: tuple[Candidate, ...]
    decision: str  # as a candidate's


def from_message(message: pb.CallResponse) -> Answer:
    """Decode a response whose payload is JSON."""
    return Answer(
        found=message.outcome == pb.OUTCOME_FOUND,
        fields=msgspec.json.decode(message.payload) if message.payload else {},
        provenance=_provenance(message.provenance),
    )


def from_match(message: pb.MatchResponse) -> Matched:
    """Decode a comparison."""
    return Matched(
        found=message.outcome == pb.OUTCOME_FOUND,
        verdicts=_verdicts(message.verdicts),
        status=_named(pb.SubjectStatus.Name(message.status), "SUBJECT_STATUS_"),
        overall=_verdict(message.overall),
        provenance=_provenance(message.provenance),
    )


def from_search(message: pb.SearchResponse) -> Searched:
    """Decode what a search found."""
    found = tuple(
        Candidate(
            probability=one.probability,
            decision=_named(pb.Decision.Name(one.decision), "DECISION_"),
            verdicts=_verdicts(one.verdicts),
            fields=msgspec.json.decode(one.payload) if one.payload else {},
            guards=tuple(one.guards),
        )
        for one in message.candidates
    )
    return Searched(candidates=found, decision=_named(pb.Decision.Name(message.decision), "DECISION_"))


def _verdicts(found: Mapping[str, pb.FieldVerdict]) -> dict[str, Compared]:
    return {name: Compared(verdict=_verdict(one.verdict), score=one.score) for name, one in found.items()}


def _verdict(value: pb.Verdict.ValueType) -> str:
    return _named(pb.Verdict.Name(value), "VERDICT_")


def _named(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).removeprefix("UNSPECIFIED")


def _provenance(message: pb.Provenance) -> Provenance:
    return Provenance(
        source=_named(pb.Source.Name(message.source), "SOURCE_"),
        level=_named(pb.Level.Name(message.level), "LEVEL_"),
        provider=message.provider,
        interface=message.interface,
        version=message.version,
        fetched_at=message.fetched_at.ToDatetime(tzinfo=dt.UTC),
        age_s=message.age.ToTimedelta().total_seconds(),
        stale=message.stale,
        digest=message.digest.hex(),
    )
