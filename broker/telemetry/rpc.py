"""Counts every RPC of a `grpc.aio` server under the names of go-grpc-middleware, so that public dashboards light up.

Reads the code from the context after the handler, for an aborted RPC raises no RpcError (grpc/grpc#36009). What must not go in
here: anything about what a method does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
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


def counting(server: grpc.aio.Server) -> Any:
    """Return what can be given to generated `add_…_to_server` functions in the server's place.

    Not an interceptor: `grpc.aio` runs those as coroutines for every RPC, this wraps each method's handler once.
    """
    return _CountingServer(server)


def _wrap(handler: Any, path: str) -> Any:
    """Return a method's handler that counts."""
    kind, attribute = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
    service, _, method = path.removeprefix("/").partition("/")
    labels = (kind, service, method)
    behaviour = getattr(handler, attribute)
    streams = handler.response_streaming and not asyncio.iscoroutinefunction(behaviour)
    counted = _stream(behaviour, labels) if streams else _unary(behaviour, labels)
    return handler._replace(**{attribute: counted})


def _unary(behaviour: Any, labels: tuple[str, str, str]) -> Any:
    started, seconds = metrics.grpc_started.labels(*labels), metrics.grpc_seconds.labels(*labels)
    received, sent = metrics.grpc_received.labels(*labels), metrics.grpc_sent.labels(*labels)

    async def run(request: Any, context: Any) -> Any:
        started.inc()
        received.inc()
        begin = time.perf_counter()
        try:
            answer = await behaviour(request, context)
            sent.inc()
            return answer
        finally:
            seconds.observe(time.perf_counter() - begin)
            metrics.grpc_handled.labels(*labels, _code(context)).inc()

    return run


def _stream(behaviour: Any, labels: tuple[str, str, str]) -> Any:
    started, seconds = metrics.grpc_started.labels(*labels), metrics.grpc_seconds.labels(*labels)
    sent = metrics.grpc_sent.labels(*labels)

    async def run(request: Any, context: Any) -> AsyncIterator[Any]:
        started.inc()
        begin = time.perf_counter()
        try:
            async for message in behaviour(request, context):
                sent.inc()
                yield message
        finally:
            seconds.observe(time.perf_counter() - begin)
            metrics.grpc_handled.labels(*labels, _code(context)).inc()

    return run


class _CountingServer:
    """Stands in for a server while handlers are registered."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Register handlers, each of whose methods will be counted."""
        self._server.add_generic_rpc_handlers(tuple(_Counted(handler) for handler in handlers))

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Ignore, as `grpc.aio` does, what generated code offers beside the generic handlers."""


class _Counted(grpc.GenericRpcHandler):
    def __init__(self, handler: grpc.GenericRpcHandler) -> None:
        self._handler = handler
        self._wrapped: dict[str, Any] = {}  # only methods that exist get here

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the counting handler of a method, or None if it is not one of this handler's."""
        path = handler_call_details.method
        if path not in self._wrapped:
            handler = self._handler.service(handler_call_details)
            if handler is None:
                return None
            self._wrapped[path] = _wrap(handler, path)
        return self._wrapped[path]


class Unknown(grpc.GenericRpcHandler):
    """Registered last: whatever gets here has no handler, and is counted as "other" (gRFC A66)."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        """Count, and let the server answer UNIMPLEMENTED."""
        del handler_call_details
        labels = ("unary", "other", "other")
        metrics.grpc_started.labels(*labels).inc()
        metrics.grpc_handled.labels(*labels, "UNIMPLEMENTED").inc()


def _code(context: Any) -> str:
    """Name the code an RPC ended with: what was set, else what became of it."""
    if context.cancelled():
        return "CANCELLED"
    code = context.code()
    if code is None:
        return "OK"
    return _CODES.get(code if isinstance(code, int) else code.value[0], "UNKNOWN")
