"""Counts every RPC of a `grpc.aio` server under the names of go-grpc-middleware, so that public dashboards light up.

Reads the code from the context after the handler, for an aborted RPC raises no RpcError (grpc/grpc#36009). Methods that the
server does not know count as "other" (gRFC A66).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from broker.telemetry import metrics

_KINDS = {
    (False, False): ("unary", "unary_unary"),
    (False, True): ("server_stream", "unary_stream"),
    (True, False): ("client_stream", "stream_unary"),
    (True, True): ("bidi_stream", "stream_stream"),
}
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class RpcMetrics(grpc.aio.ServerInterceptor):
    """Wraps each method's handler once and remembers the wrapped one."""

    def __init__(self) -> None:
        self.in_progress = 0
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the counted handler of a method."""
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            handler = await continuation(details)
            if handler is None:
                return _counted_unknown()
            wrapped = self._wrapped[details.method] = self._wrap(handler, details.method)
        return wrapped

    def _wrap(self, handler: Any, path: str) -> Any:
        kind, attribute = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
        service, _, method = path.removeprefix("/").partition("/")
        labels = (kind, service, method)
        behaviour = getattr(handler, attribute)
        streams = handler.response_streaming and not asyncio.iscoroutinefunction(behaviour)
        counted = self._stream(behaviour, labels) if streams else self._unary(behaviour, labels)
        return handler._replace(**{attribute: counted})

    def _unary(self, behaviour: Any, labels: tuple[str, str, str]) -> Any:
        started, seconds = metrics.grpc_started.labels(*labels), metrics.grpc_seconds.labels(*labels)

        async def run(request: Any, context: Any) -> Any:
            started.inc()
            self.in_progress += 1
            begin = time.perf_counter()
            try:
                return await behaviour(request, context)
            finally:
                self.in_progress -= 1
                seconds.observe(time.perf_counter() - begin)
                metrics.grpc_handled.labels(*labels, _code(context)).inc()

        return run

    def _stream(self, behaviour: Any, labels: tuple[str, str, str]) -> Any:
        started, seconds = metrics.grpc_started.labels(*labels), metrics.grpc_seconds.labels(*labels)

        async def run(request: Any, context: Any) -> AsyncIterator[Any]:
            started.inc()
            begin = time.perf_counter()
            try:
                async for message in behaviour(request, context):
                    yield message
            finally:
                seconds.observe(time.perf_counter() - begin)
                metrics.grpc_handled.labels(*labels, _code(context)).inc()

        return run


def _code(context: Any) -> str:
    """Name the code an RPC ended with: what was set, else what became of it."""
    if context.cancelled():
        return "CANCELLED"
    code = context.code()
    if code is None:
        return "OK"
    return _CODES.get(code if isinstance(code, int) else code.value[0], "UNKNOWN")


def _counted_unknown() -> None:
    labels = ("unary", "other", "other")
    metrics.grpc_started.labels(*labels).inc()
    metrics.grpc_handled.labels(*labels, "UNIMPLEMENTED").inc()
