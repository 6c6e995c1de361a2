"""The answer as it goes on the wire, in two parts that protobuf lets one simply put behind another.

A decoder merges repeated occurrences of an embedded message (protobuf encoding, "Last One Wins"), so `body` holds what is the
same for everyone who may see the answer and is encoded once, when cached; `tail` holds what is about one call: source, age,
stale. The answer is ``body + tail``; nobody decodes a cached body to send it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from broker.model.call import Answer, Encoding, Record
from broker.model.catalogue import Interface, Level, Provider
from broker.v1 import exchange_pb2 as pb

_ENCODERS: dict[Encoding, Callable[[Any], bytes]] = {
    Encoding.JSON: msgspec.json.encode,
    Encoding.MSGPACK: msgspec.msgpack.encode,
}
_LEVELS = {
    Level.NATIONAL: pb.LEVEL_NATIONAL,
    Level.PROVINCIAL: pb.LEVEL_PROVINCIAL,
    Level.CITY: pb.LEVEL_CITY,
}


def body(interface: Interface, provider: Provider, record: Record, fields: tuple[str, ...], encoding: Encoding) -> bytes:
    """Encode a record, projected to the granted fields, with the lasting part of its provenance."""
    payload = b"" if record.fields is None else _ENCODERS[encoding](_project(record.fields, fields))
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


def _project(record: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {field: record.get(field) for field in fields}


def payload(answer: Answer) -> dict[str, Any]:
    """Return the fields of an answer that was encoded as JSON and found a record."""
    fields: dict[str, Any] = msgspec.json.decode(pb.CallResponse.FromString(answer.body).payload)
    return fields


def wire(answer: Answer) -> bytes:
    """Return a whole `CallResponse` as it goes on the wire."""
    age = Duration(seconds=answer.age_ms // 1000, nanos=answer.age_ms % 1000 * 1_000_000)
    provenance = pb.Provenance(source=pb.Source.ValueType(answer.source), age=age, stale=answer.stale)
    return answer.body + pb.CallResponse(provenance=provenance).SerializeToString()
