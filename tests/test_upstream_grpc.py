"""gRPC providers, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import msgspec
import pytest

from broker.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderOverloaded,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from broker.model.call import Record
from broker.model.catalogue import Envelope, GrpcEndpoint, GrpcOperation, Provider
from broker.upstream.providers import Providers
from tests.upstream_kit import (
    GOOD,
    NAME,
    OTHER_PERSON,
    PERSON,
    config,
    everything_said,
    interface,
    provider,
    providers,
    question,
    raw_server,
)

METHOD = "/police.v1.Person/Get"
OPERATION = GrpcOperation(method=METHOD, parameters={"sfzh": "{resident_id}", "xm": "{name}", "type": "1"})
Behaviour = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def grpc_server(behaviour: Behaviour, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = grpc.aio.server()
    service, _, method = METHOD[1:].partition("/")
    handler = grpc.unary_unary_rpc_method_handler(behaviour)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def answering(body: Any) -> Behaviour:
    async def answer(_: bytes, __: grpc.aio.ServicerContext) -> bytes:
        return body if isinstance(body, bytes) else msgspec.json.encode(body)

    return answer


def aborting(code: grpc.StatusCode) -> Behaviour:
    async def abort(_: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(code, f"cannot find {PERSON} {NAME}")
        return b""

    return abort


async def ask(target: str, operation: GrpcOperation = OPERATION, timeout_s: float = 5, **settings: Any) -> Record:
    async with providers(config(**settings)) as asking:
        return await asking.ask(question(interface(operation)), provider(GrpcEndpoint(target=target)), timeout_s)


async def failure(target: str, *arguments: Any, **settings: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(target, *arguments, **settings)
    said = everything_said(caught.value)
    assert [value for value in (PERSON, NAME, OTHER_PERSON) if value in said] == []
    return caught.value


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_maps_travel_in_both_codecs(codec: Any) -> None:
    coder: Any = {"json": msgspec.json, "msgpack": msgspec.msgpack}[codec]
    asked: list[Any] = []

    async def behaviour(body: bytes, _: grpc.aio.ServicerContext) -> bytes:
        asked.append(coder.decode(body))
        encoded: bytes = coder.encode({"code": 0, "data": GOOD})
        return encoded

    operation = msgspec.structs.replace(OPERATION, codec=codec, envelope=Envelope(record="data", code="code", success=("0",)))
    async with grpc_server(behaviour) as target:
        assert (await ask(target, operation)).fields == GOOD
    assert asked == [{"sfzh": PERSON, "type": "1"}]


async def test_not_found_is_no_record() -> None:
    async with grpc_server(aborting(grpc.StatusCode.NOT_FOUND)) as target:
        assert (await ask(target)).fields is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, ProviderUnavailable),
        (grpc.StatusCode.INTERNAL, ProviderUnavailable),
        (grpc.StatusCode.UNKNOWN, ProviderUnavailable),
        (grpc.StatusCode.DATA_LOSS, ProviderUnavailable),
        (grpc.StatusCode.CANCELLED, ProviderUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ProviderTimeout),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ProviderOverloaded),
        (grpc.StatusCode.INVALID_ARGUMENT, ProviderRefused),
        (grpc.StatusCode.UNAUTHENTICATED, ProviderRefused),
        (grpc.StatusCode.PERMISSION_DENIED, ProviderRefused),
        (grpc.StatusCode.FAILED_PRECONDITION, ProviderRefused),
        (grpc.StatusCode.UNIMPLEMENTED, ProviderRefused),
    ],
)
async def test_each_status_has_its_error(code: grpc.StatusCode, expected: type[ProviderError]) -> None:
    async with grpc_server(aborting(code)) as target:
        error = await failure(target)
    assert (type(error), error.upstream_code) == (expected, f"GRPC_{code.name}")


async def test_a_provider_that_breaks_is_unavailable() -> None:
    async def broken(_: bytes, __: grpc.aio.ServicerContext) -> bytes:
        raise RuntimeError(PERSON)

    async with grpc_server(broken) as target:
        assert type(await failure(target)) is ProviderUnavailable


@pytest.mark.parametrize(
    ("body", "defect"),
    [
        (b"", "the answer is empty"),
        (b"<html>", "the answer is not json"),
        ([GOOD, GOOD], "more than one record"),
        (GOOD | {"resident_id": OTHER_PERSON}, "the answer is about another subject"),
        (b" " * 70_000, "the answer is larger than allowed"),
    ],
)
async def test_what_is_no_answer_is_nonsense_and_says_why(body: Any, defect: str) -> None:
    async with grpc_server(answering(body)) as target:
        error = await failure(target, max_answer_bytes=65_536)
    assert isinstance(error, ProviderNonsense)
    assert error.defect == defect


async def test_a_provider_that_hangs_costs_no_more_than_the_time_given() -> None:
    async def hang(_: bytes, __: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(60)
        return b""

    async with grpc_server(hang) as target:
        began = time.monotonic()
        assert type(await failure(target, timeout_s=0.2)) is ProviderTimeout
        assert 0.15 < time.monotonic() - began < 1


async def test_a_port_that_accepts_and_hangs_costs_no_more_than_the_time_given() -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with raw_server(hang) as target:
        began = time.monotonic()
        assert type(await failure(target, timeout_s=0.2)) in (ProviderTimeout, ProviderUnavailable)
        assert time.monotonic() - began < 1


async def test_proxies_of_the_environment_are_not_for_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with grpc_server(answering(GOOD)) as target:
        assert (await ask(target)).fields == GOOD


@pytest.mark.parametrize("target", ["127.0.0.1:1", "no-such-provider.invalid:443"])
async def test_nobody_there_is_unavailable(target: str) -> None:
    assert type(await failure(target)) is ProviderUnavailable


async def test_a_provider_that_comes_back_is_found_again() -> None:
    async with grpc_server(answering(GOOD)) as target:
        pass
    async with providers() as asking:
        there = provider(GrpcEndpoint(target=target))
        with pytest.raises(ProviderUnavailable):
            await asking.ask(question(interface(OPERATION)), there, 5)
        async with grpc_server(answering(GOOD), target):
            assert await seconds_until_answered(asking, there) < 3


async def seconds_until_answered(asking: Providers, there: Provider) -> float:
    began = time.monotonic()
    while time.monotonic() - began < 10:
        with contextlib.suppress(ProviderUnavailable):
            await asking.ask(question(interface(OPERATION)), there, 5)
            break
        await asyncio.sleep(0.05)
    return time.monotonic() - began
