"""An answer as a consumer's program wants it: decoded fields and provenance with Python's own times."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from broker.v1 import exchange_pb2 as pb


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where an answer comes from and how old it is."""

    source: str  # UPSTREAM or CACHE
    level: str  # NATIONAL, PROVINCIAL or CITY
    provider: str
    interface: str
    version: int
    fetched_at: dt.datetime
    age_s: float
    stale: bool
    digest: str  # SHA-256 of the payload, hexadecimal


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider holds about the subject, as far as the grant shows it."""

    found: bool
    fields: dict[str, Any]
    provenance: Provenance


def from_message(message: pb.CallResponse) -> Answer:
    """Decode a response whose payload is JSON."""
    provenance = message.provenance
    return Answer(
        found=message.outcome == pb.OUTCOME_FOUND,
        fields=msgspec.json.decode(message.payload) if message.payload else {},
        provenance=Provenance(
            source=pb.Source.Name(provenance.source).removeprefix("SOURCE_"),
            level=pb.Level.Name(provenance.level).removeprefix("LEVEL_"),
            provider=provenance.provider,
            interface=provenance.interface,
            version=provenance.version,
            fetched_at=provenance.fetched_at.ToDatetime(tzinfo=dt.UTC),
            age_s=provenance.age.ToTimedelta().total_seconds(),
            stale=provenance.stale,
            digest=provenance.digest.hex(),
        ),
    )
