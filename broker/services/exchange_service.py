"""`ExchangeService`: translates a call or a comparison and its answer, and counts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from broker import exchange, search
from broker.errors import BrokerError, InvalidRequest, Unauthenticated, Violation
from broker.model.body import wire
from broker.model.call import Answer, Encoding, Matched, Peer, Request, Searched, Source
from broker.services import caller, match_messages, registry, search_messages
from broker.services.refused import Refused
from broker.telemetry import metrics
from broker.v1 import exchange_pb2 as pb

_ENCODINGS = {
    pb.ENCODING_UNSPECIFIED: Encoding.JSON,
    pb.ENCODING_JSON: Encoding.JSON,
    pb.ENCODING_MSGPACK: Encoding.MSGPACK,
}

MOST_IN_A_BATCH = 1000
_MATCH = pb.DESCRIPTOR.services_by_name["ExchangeService"].methods_by_name["Match"]
_AT_ONCE = 64  # comparisons of one batch or stream
_SNAPSHOT_VERSION = "broker-snapshot-version"


class ExchangeService:
    """Answers consumers."""

    def __init__(self, broker: exchange.Exchange) -> None:
        self._broker = broker
        self._refused = Refused(broker)

    async def Call(self, message: pb.CallRequest, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        """Answer one question; see `broker/exchange.py`."""
        try:
            request = _request(message, context)
            peer = caller.peer(context)
            answer = await exchange.call(self._broker, request, peer, context.time_remaining())
        except BrokerError as error:
            self._count_failure(message.interface, message.version, error)
            if not isinstance(error, Unauthenticated):
                context.set_trailing_metadata(((_SNAPSHOT_VERSION, str(self._broker.snapshot.version)),))
            raise
        _count(answer)
        self._tell(answer, peer, context)
        return wire(answer)

    async def Match(self, message: pb.MatchRequest, context: caller.Context) -> pb.MatchResponse:
        """Compare one subject's fields; see `broker/exchange.py`."""
        peer = caller.peer(context)
        try:
            matched = await self._matched(message, context, peer)
        except Unauthenticated:
            raise
        except BrokerError:
            context.set_trailing_metadata(((_SNAPSHOT_VERSION, str(self._broker.snapshot.version)),))
            raise
        self._tell(matched.answer, peer, context)
        return match_messages.response(matched)

    def _tell(self, answer: Answer, peer: Peer, context: caller.Context) -> None:
        """Tell what is left of limits, and to a front that asks who has called."""
        note = self._broker.identifier.note(peer) if caller.wants_proof(context) else None
        context.set_trailing_metadata((*_trailing(answer), *(((caller.PROOF, note),) if note else ())))

    async def BatchMatch(self, message: pb.BatchMatchRequest, context: caller.Context) -> pb.BatchMatchResponse:
        """Compare many subjects' fields, some at once; each has its own result."""
        if len(message.matches) > MOST_IN_A_BATCH:
            raise InvalidRequest(Violation("matches", f"must not be more than {MOST_IN_A_BATCH}"))
        limit = asyncio.Semaphore(_AT_ONCE)
        results = await asyncio.gather(*(self._result(one, context, limit) for one in message.matches))
        return pb.BatchMatchResponse(results=results)

    async def StreamMatches(self, messages: AsyncIterator[pb.StreamMatchesRequest], context: caller.Context) -> None:
        """Compare subjects' fields as they come; who does not read what is answered is not read from."""
        limit, writing = asyncio.Semaphore(_AT_ONCE), asyncio.Lock()
        try:
            async with asyncio.TaskGroup() as answering:
                async for message in messages:
                    await limit.acquire()
                    answering.create_task(self._answer_one(message, context, limit, writing))
        except ExceptionGroup as group:  # a message that cannot be decoded ends the stream
            raise group.exceptions[0] from None

    async def _answer_one(
        self, message: pb.StreamMatchesRequest, context: caller.Context, limit: asyncio.Semaphore, writing: asyncio.Lock
    ) -> None:
        try:
            result = await self._result(message.match, context, asyncio.Semaphore())
            async with writing:
                await context.write(pb.StreamMatchesResponse(correlation_id=message.correlation_id, result=result))
        finally:
            limit.release()

    async def _result(self, message: pb.MatchRequest, context: caller.Context, limit: asyncio.Semaphore) -> pb.MatchResult:
        """Compare one of many. Who is asking is found out for each: a stream may outlive a token."""
        async with limit:
            try:
                return pb.MatchResult(
                    response=match_messages.response(await self._matched(message, context, caller.peer(context)))
                )
            except Exception as error:  # one of many fails by itself
                failure, _ = registry.told(error)
                return pb.MatchResult(failure=match_messages.failure(failure))

    async def _matched(self, message: pb.MatchRequest, context: caller.Context, peer: Peer) -> Matched:
        try:
            request = await self._match_request(message, context)
            matched = await exchange.match(self._broker, request, peer, context.time_remaining())
        except BrokerError as error:
            self._count_failure(message.base or message.interface, 0, error)
            raise
        _count(matched.answer)
        return matched

    async def _match_request(self, message: pb.MatchRequest, context: caller.Context) -> Request:
        """Read what is asked. One of many is refused by itself, so it is put down here."""
        try:
            return match_messages.request(message, context)
        except InvalidRequest as error:
            await self._refused(error, _MATCH, message, context)
            raise

    async def Search(self, message: pb.SearchRequest, context: caller.Context) -> pb.SearchResponse:
        """Look for a subject whose key is unknown or wrong; see `broker/search.py`."""
        try:
            request, bounds = search_messages.request(message, context)
            searched = await search.search(self._broker, request, bounds, caller.peer(context))
        except BrokerError as error:
            self._count_failure(message.base, 0, error)
            if not isinstance(error, Unauthenticated):
                context.set_trailing_metadata(((_SNAPSHOT_VERSION, str(self._broker.snapshot.version)),))
            raise
        outcome = "FOUND" if searched.candidates else "NOT_FOUND"
        metrics.calls.labels(searched.level, searched.interface.id, outcome, Source.RECORDS.name).inc()
        context.set_trailing_metadata(_trailing(searched))
        return search_messages.response(searched)

    def _count_failure(self, name: str, version: int, error: BrokerError) -> None:
        interface = self._broker.snapshot.interfaces.get((name, version))
        if interface is None:
            metrics.calls.labels("UNKNOWN", "unknown", error.reason, "NONE").inc()
        else:
            level = self._broker.snapshot.providers[interface.provider].level
            metrics.calls.labels(level, interface.id, error.reason, "NONE").inc()


def _count(answer: Answer) -> None:
    outcome = "FOUND" if answer.found else "NOT_FOUND"
    source = "STALE" if answer.stale else Source(answer.source).name
    metrics.calls.labels(answer.level, answer.interface.id, outcome, source).inc()


def _trailing(answer: Answer | Searched) -> tuple[tuple[str, str], ...]:
    """Tell by which snapshot the call was decided, and what is left of the grant's limits."""
    left = answer.remaining
    counts = {"burst": left.burst, "quota-day": left.today, "quota-total": left.total} if left else {}
    remaining = ((f"broker-remaining-{name}", str(count)) for name, count in counts.items() if count is not None)
    return ((_SNAPSHOT_VERSION, str(answer.snapshot_version)), *remaining)


def _request(message: pb.CallRequest, context: caller.Context) -> Request:
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise InvalidRequest(Violation("encoding", "must be ENCODING_JSON or ENCODING_MSGPACK"))
    return Request(
        interface=message.interface,
        arguments=message.arguments,
        version=message.version,
        max_age_ms=_max_age_ms(message),
        encoding=encoding,
        **caller.circumstances(message, context, "Call"),
    )


def _max_age_ms(message: pb.CallRequest) -> int | None:
    if not message.HasField("max_age"):
        return None
    age_ms = message.max_age.seconds * 1000 + message.max_age.nanos // 1_000_000
    if age_ms < 0:
        raise InvalidRequest(Violation("max_age", "must not be negative"))
    return age_ms
