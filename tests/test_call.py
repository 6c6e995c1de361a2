"""The path of a call, through a running broker and a real provider: what a consumer sees."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import grpc
import msgspec
import pytest
from aiohttp import web

from broker.client import AsyncClient, CallFailed, InvalidArguments, NotGranted, OverRate, ProviderFailed, TokenRefused, decode
from broker.client.credentials import generate_key
from broker.v1 import exchange_pb2 as pb
from tests.support.calling import NOBODY, WHO, ask, put
from tests.support.catalogue import INTERFACE, PURPOSE, grant, interface
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker


async def test_first_from_the_provider_then_from_the_cache(client: AsyncClient, register: Register) -> None:
    first, second = await ask(client), await ask(client)
    assert first.fields == second.fields == {"name": "张三", "birth_date": "1980-01-01", "status": "正常"}
    assert (first.provenance.source, second.provenance.source) == ("UPSTREAM", "CACHE")
    assert register.calls == 1
    assert first.provenance.fetched_at == second.provenance.fetched_at
    assert (first.provenance.age_s, first.provenance.level, first.provenance.provider) == (0, "NATIONAL", "national.police")
    assert not second.provenance.stale


async def test_the_digest_is_that_of_the_payload(client: AsyncClient) -> None:
    for _ in range(2):
        message = await client.exchange.Call(
            pb.CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE)
        )
        assert message.provenance.digest == hashlib.sha256(message.payload).digest()


async def test_the_same_question_written_differently_is_a_hit(client: AsyncClient, register: Register) -> None:
    await ask(client)
    wide = "".join(chr(ord(char) + 0xFEE0) for char in WHO)
    assert (await ask(client, f" {wide} ")).provenance.source == "CACHE"
    assert register.calls == 1


async def test_no_record_is_an_answer_and_cached(client: AsyncClient, register: Register) -> None:
    answers = [await ask(client, NOBODY) for _ in range(2)]
    assert [answer.found for answer in answers] == [False, False]
    assert [answer.provenance.source for answer in answers] == ["UPSTREAM", "CACHE"]
    assert answers[0].fields == {}
    assert register.calls == 1


async def test_msgpack_holds_the_same_fields(client: AsyncClient) -> None:
    request = pb.CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE, encoding=pb.ENCODING_MSGPACK)
    message = await client.exchange.Call(request)
    assert msgspec.msgpack.decode(message.payload) == (await ask(client)).fields


async def test_unknown_and_not_granted_are_refused_alike(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    other = interface(id="national.person.other")
    await put(broker, register, interfaces=(interface(), other))
    refusals = []
    for name in ("national.person.other", "national.person.unknown"):
        with pytest.raises(NotGranted) as refusal:
            await client.call(name, {"resident_id": WHO}, purpose=PURPOSE)
        refusals.append((refusal.value.code, refusal.value.message, refusal.value.reason, refusal.value.metadata))
    assert refusals[0] == refusals[1]
    assert refusals[0][2:] == ("GRANT_MISSING", {"origin": "CLIENT"})


async def test_over_the_rate_says_when(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    await put(broker, register, grants=(grant(rate_per_second=2.0, burst=3),))
    answered = [await ask(client) for _ in range(3)]
    assert len(answered) == 3
    with pytest.raises(OverRate) as refusal:
        await ask(client)
    assert 0 < refusal.value.retry_after_s <= 0.5
    await asyncio.sleep(refusal.value.retry_after_s)
    assert (await ask(client)).found


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "arguments.resident_id"),
        ({"resident_id": ""}, "arguments.resident_id"),
        ({"resident_id": "12345"}, "arguments.resident_id"),
        ({"resident_id": WHO, "extra": "x"}, "arguments.extra"),
        ({"resident_id": WHO + "\u202e"}, "arguments.resident_id"),
        ({"resident_id": "9" * 65536}, "arguments.resident_id"),
        ({f"a{n}": "" for n in range(100)}, "arguments"),
    ],
)
async def test_bad_arguments_name_the_field_never_the_value(
    client: AsyncClient, register: Register, arguments: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidArguments) as refusal:
        await client.call(INTERFACE, arguments, purpose=PURPOSE)
    assert field in refusal.value.violations
    assert all(value not in str(refusal.value) for value in arguments.values() if len(value) > 3)
    assert register.calls == 0


async def test_a_message_too_large_is_refused_and_the_connection_lives(client: AsyncClient) -> None:
    with pytest.raises(OverRate):  # RESOURCE_EXHAUSTED, as gRPC says it
        await client.call(INTERFACE, {"resident_id": "9" * (2 << 20)}, purpose=PURPOSE)
    assert (await ask(client)).found


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer x.y.z"),), (("authorization", "Basic eDp5"),)])
async def test_without_a_good_token_nobody_gets_in(broker: RunningBroker, client: AsyncClient, metadata: tuple) -> None:
    async with grpc.aio.insecure_channel(broker.target) as channel:
        call = channel.unary_unary("/broker.v1.ExchangeService/Call")
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call(pb.CallRequest(interface=INTERFACE, purpose=PURPOSE).SerializeToString(), metadata=metadata)
    failure = decode(refusal.value)
    assert isinstance(failure, TokenRefused)
    assert failure.message == "a valid application token or client certificate is required"


async def test_a_foreign_key_is_refused(broker: RunningBroker, client: AsyncClient, tmp_path: Path) -> None:
    generate_key(tmp_path / "foreign.key")
    async with broker.client(key_file=tmp_path / "foreign.key") as foreign:
        with pytest.raises(TokenRefused):
            await ask(foreign)


async def test_a_thousand_callers_of_one_cold_key_are_one_question(client: AsyncClient, register: Register) -> None:
    register.delay_s = 0.5
    answers = await asyncio.gather(*(ask(client) for _ in range(1000)))
    assert register.calls == 1
    assert {answer.fields["name"] for answer in answers} == {"张三"}


async def test_a_leader_that_leaves_does_not_cancel_the_rest(client: AsyncClient, register: Register) -> None:
    register.delay_s = 0.4
    leader = asyncio.create_task(ask(client))
    await asyncio.sleep(0.1)
    followers = [asyncio.create_task(ask(client)) for _ in range(20)]
    await asyncio.sleep(0.1)
    leader.cancel()
    answers = await asyncio.gather(*followers)
    assert register.calls == 1
    assert all(answer.found for answer in answers)


async def test_a_leader_in_a_hurry_does_not_hurry_the_rest(client: AsyncClient, register: Register) -> None:
    register.delay_s = 0.4
    hasty = asyncio.create_task(ask(client, timeout_s=0.15))
    await asyncio.sleep(0.02)
    patient = asyncio.create_task(ask(client, timeout_s=3))
    with pytest.raises(CallFailed) as refusal:
        await hasty
    assert refusal.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await patient).found
    assert register.calls == 1


async def test_the_interface_bounds_the_wait(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    await put(broker, register, interfaces=(interface(timeout_ms=200),))
    register.delay_s = 1.0
    began = asyncio.get_running_loop().time()
    with pytest.raises(CallFailed) as refusal:
        await ask(client, timeout_s=5)
    assert asyncio.get_running_loop().time() - began < 0.9
    assert refusal.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    register.delay_s = 0.0
    assert (await ask(client)).provenance.source == "UPSTREAM", "nothing was cached"


async def _nonsense(_register: Register, _who: str) -> web.Response:
    return web.Response(text="<html>login</html>", content_type="text/html")


async def _somebody_else(register: Register, _who: str) -> web.Response:
    return web.json_response({"code": "0", "data": {"GMSFHM": resident_id(2), "XM": "李四", "CSRQ": "1980-01-01"}})


async def _incomplete(_register: Register, who: str) -> web.Response:
    return web.json_response({"code": "0", "data": {"GMSFHM": who, "CSRQ": "1980-01-01"}})


async def _business_error(_register: Register, _who: str) -> web.Response:
    return web.json_response({"code": "9999", "message": "张三 的记录有误"})


async def _quota(_register: Register, _who: str) -> web.Response:
    return web.json_response({"code": "5003"})


async def _failing(_register: Register, _who: str) -> web.Response:
    return web.Response(status=503)


@pytest.mark.parametrize(
    ("behaviour", "code", "reason"),
    [
        (_nonsense, "INTERNAL", "PROVIDER_ANSWER_INVALID"),
        (_somebody_else, "INTERNAL", "PROVIDER_ANSWER_INVALID"),
        (_incomplete, "INTERNAL", "PROVIDER_ANSWER_INVALID"),
        (_business_error, "FAILED_PRECONDITION", "PROVIDER_REFUSED"),
        (_quota, "RESOURCE_EXHAUSTED", "PROVIDER_QUOTA"),
        (_failing, "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
    ],
)
async def test_what_a_provider_gets_wrong_is_its_error_and_never_cached(
    client: AsyncClient, register: Register, behaviour: object, code: str, reason: str
) -> None:
    register.behaviour = behaviour  # type: ignore[assignment]
    with pytest.raises(ProviderFailed) as refusal:
        await ask(client)
    assert (refusal.value.code.name, refusal.value.reason, refusal.value.origin) == (code, reason, "UPSTREAM")
    assert "张三" not in str(refusal.value)
    assert register.calls == 1, "the client's retry policy does not multiply the load"
    register.behaviour = None
    answer = await ask(client)
    assert (answer.provenance.source, answer.fields["name"]) == ("UPSTREAM", "张三")


async def test_side_effects_are_never_shared(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    await put(broker, register, interfaces=(interface(freshness={}, side_effect=True),))
    register.delay_s = 0.1
    await asyncio.gather(*(ask(client) for _ in range(5)))
    assert register.calls == 5
