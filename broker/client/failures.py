"""What can go wrong with a call, as exceptions decoded from the google.rpc details of the status.

CallFailed
├── InvalidArguments   fields that are wrong, in `violations`
├── TokenRefused       no token, or not a good one
├── NotGranted         no grant, or no such interface
├── OverRate           the grant's or the provider's allowance is used up; `retry_after_s` says when
└── ProviderFailed     the provider did not give a usable answer
"""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

_DETAILS_KEY = "grpc-status-details-bin"


class CallFailed(Exception):
    """A call did not get an answer."""

    def __init__(self, error: Any) -> None:  # an RpcError that is also the call, as both of gRPC's stacks raise it
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details() or ""
        status = _status(error)
        info, self._violations = _find(status, ErrorInfo()), _find(status, BadRequest())
        self.reason: str = info.reason
        self.metadata: dict[str, str] = dict(info.metadata)
        self.request_id: str = _find(status, RequestInfo()).request_id
        retry = _find(status, RetryInfo())
        self.retry_after_s: float | None = retry.retry_delay.ToTimedelta().total_seconds() if retry.ByteSize() else None
        super().__init__(f"{self.code.name}: {self.message}")

    @property
    def origin(self) -> str:
        """Whose fault it is: CLIENT, BROKER or UPSTREAM; "" when no broker answered."""
        return self.metadata.get("origin", "")

    @property
    def violations(self) -> dict[str, str]:
        """The rule broken, by field."""
        return {violation.field: violation.description for violation in self._violations.field_violations}


class InvalidArguments(CallFailed):
    """INVALID_ARGUMENT."""


class TokenRefused(CallFailed):
    """UNAUTHENTICATED."""


class NotGranted(CallFailed):
    """PERMISSION_DENIED."""


class OverRate(CallFailed):
    """RESOURCE_EXHAUSTED."""


class ProviderFailed(CallFailed):
    """Any code, with origin UPSTREAM."""


_BY_CODE: dict[grpc.StatusCode, type[CallFailed]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArguments,
    grpc.StatusCode.UNAUTHENTICATED: TokenRefused,
    grpc.StatusCode.PERMISSION_DENIED: NotGranted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverRate,
}


def decode(error: Any) -> CallFailed:
    """Return the exception that an RPC error stands for."""
    if _find(_status(error), ErrorInfo()).metadata.get("origin") == "UPSTREAM":
        return ProviderFailed(error)
    return _BY_CODE.get(error.code(), CallFailed)(error)


def _status(error: Any) -> Status:
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS_KEY:
            return Status.FromString(value)
    return Status()


D = TypeVar("D", bound=Message)


def _find(status: Status, detail: D) -> D:
    for packed in status.details:
        if packed.Unpack(detail):
            break
    return detail
