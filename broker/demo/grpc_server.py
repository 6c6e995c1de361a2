"""The departments that speak gRPC: one unary method an interface, an encoded map each way, no generated code.

A connection cannot be closed for one department alone, so faults of the line are answered with the status that they look like
to a consumer. What must not go in here: contents (desk.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
import msgspec

from broker.demo.catalogue import grpc_method
from broker.demo.desk import Counts, Desk, Service
from broker.demo.faults import Faults

Context = Any  # grpc.aio.ServicerContext[bytes, bytes]; the stubs and the runtime disagree on its parameters

_CODECS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    "json": (msgspec.json.Decoder(dict[str, Any]).decode, msgspec.json.encode),
    "msgpack": (msgspec.msgpack.Decoder(dict[str, Any]).decode, msgspec.msgpack.encode),
}
_STATUSES = {
    "down": grpc.StatusCode.UNAVAILABLE,
    "disconnect": grpc.StatusCode.UNAVAILABLE,
    "error500": grpc.StatusCode.INTERNAL,
}
_BODIES = {"html": "<html><body>系统维护中</body></html>".encode(), "empty": b"", "garbage": b"\x00\xff{]\xc1" * 40}
_FOREVER_S = 3600.0


class GrpcServer(grpc.GenericRpcHandler):
    """All departments of a process that speak gRPC."""

    def __init__(self, desks: Mapping[str, Desk], counts: Counts, faults: Faults) -> None:
        self._counts = counts
        self._faults = faults
        self._methods: dict[str, Any] = {
            grpc_method(service.question): grpc.unary_unary_rpc_method_handler(self._method(desk, service))
            for desk in desks.values()
            if desk.department.connector == "grpc"
            for service in desk.services
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Find the method; grpc answers UNIMPLEMENTED where there is none."""
        return self._methods.get(handler_call_details.method)

    def _method(self, desk: Desk, service: Service) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def ask(request: bytes, context: Context) -> bytes:
            with self._counts.one(service.question.id):
                return await self._ask(desk, service, request, context)

        return ask

    async def _ask(self, desk: Desk, service: Service, request: bytes, context: Context) -> bytes:
        fault = self._faults.current(desk.department.id)
        kind = fault.kind if fault else "none"
        if status := _STATUSES.get(kind):
            await context.abort(status, "pretended fault")
        if kind == "hang":
            await asyncio.sleep(_FOREVER_S)
        if kind in _BODIES:
            return _BODIES[kind]
        decode, encode = _CODECS[desk.department.codec]
        try:
            parameters = decode(request)
        except msgspec.DecodeError:
            parameters = {}
        await desk.pause(fault)
        return encode(desk.answer(service, parameters, fault).content)


async def serve(handler: GrpcServer, port: int) -> tuple[grpc.aio.Server, int]:
    """Listen on loopback and return the server and its port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handler,))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, bound
