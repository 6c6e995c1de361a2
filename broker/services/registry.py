"""Puts a service of the contract on a server: every method of its descriptor, in one way of failing.

A method that the given object does not have answers UNIMPLEMENTED with an ErrorInfo that says so, so the whole contract can be
called from the first version on. A servicer may return a message or its wire form as bytes. What must not go in here: any
one method.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from broker.errors import BrokerError, CallerError, InvalidRequest, NotAvailable, StartupError, Violation
from broker.services.status import to_status

log = structlog.get_logger("services")

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

# Puts down a refusal, by which method, of which message (None: it cannot be decoded), of whom.
Refused: TypeAlias = Callable[[CallerError, MethodDescriptor, Any, Any], Awaitable[None]]

_MAKERS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class InternalError(BrokerError):
    """A defect of ours. The caller learns nothing but the request id under which the log has it."""

    def __init__(self) -> None:
        super().__init__("internal error; give the request id to the operator")


def add(server: grpc.aio.Server, service: ServiceDescriptor, servicer: object, refused: Refused | None = None) -> None:
    """Register every method of a service; `refused` puts down what is refused, where the method has not done so."""
    handlers = {method.name: _handler(method, getattr(servicer, method.name, None), refused) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _handler(method: MethodDescriptor, behaviour: Any, refused: Refused | None) -> Handler:
    make = _MAKERS[bool(method.client_streaming), bool(method.server_streaming)]
    # Decoded in here, not by gRPC, whose answer to a message that cannot be decoded has neither a reason nor an origin.
    decode = _one if not method.client_streaming else _many
    request = functools.partial(decode, message_factory.GetMessageClass(method.input_type))
    put_down = functools.partial(_put_down, refused, method)
    return make(_answered(behaviour or _not_available(method), request, put_down), response_serializer=_to_wire)


def _one(kind: type[Message], data: bytes) -> Message:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise InvalidRequest(Violation("message", f"is not a {kind.DESCRIPTOR.full_name}")) from None


async def _many(kind: type[Message], stream: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    async for data in stream:
        yield _one(kind, data)


def _not_available(method: MethodDescriptor) -> Any:
    async def refuse(_request: Any, _context: Any) -> Any:
        raise NotAvailable(method.full_name)

    return refuse


async def _put_down(
    refused: Refused | None, method: MethodDescriptor, error: Exception, message: Any, context: Any
) -> Exception:
    """Have a refusal put down, if it has not been; returns what is to be told, which is another where that cannot be done."""
    if refused is None or not isinstance(error, CallerError) or error.is_put_down:
        return error
    try:
        await refused(error, method, message, context)
    except BrokerError as unavailable:
        return unavailable
    return error


def _answered(behaviour: Any, decode: Callable[[Any], Any], put_down: Callable[..., Awaitable[Exception]]) -> Any:
    """Turn what a method raises into a status; only what we did not foresee is logged with its traceback."""

    async def run(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        message = None
        try:
            message = decode(request)
            return await behaviour(message, context)
        except Exception as error:
            failure, request_id = told(await put_down(error, message, context))
        return await context.abort_with_status(to_status(failure, request_id, tuple(context.trailing_metadata())))

    return run


def told(error: Exception) -> tuple[BrokerError, str]:
    """Return what the caller is told of a failure, and the request id under which the log has it."""
    request_id = secrets.token_hex(8)
    if isinstance(error, StartupError):  # a secret file that has gone: its path is no business of the caller's
        log.error("internal error", request_id=request_id, error=str(error))
        return InternalError(), request_id
    if isinstance(error, BrokerError):
        write = log.debug if error.origin == "CLIENT" else log.info
        write("call failed", request_id=request_id, reason=error.reason, **error.metadata())
        return error, request_id
    log.error("internal error", request_id=request_id, exc_info=error)
    return InternalError(), request_id


def _to_wire(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
