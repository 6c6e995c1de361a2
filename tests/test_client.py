"""The client library: blocking and asynchronous, tokens renewed in time, failures decoded, retries where they help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import jwt
import pytest

import broker.client as library
from broker.client import CallFailed, Client, NotGranted, TokenSource, aio_channel, generate_key, load_key
from broker.v1 import exchange_pb2 as pb
from broker.v1 import exchange_pb2_grpc
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue
from tests.support.people import resident_id
from tests.support.ports import free_port
from tests.support.provider import Register
from tests.support.running import RunningBroker

WHO = resident_id(1)


@pytest.fixture
async def ready(broker: RunningBroker, register: Register) -> AsyncIterator[RunningBroker]:
    register.add(WHO, "张三")
    await broker.put(catalogue(register.base_url, broker.public_key))
    await broker.purge(all=True)
    yield broker


def test_what_is_exported_is_what_is_promised() -> None:
    assert sorted(library.__all__) == library.__all__
    assert all(hasattr(library, name) for name in library.__all__)


async def test_the_blocking_client_asks_and_decodes(ready: RunningBroker) -> None:
    def ask() -> str:
        with Client(ready.target, TokenSource(CONSUMER, ready.key_file)) as client:
            answer = client.call(INTERFACE, {"resident_id": WHO}, purpose=PURPOSE)
            with pytest.raises(NotGranted) as refusal:
                client.call(INTERFACE, {"resident_id": WHO}, purpose="other")
            assert refusal.value.request_id
            return str(answer.fields["name"])

    assert await asyncio.to_thread(ask) == "张三"


async def test_a_plain_stub_on_our_channel_carries_the_token_on_every_kind_of_call(ready: RunningBroker) -> None:
    async with aio_channel(ready.target, TokenSource(CONSUMER, ready.key_file)) as channel:
        stub = exchange_pb2_grpc.ExchangeServiceStub(channel)
        request = pb.CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE)
        answer = await stub.Call(request)
        assert answer.outcome == pb.OUTCOME_FOUND
        # nothing is sent on the stream: a write that loses the race against the refusal is told as INTERNAL by grpcio
        for call in (stub.Compose(pb.ComposeRequest()), stub.StreamCalls()):
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_token_is_used_until_a_minute_before_its_end(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    generate_key(tmp_path / "k")
    tokens = TokenSource("c", tmp_path / "k", clock=lambda: now[0])
    first = tokens()
    now[0] += 239
    assert tokens() == first
    now[0] += 1
    renewed = tokens()
    assert renewed != first
    assert jwt.decode(renewed, options={"verify_signature": False})["iat"] == int(now[0])
    assert "k" not in repr(tokens).replace("TokenSource", "")


def test_a_key_is_the_owners_only_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "k"
    generate_key(file)
    assert file.stat().st_mode & 0o777 == 0o400
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        generate_key(file)
    assert file.read_bytes() == before
    (tmp_path / "bad").write_text("no key")
    with pytest.raises(ValueError):
        load_key(tmp_path / "bad")


async def test_a_broker_that_comes_up_late_is_waited_for_by_retries(tmp_path: Path) -> None:
    generate_key(tmp_path / "k")
    target = f"127.0.0.1:{free_port()}"
    asked = []

    async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        asked.append(request)
        return pb.CallResponse(outcome=pb.OUTCOME_NOT_FOUND).SerializeToString()

    async with library.AsyncClient(target, TokenSource("c", tmp_path / "k")) as client:
        call = asyncio.create_task(client.call("i", {}, purpose="p"))
        await asyncio.sleep(0.15)
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("broker.v1.ExchangeService", {"Call": handler}),))
        server.add_insecure_port(target)
        await server.start()
        assert not (await call).found
        await server.stop(0)
    assert len(asked) == 1


async def test_nobody_there_is_a_failure_without_an_origin(tmp_path: Path) -> None:
    generate_key(tmp_path / "k")
    async with library.AsyncClient(f"127.0.0.1:{free_port()}", TokenSource("c", tmp_path / "k")) as client:
        with pytest.raises(CallFailed) as refusal:
            await client.call("i", {}, purpose="p", timeout_s=0.5)
    assert refusal.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert (refusal.value.origin, refusal.value.reason) == ("", "")
