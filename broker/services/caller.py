"""What a call says of its caller: the token and the certificate it is known by, and the person, unit and terminal behind it.

What must not go in here: whether any of it is true (policy/identify.py).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import grpc

from broker.errors import InvalidRequest, Violation
from broker.model.call import Peer

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_BEARER = "bearer "
OPERATOR, UNIT, DEVICE, REQUEST_ID = "operator-id", "operator-unit", "device-id", "request-id"  # metadata keys
RELAYED_CERTIFICATE = "broker-relay-certificate-bin"  # DER of what a front has verified; see ext/relay.pyx
WANTS_PROOF = "broker-relay-wants-proof"  # a front does not remember who called, and asks
PROOF = "broker-relay-proof-bin"  # what it is to remember; it does not pass it on
_MAX_BYTES = 128
_MALFORMED = "?"  # what is no token must be refused as one: a certificate beside it does not make it good


def peer(context: Context) -> Peer:
    """Return what the caller is to be known by."""
    if is_relayed(context):
        certificates: tuple[Any, ...] = tuple(_pem(value) for value in _values(context, RELAYED_CERTIFICATE))
    else:
        certificates = tuple(context.auth_context().get("x509_pem_cert", ()))
    return Peer(token=_token(context), certificate=certificates[0] if certificates else b"")


def is_relayed(context: Context) -> bool:
    """Whether a front has passed the call on: only fronts can open the socket that such calls come by."""
    return bool(context.peer().startswith("unix:"))


def wants_proof(context: Context) -> bool:
    """Whether a front asks to be told who has called."""
    return is_relayed(context) and bool(_values(context, WANTS_PROOF))


def _pem(certificate: str | bytes) -> bytes:
    assert isinstance(certificate, bytes)  # noqa: S101 - gRPC decodes what is named `-bin`
    return ssl.DER_cert_to_PEM_cert(certificate).encode()


def _token(context: Context) -> str:
    return bearer(_values(context, "authorization"))


def bearer(found: Sequence[str | bytes]) -> str:
    """Return the token of what stands under `authorization`; "" if nothing does, and "?" if that is not one token."""
    if not found:
        return ""
    if len(found) > 1 or not isinstance(found[0], str) or not found[0].isascii() or found[0][: len(_BEARER)].lower() != _BEARER:
        return _MALFORMED
    return found[0][len(_BEARER) :]


def said(context: Context, key: str) -> str:
    """Return what a call's metadata says of the person, unit or terminal behind it; "" if nothing.

    Raises:
        InvalidRequest: it says so twice, or more than anybody honest would.
    """
    found = _values(context, key)
    if not found:
        return ""
    if len(found) > 1 or len(found[0]) > _MAX_BYTES:
        raise InvalidRequest(Violation(key, f"must stand once, and not be longer than {_MAX_BYTES} bytes"))
    return str(found[0])


def request_id(context: Context) -> str:
    """Return what the caller calls its request: what it says first, so much of it as is kept; "" if nothing.

    No decision rests on it, and tracers and gateways write one over another's, so nobody is refused for it.
    """
    found = _values(context, REQUEST_ID)
    return str(found[0])[:_MAX_BYTES] if found else ""


def circumstances(message: Any, context: Context, method: str) -> dict[str, Any]:
    """Return what a question and its metadata say of who asks, by which method, on whose behalf, for what.

    Raises:
        InvalidRequest: the two contradict one another, or metadata are said twice or are too long.
    """
    return {
        "purpose": message.purpose,
        "matter": message.matter,
        "operator": _operator(message.operator, context),
        "unit": said(context, UNIT),
        "device": said(context, DEVICE),
        "case_id": message.case_id,
        "method": f"broker.v1.ExchangeService/{method}",
        "request_id": request_id(context),
        "previous_attempts": previous_attempts(context),
    }


def _operator(written: str, context: Context) -> str:
    """The person behind a call, who may stand in the message, in the metadata of a gateway, or in both alike."""
    stated = said(context, OPERATOR)
    if stated and written and stated != written:
        raise InvalidRequest(Violation("operator", f"must be that of the metadata {OPERATOR}"))
    return written or stated


def previous_attempts(context: Context) -> int:
    """Return how often the caller's library says it has sent this call before (gRFC A6)."""
    stated = _values(context, "grpc-previous-rpc-attempts")
    return 1 if stated and stated != ["0"] else 0  # whatever it says, it is not the first


def _values(context: Context, key: str) -> list[str | bytes]:
    metadata: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    return [value for name, value in metadata if name == key]
