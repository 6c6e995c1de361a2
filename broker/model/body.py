"""The answer as it goes on the wire, in two parts that protobuf lets one simply put behind another.

A decoder merges repeated occurrences of an embedded message (protobuf encoding, "Last One Wins"), so `body` holds what is the
same for everyone who may see the answer and is encoded once, when cached; `tail` holds what is about one call: source, age,
stale. The answer is ``body + tail``; nobody decodes a cached body to send it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from broker.model.call import Answer, Encoding, Record
from broker.model.catalogue import Interface, Level, Provider
from broker.model.payload import decoded, encoded
from broker.v1 import exchange_pb2 as pb

_LEVELS = {
    Level.NATIONAL: pb.LEVEL_NATIONAL,
    Level.PROVINCIAL: pb.LEVEL_PROVINCIAL,
    Level.CITY: pb.LEVEL_CITY,
}


def body(interface: Interface, provider: Provider, record: Record, fields: tuple[str, ...], encoding: Encoding) -> bytes:
    """Encode a record, projected to the granted fields, with the lasting part of its provenance."""
    payload = encoded(record.fields, fields, encoding)
    provenance = pb.Provenance(
        level=_LEVELS[provider.level],
        provider=provider.id,
        interface=interface.id,
        version=interface.version,
        fetched_at=Timestamp(seconds=record.fetched_at_ms // 1000, nanos=record.fetched_at_ms % 1000 * 1_000_000),
        digest=hashlib.sha256(payload).digest(),
    )
    outcome = pb.OUTCOME_NOT_FOUND if record.fields is None else pb.OUTCOME_FOUND
    return pb.CallResponse(outcome=outcome, payload=payload, provenance=provenance).SerializeToString()


def payload(answer: Answer) -> dict[str, Any]:
    """Return the fields of an answer that was encoded as JSON and found a record."""
    return decoded(pb.CallResponse.FromString(answer.body).payload)


def digest(answer: Answer) -> bytes:
    """Return the SHA-256 of the payload of an answer, as its provenance has it."""
    return pb.CallResponse.FromString(answer.body).provenance.digest


def wire(answer: Answer) -> bytes:
    """Return a whole `CallResponse` as it goes on the wire."""
    age = Duration(seconds=answer.age_ms // 1000, nanos=answer.age_ms % 1000 * 1_000_000)
    provenance = pb.Provenance(source=pb.Source.ValueType(answer.source), age=age, stale=answer.stale)
    return answer.body + pb.CallResponse(provenance=provenance, audit_id=answer.audit_id).SerializeToString()
