"""Providers that speak gRPC: one channel a provider, unary calls of encoded maps, no stubs.

grpc's exceptions end in this file. What must not go in here: retries (switched off in the channel too), and what an answer
means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from broker.config import Config, Upstream
from broker.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderOverloaded,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from broker.model.call import Question
from broker.model.catalogue import GrpcEndpoint, GrpcOperation, Provider
from broker.upstream import codec
from broker.upstream.envelope import fill, open_envelope, paths

# Servers answer pings that come more often than every 5 min with GOAWAY, unless they were told otherwise.
_KEEPALIVE_MS = 360_000
_KEEPALIVE_TIMEOUT_MS = 10_000
_MAX_BACKOFF_MS = 1000  # a provider that is back is found within this

_CODES: Mapping[grpc.StatusCode, Callable[..., ProviderError]] = {
    grpc.StatusCode.UNAVAILABLE: ProviderUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: ProviderTimeout,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ProviderOverloaded,
    # The provider's server broke, as with HTTP 5xx; it did not judge the question.
    grpc.StatusCode.INTERNAL: ProviderUnavailable,
    grpc.StatusCode.UNKNOWN: ProviderUnavailable,
    grpc.StatusCode.DATA_LOSS: ProviderUnavailable,
    grpc.StatusCode.CANCELLED: ProviderUnavailable,
}


class GrpcConnector:
    """Asks one gRPC provider. Made inside the running loop, to which its channel belongs."""

    def __init__(self, provider: Provider, endpoint: GrpcEndpoint, config: Config, wall_ms: Callable[[], int]) -> None:
        self._provider = provider.id
        self._channel = grpc.aio.insecure_channel(endpoint.target, options=_options(config.upstream))

    async def ask(self, question: Question, timeout_s: float) -> dict[str, Any] | None:
        """Return the record under our names, or None for "no record". Raises `ProviderError`."""
        operation = question.interface.operation
        assert isinstance(operation, GrpcOperation)  # noqa: S101 - the catalogue's validation pairs them
        body = codec.encode(operation.codec, fill(operation.parameters, dict(question.arguments)))
        answered = await self._send(operation.method, body, timeout_s)
        if answered is None:
            return None
        decoded = codec.decode(operation.codec, answered, self._provider)
        return open_envelope(operation.envelope, paths(question), decoded, self._provider)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _send(self, method: str, body: bytes, timeout_s: float) -> bytes | None:
        """Return the answer, or None for NOT_FOUND. The chain is cut: details of a status may repeat arguments."""
        call: Any = self._channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        try:
            answered: bytes = await call(body, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise _mapped(error, self._provider) from None
        return answered


def _mapped(error: grpc.aio.AioRpcError, provider: str) -> ProviderError:
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in (error.details() or ""):
        # Our own side of the channel says so, under the code that providers use for their quota.
        return ProviderNonsense(provider, "the answer is larger than allowed")
    return _CODES.get(error.code(), ProviderRefused)(provider, upstream_code=f"GRPC_{error.code().name}")


def _options(settings: Upstream) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_answer_bytes),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.min_reconnect_backoff_ms", settings.connect_timeout_ms),  # grpc's name for the time one connect may take
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", _MAX_BACKOFF_MS),
        ("grpc.use_local_subchannel_pool", 1),  # a changed provider gets connections of its own
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
    ]
