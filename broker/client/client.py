"""The two clients: blocking and for an event loop. Each is a channel, the stub on it, and typed answers and failures."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import grpc

from broker.client.answer import Answer, Matched, Searched, from_match, from_message, from_search
from broker.client.channel import Tokens, aio_channel, channel
from broker.client.failures import decode
from broker.v1 import exchange_pb2 as pb
from broker.v1 import exchange_pb2_grpc

DEFAULT_TIMEOUT_S = 5.0
_METADATA = {"unit": "operator-unit", "device": "device-id"}  # what of the context goes beside the message


def _request(
    interface: str, arguments: Mapping[str, str], purpose: str, max_age_s: float | None, context: Mapping[str, Any]
) -> pb.CallRequest:
    fields = {name: text for name, text in context.items() if name not in _METADATA}
    request = pb.CallRequest(interface=interface, arguments=arguments, purpose=purpose, **fields)
    if max_age_s is not None:
        request.max_age.FromTimedelta(dt.timedelta(seconds=max_age_s))
    return request


def _match_request(
    target: str, key: Mapping[str, str], asserted: Mapping[str, str], purpose: str, context: Mapping[str, Any]
) -> pb.MatchRequest:
    fields = {name: text for name, text in context.items() if name not in _METADATA}
    return pb.MatchRequest(interface=target, key=key, asserted=asserted, purpose=purpose, **fields)


def _search_request(
    base: str, known: Mapping[str, str], purpose: str, most: int, context: Mapping[str, Any]
) -> pb.SearchRequest:
    fields = {name: text for name, text in context.items() if name not in _METADATA}
    return pb.SearchRequest(base=base, known=known, purpose=purpose, max_candidates=most, **fields)


def _metadata(context: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, context[name]) for name, key in _METADATA.items() if context.get(name))


class Client:
    """A blocking client; a context manager. Safe between threads."""

    def __init__(
        self, target: str, tokens: Tokens | None = None, *, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._channel = channel(target, tokens, credentials=credentials)
        self.exchange = exchange_pb2_grpc.ExchangeServiceStub(self._channel)

    def call(
        self,
        interface: str,
        arguments: Mapping[str, str],
        *,
        purpose: str,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_age_s: float | None = None,
        **context: str,
    ) -> Answer:
        """Ask one question; `context` may be matter, operator, unit, device and case_id.

        Raises:
            CallFailed: one of its kinds.
        """
        try:
            request = _request(interface, arguments, purpose, max_age_s, context)
            message = self.exchange.Call(request, timeout=timeout_s, metadata=_metadata(context))
        except grpc.RpcError as error:
            raise decode(error) from None
        return from_message(message)

    def match(
        self,
        target: str,
        key: Mapping[str, str],
        asserted: Mapping[str, str],
        *,
        purpose: str,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        **context: str,
    ) -> Matched:
        """Ask whether asserted fields agree with the record that an interface, or a record base, has under a key.

        Raises:
            CallFailed: one of its kinds.
        """
        try:
            request = _match_request(target, key, asserted, purpose, context)
            message = self.exchange.Match(request, timeout=timeout_s, metadata=_metadata(context))
        except grpc.RpcError as error:
            raise decode(error) from None
        return from_match(message)

    def search(
        self,
        base: str,
        known: Mapping[str, str],
        *,
        purpose: str,
        most: int = 0,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        **context: str,
    ) -> Searched:
        """Look in a record base for a subject whose key is unknown or wrong; `most` candidates (0: 5).

        Raises:
            CallFailed: one of its kinds.
        """
        try:
            request = _search_request(base, known, purpose, most, context)
            message = self.exchange.Search(request, timeout=timeout_s, metadata=_metadata(context))
        except grpc.RpcError as error:
            raise decode(error) from None
        return from_search(message)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncClient:
    """A client for an event loop; an asynchronous context manager. Made inside the running loop."""

    def __init__(
        self, target: str, tokens: Tokens | None = None, *, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._channel = aio_channel(target, tokens, credentials=credentials)
        self.exchange: exchange_pb2_grpc.ExchangeServiceAsyncStub = exchange_pb2_grpc.ExchangeServiceStub(self._channel)  # type: ignore[assignment]

    async def call(
        self,
        interface: str,
        arguments: Mapping[str, str],
        *,
        purpose: str,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_age_s: float | None = None,
        **context: str,
    ) -> Answer:
        """Ask one question; `context` may be matter, operator, unit, device and case_id.

        Raises:
            CallFailed: one of its kinds.
        """
        try:
            request = _request(interface, arguments, purpose, max_age_s, context)
            message = await self.exchange.Call(request, timeout=timeout_s, metadata=_metadata(context))
        except grpc.RpcError as error:
            raise decode(error) from None
        return from_message(message)

    async def match(
        self,
        target: str,
        key: Mapping[str, str],
        asserted: Mapping[str, str],
        *,
        purpose: str,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        **context: str,
    ) -> Matched:
        """Ask whether asserted fields agree with the record that an interface, or a record base, has under a key.

        Raises:
            CallFailed: one of its kinds.
        """
        try:
            request = _match_request(target, key, asserted, purpose, context)
            message = await self.exchange.Match(request, timeout=timeout_s, metadata=_metadata(context))
        except grpc.RpcError as error:
            raise decode(error) from None
        return from_match(message)

    async def search(
        self,
        base: str,
        known: Mapping[str, str],
        *,
        purpose: str,
        most: int = 0,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        **context: str,
    ) -> Searched:
        """Look in a record base for a subject whose key is unknown or wrong; `most` candidates (0: 5).

        Raises:
            CallFailed: one of its kinds.
        """
        try:
            request = _search_request(base, known, purpose, most, context)
            message = await self.exchange.Search(request, timeout=timeout_s, metadata=_metadata(context))
        except grpc.RpcError as error:
            raise decode(error) from None
        return from_search(message)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
