"""Turns an error of ours into a `google.rpc.Status` with the details that AIP-193 asks for.

Every error has ErrorInfo (reason, domain, metadata.origin) and RequestInfo; wrong fields come as BadRequest, a used-up
allowance as QuotaFailure, and where asking again can help, RetryInfo says when.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from broker.errors import BrokerError, InvalidRequest, LimitExceeded

DOMAIN = "broker.v1"
# Server pushback (gRFC A6): the broker has asked the provider; a client that asked again at once would multiply the load.
_DO_NOT_RETRY = ("grpc-retry-pushback-ms", "-1")


def to_status(error: BrokerError, request_id: str, trailing: Sequence[tuple[str, str | bytes]] = ()) -> grpc.Status:
    """Return what `ServicerContext.abort_with_status` takes, which forgets the trailing metadata that was set before."""
    status = Status(code=grpc.StatusCode[error.code].value[0], message=str(error))
    status.details.extend(_packed(detail) for detail in _details(error, request_id))
    packed: grpc.Status = rpc_status.to_status(status)
    pushback = (_DO_NOT_RETRY,) if error.origin == "UPSTREAM" else ()
    return packed._replace(trailing_metadata=(*packed.trailing_metadata, *trailing, *pushback))  # type: ignore[attr-defined,no-any-return]


def _details(error: BrokerError, request_id: str) -> list[Message]:
    metadata = {"origin": error.origin, **{name: text for name, text in error.metadata().items() if text}}
    details: list[Message] = [ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if isinstance(error, InvalidRequest):
        violations = [BadRequest.FieldViolation(field=v.field, description=v.rule) for v in error.violations]
        details.append(BadRequest(field_violations=violations))
    if isinstance(error, LimitExceeded):
        details.append(
            QuotaFailure(violations=[QuotaFailure.Violation(subject=f"grants/{error.grant}", description=error.limit)])
        )
    if error.retry_after_s is not None:
        details.append(RetryInfo(retry_delay=_duration(error.retry_after_s)))
    return [*details, RequestInfo(request_id=request_id)]


def _duration(seconds: float) -> Duration:
    nanos = round(seconds * 1_000_000_000)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
