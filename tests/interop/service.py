"""The server that gRPC's interop cases are put to: what grpc's interop-test-descriptions.md asks of one, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import message_factory

from tests.interop import messages

ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class InteropService(grpc.GenericRpcHandler):
    """`grpc.testing.TestService`; methods that it does not have are unimplemented."""

    def service(self, details: Any) -> Any:
        """Find a method."""
        _, service, name = details.method.split("/")
        handle = getattr(self, name, None) if service == messages.SERVICE.full_name else None
        if handle is None:
            return None
        method = messages.SERVICE.methods_by_name[name]
        return getattr(grpc, f"{messages.kind(method)}_rpc_method_handler")(
            handle,
            message_factory.GetMessageClass(method.input_type).FromString,
            message_factory.GetMessageClass(method.output_type).SerializeToString,
        )

    async def EmptyCall(self, request: Any, context: Any) -> Any:
        """Nothing for nothing."""
        return messages.Empty()

    async def UnaryCall(self, request: Any, context: Any) -> Any:
        """So many zeros as are asked for."""
        if request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
            await context.send_initial_metadata(())  # else grpc.aio forgets it
        await _echo(request, context)
        return messages.SimpleResponse(payload=messages.payload(request.response_size))

    async def StreamingOutputCall(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """As many messages as are asked for."""
        if any(parameters.compressed.value for parameters in request.response_parameters):
            context.set_compression(grpc.Compression.Gzip)
        async for response in _responses(request, context):
            yield response

    async def StreamingInputCall(self, requests: AsyncIterator[Any], context: Any) -> Any:
        """The sum of all sizes."""
        sizes = [len(request.payload.body) async for request in requests]
        return messages.InputResponse(aggregated_payload_size=sum(sizes))

    async def FullDuplexCall(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """To each request what it asks for, at once."""
        async for request in requests:
            await _echo(request, context)
            async for response in _responses(request, context):
                yield response

    async def HalfDuplexCall(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """To each request what it asks for, when all have come."""
        for request in [request async for request in requests]:
            async for response in _responses(request, context):
                yield response


async def _responses(request: Any, context: Any) -> AsyncIterator[Any]:
    for parameters in request.response_parameters:
        await asyncio.sleep(parameters.interval_us / 1e6)
        if not parameters.compressed.value:
            context.disable_next_message_compression()
        yield messages.OutputResponse(payload=messages.payload(parameters.size))


async def _echo(request: Any, context: Any) -> None:
    """Give back metadata, and end with the status that was asked for."""
    sent = dict(context.invocation_metadata())
    if ECHO_TRAILING in sent:
        context.set_trailing_metadata(((ECHO_TRAILING, sent[ECHO_TRAILING]),))
    if ECHO_INITIAL in sent:
        await context.send_initial_metadata(((ECHO_INITIAL, sent[ECHO_INITIAL]),))
    if request.HasField("response_status"):
        await context.abort(_CODES[request.response_status.code], request.response_status.message)
