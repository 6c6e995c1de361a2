"""What a front itself answers, as `google.rpc.Status` on the wire, without protobuf, which a front does not load.

The oracle is `services/status.py` (tests/test_refusals.py). What must not go in here: what the core answers.
"""

from __future__ import annotations

import base64

_UNAVAILABLE = 14
_RETRY_AFTER_S = 1
CORE_AWAY = "the core is not there; try again"  # as in ext/connection.pyx, as is the next
UNAUDITED = "the audit log cannot be written; ask again"


def core_unavailable() -> bytes:
    """Return the `grpc-status-details-bin` (base64, unpadded) of a call that the core was not there for."""
    return _unavailable(CORE_AWAY, b"CORE_UNAVAILABLE")


def audit_unavailable() -> bytes:
    """Return that of a call whose answer could not be put down."""
    return _unavailable(UNAUDITED, b"AUDIT_UNAVAILABLE")


def _unavailable(message: str, reason: bytes) -> bytes:
    info = _bytes(1, reason) + _bytes(2, b"broker.v1") + _bytes(3, _bytes(1, b"origin") + _bytes(2, b"BROKER"))
    retry = _bytes(1, _number(1, _RETRY_AFTER_S))
    details = b"".join(_bytes(3, _any(name, value)) for name, value in (("ErrorInfo", info), ("RetryInfo", retry)))
    return base64.b64encode(_number(1, _UNAVAILABLE) + _bytes(2, message.encode()) + details).rstrip(b"=")


def _any(name: str, value: bytes) -> bytes:
    return _bytes(1, f"type.googleapis.com/google.rpc.{name}".encode()) + _bytes(2, value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 127 | 128,)) + _varint(value >> 7)
