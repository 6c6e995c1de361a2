"""`ExchangeService`: translates a call and its answer, and counts it."""

from __future__ import annotations

from typing import Any

import grpc

from broker import exchange
from broker.errors import BrokerError, InvalidRequest, Unauthenticated, Violation
from broker.model.body import wire
from broker.model.call import Answer, Encoding, Request, Source
from broker.services import caller
from broker.telemetry import metrics
from broker.v1 import exchange_pb2 as pb

_ENCODINGS = {
    pb.ENCODING_UNSPECIFIED: Encoding.JSON,
    pb.ENCODING_JSON: Encoding.JSON,
    pb.ENCODING_MSGPACK: Encoding.MSGPACK,
}

_SNAPSHOT_VERSION = "broker-snapshot-version"


class ExchangeService:
    """Answers consumers."""

    def __init__(self, broker: exchange.Exchange) -> None:
        self._broker = broker

    async def Call(self, message: pb.CallRequest, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        """Answer one question; see `broker/exchange.py`."""
        try:
            request = _request(message, context)
            peer = caller.peer(context)
            answer = await exchange.call(self._broker, request, peer, context.time_remaining())
        except BrokerError as error:
            self._count_failure(message, error)
            if not isinstance(error, Unauthenticated):
                context.set_trailing_metadata(((_SNAPSHOT_VERSION, str(self._broker.snapshot.version)),))
            raise
        _count(answer)
        note = self._broker.identifier.note(peer) if caller.is_relayed(context) else None
        context.set_trailing_metadata((*_trailing(answer), *(((caller.PROOF, note),) if note else ())))
        return wire(answer)

    def _count_failure(self, message: pb.CallRequest, error: BrokerError) -> None:
        interface = self._broker.snapshot.interfaces.get((message.interface, message.version))
        if interface is None:
            metrics.calls.labels("UNKNOWN", "unknown", error.reason, "NONE").inc()
        else:
            level = self._broker.snapshot.providers[interface.provider].level
            metrics.calls.labels(level, interface.id, error.reason, "NONE").inc()


def _count(answer: Answer) -> None:
    outcome = "FOUND" if answer.found else "NOT_FOUND"
    source = "STALE" if answer.stale else Source(answer.source).name
    metrics.calls.labels(answer.level, answer.interface.id, outcome, source).inc()


def _trailing(answer: Answer) -> tuple[tuple[str, str], ...]:
    """Tell by which snapshot the call was decided, and what is left of the grant's limits."""
    left = answer.remaining
    counts = {"burst": left.burst, "quota-day": left.today, "quota-total": left.total} if left else {}
    remaining = ((f"broker-remaining-{name}", str(count)) for name, count in counts.items() if count is not None)
    return ((_SNAPSHOT_VERSION, str(answer.snapshot_version)), *remaining)


def _request(message: pb.CallRequest, context: caller.Context) -> Request:
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise InvalidRequest(Violation("encoding", "must be ENCODING_JSON or ENCODING_MSGPACK"))
    return Request(
        interface=message.interface,
        arguments=message.arguments,
        purpose=message.purpose,
        version=message.version,
        matter=message.matter,
        operator=_operator(message, context),
        unit=caller.said(context, caller.UNIT),
        device=caller.said(context, caller.DEVICE),
        case_id=message.case_id,
        max_age_ms=_max_age_ms(message),
        encoding=encoding,
        previous_attempts=caller.previous_attempts(context),
    )


def _operator(message: pb.CallRequest, context: caller.Context) -> str:
    """The person behind the call, who may stand in the message, in the metadata of a gateway, or in both alike."""
    stated = caller.said(context, caller.OPERATOR)
    if stated and message.operator and stated != message.operator:
        raise InvalidRequest(Violation("operator", f"must be that of the metadata {caller.OPERATOR}"))
    return message.operator or stated


def _max_age_ms(message: pb.CallRequest) -> int | None:
    if not message.HasField("max_age"):
        return None
    age_ms = message.max_age.seconds * 1000 + message.max_age.nanos // 1_000_000
    if age_ms < 0:
        raise InvalidRequest(Violation("max_age", "must not be negative"))
    return age_ms
