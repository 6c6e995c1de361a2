"""Channels as a consumer should open them: keepalive, retries of what never reached a broker, a token on every call.

Retries are gRPC's own (gRFC A6): only UNAVAILABLE, and not where the broker pushes back because it has asked the provider. A
connection may be lost after the provider was asked; for interfaces with a side effect the broker refuses the retry (ABORTED,
OUTCOME_UNKNOWN), which gRPC marks as one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

Tokens = Callable[[], str]

SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "broker.v1.ExchangeService"}, {"service": "broker.v1.CatalogueService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def _with_token(details: Any, tokens: Tokens) -> Any:
    """Return a call's details with a token in its metadata; both of gRPC's stacks keep details in a named tuple."""
    pairs = (*(details.metadata or ()), ("authorization", f"Bearer {tokens()}"))
    return details._replace(metadata=grpc.aio.Metadata(*pairs) if isinstance(details, grpc.aio.ClientCallDetails) else pairs)


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to a call of a blocking channel."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def _go_on(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_with_token(details, self._tokens), request)

    intercept_unary_unary = intercept_unary_stream = _go_on  # type: ignore[assignment]
    intercept_stream_unary = intercept_stream_stream = _go_on  # type: ignore[assignment]


def tls(
    ca_file: str | Path | None = None, certificate_file: str | Path | None = None, key_file: str | Path | None = None
) -> grpc.ChannelCredentials:
    """Read what TLS needs from PEM files: whom to trust (nobody named: gRPC's own list), and what to be known by.

    Raises:
        OSError: a file cannot be read.
        ValueError: of certificate and key one is missing.
    """
    if (certificate_file is None) != (key_file is None):
        raise ValueError("a certificate needs its key, and a key its certificate")
    authorities, key, chain = (Path(file).read_bytes() if file else None for file in (ca_file, key_file, certificate_file))
    return grpc.ssl_channel_credentials(authorities, key, chain)


def channel(target: str, tokens: Tokens | None = None, *, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """Open a blocking channel; cleartext unless there are credentials."""
    if credentials is None:
        opened = grpc.insecure_channel(target, options=OPTIONS)
    else:
        opened = grpc.secure_channel(target, credentials, options=OPTIONS)
    return grpc.intercept_channel(opened, _Bearer(tokens)) if tokens else opened


def aio_channel(
    target: str, tokens: Tokens | None = None, *, credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """Open a channel on the running event loop; cleartext unless there are credentials."""
    interceptors = _aio_interceptors(tokens) if tokens else None
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=OPTIONS, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=OPTIONS, interceptors=interceptors)


def _aio_interceptors(tokens: Tokens) -> Sequence[grpc.aio.ClientInterceptor]:
    """Return one interceptor a kind of call: `grpc.aio` takes the first kind that an object has and ignores the others."""

    async def go_on(_self: Any, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(_with_token(details, tokens), request)

    kinds = {
        "intercept_unary_unary": grpc.aio.UnaryUnaryClientInterceptor,
        "intercept_unary_stream": grpc.aio.UnaryStreamClientInterceptor,
        "intercept_stream_unary": grpc.aio.StreamUnaryClientInterceptor,
        "intercept_stream_stream": grpc.aio.StreamStreamClientInterceptor,
    }
    return [type("Bearer", (kind,), {method: go_on})() for method, kind in kinds.items()]
