"""`ExchangeService`: translates a call and its answer, and counts it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc

from broker import exchange
from broker.errors import BrokerError, InvalidRequest, Violation
from broker.model.body import wire
from broker.model.call import Answer, Encoding, Request, Source
from broker.telemetry import metrics
from broker.v1 import exchange_pb2 as pb

_ENCODINGS = {
    pb.ENCODING_UNSPECIFIED: Encoding.JSON,
    pb.ENCODING_JSON: Encoding.JSON,
    pb.ENCODING_MSGPACK: Encoding.MSGPACK,
}
_BEARER = "bearer "


class ExchangeService:
    """Answers consumers."""

    def __init__(self, broker: exchange.Exchange) -> None:
        self._broker = broker

    async def Call(self, message: pb.CallRequest, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        """Answer one question; see `broker/exchange.py`."""
        try:
            request = _request(message, previous_attempts(context))
            answer = await exchange.call(self._broker, request, token(context), context.time_remaining())
        except BrokerError as error:
            self._count_failure(message, error)
            raise
        _count(answer)
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


def token(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the application token of a call, or "" if there is not exactly one."""
    found = _values(context, "authorization")
    if len(found) != 1 or not isinstance(found[0], str) or found[0][: len(_BEARER)].lower() != _BEARER:
        return ""
    return found[0][len(_BEARER) :]


def previous_attempts(context: grpc.aio.ServicerContext[Any, Any]) -> int:
    """Return how often the caller's library says it has sent this call before (gRFC A6)."""
    said = _values(context, "grpc-previous-rpc-attempts")
    return 1 if said and said != ["0"] else 0  # whatever it says, it is not the first


def _values(context: grpc.aio.ServicerContext[Any, Any], key: str) -> list[str | bytes]:
    metadata: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    return [value for name, value in metadata if name == key]


def _request(message: pb.CallRequest, attempts: int) -> Request:
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise InvalidRequest(Violation("encoding", "must be ENCODING_JSON or ENCODING_MSGPACK"))
    return Request(
        interface=message.interface,
        arguments=message.arguments,
        purpose=message.purpose,
        version=message.version,
        matter=message.matter,
        operator=message.operator,
        case_id=message.case_id,
        max_age_ms=_max_age_ms(message),
        encoding=encoding,
        previous_attempts=attempts,
    )


def _max_age_ms(message: pb.CallRequest) -> int | None:
    if not message.HasField("max_age"):
        return None
    age_ms = message.max_age.seconds * 1000 + message.max_age.nanos // 1_000_000
    if age_ms < 0:
        raise InvalidRequest(Violation("max_age", "must not be negative"))
    return age_ms
