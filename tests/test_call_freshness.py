"""How old an answer may be and whose it is: stale answers, ages, masks, purges, and definitions that change."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from broker.client import AsyncClient, NotGranted, ProviderFailed
from broker.client.credentials import TokenSource, generate_key
from broker.v1 import exchange_pb2 as pb
from tests.support.calling import WHO, ask, put
from tests.support.catalogue import INTERFACE, PURPOSE, catalogue, consumer, grant, interface, provider
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually


async def _failing(_register: Register, _who: str) -> web.Response:
    return web.Response(status=503)


async def test_max_age_is_obeyed(client: AsyncClient, register: Register) -> None:
    await ask(client)
    await asyncio.sleep(0.05)
    assert (await ask(client, max_age_s=60)).provenance.source == "CACHE"
    assert (await ask(client, max_age_s=0)).provenance.source == "UPSTREAM"
    assert register.calls == 2


async def test_two_masks_never_share_an_answer_but_share_the_question(
    broker: RunningBroker, register: Register, client: AsyncClient, tmp_path: Path
) -> None:
    key = tmp_path / "notary.key"
    notary = consumer(generate_key(key), id="notary")
    both = (grant(), grant(id="g2", consumer="notary", fields=["status"]))
    await put(broker, register, consumers=(consumer(broker.public_key), notary), grants=both)
    register.delay_s = 0.2
    async with AsyncClient(broker.target, TokenSource("notary", key)) as narrow:
        wide, masked = await asyncio.gather(ask(client), ask(narrow))
        assert set(wide.fields) == {"name", "birth_date", "status"}
        assert masked.fields == {"status": "正常"}
        assert register.calls == 1, "one question to the provider for both"
        assert (await ask(narrow)).fields == {"status": "正常"}
        assert (await ask(client)).fields == wide.fields
    assert register.calls == 1


async def test_narrowing_a_grant_reaches_what_is_cached(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    await ask(client)
    await broker.put(catalogue(register.base_url, broker.public_key, grants=(grant(fields=["status"]),)))
    assert (await ask(client)).fields == {"status": "正常"}


async def test_a_grant_taken_away_reaches_what_is_cached(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    await ask(client)
    await broker.put(catalogue(register.base_url, broker.public_key, grants=()))
    with pytest.raises(NotGranted):
        await ask(client)


async def test_down_and_known_is_answered_stale_and_marked(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    freshness = {"cacheable": True, "ttl_s": 1, "stale_if_error_s": 60, "jitter_ratio": 0.0}
    await put(broker, register, interfaces=(interface(freshness=freshness),))
    await ask(client)
    await register.down()
    await asyncio.sleep(1.1)
    stale = await ask(client)
    assert (stale.provenance.source, stale.provenance.stale, stale.fields["name"]) == ("CACHE", True, "张三")
    assert stale.provenance.age_s >= 1
    with pytest.raises(ProviderFailed):
        await ask(client, resident_id(5))
    with pytest.raises(ProviderFailed):
        await ask(client, max_age_s=1)


async def test_stale_while_revalidate_refreshes_behind_the_caller(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    freshness = {"cacheable": True, "ttl_s": 1, "stale_while_revalidate_s": 60, "jitter_ratio": 0.0}
    await put(broker, register, interfaces=(interface(freshness=freshness),))
    await ask(client)
    register.add(WHO, "张三丰")
    await asyncio.sleep(1.1)
    register.delay_s = 0.8
    stale = await asyncio.gather(*(ask(client) for _ in range(20)))
    assert all(answer.provenance.stale and answer.fields["name"] == "张三" for answer in stale)

    async def renewed() -> bool:
        answer = await ask(client)
        return (answer.fields["name"], answer.provenance.stale) == ("张三丰", False)

    await eventually(renewed)
    assert register.calls == 2, "asked again once, however many saw the stale answer"


async def test_not_cacheable_means_asked_every_time(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    await put(broker, register, interfaces=(interface(freshness={}),))
    assert [(await ask(client)).provenance.source for _ in range(3)] == ["UPSTREAM"] * 3
    assert register.calls == 3


async def test_an_answer_on_its_way_is_not_cached_across_a_purge(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    register.delay_s = 1.5
    before = asyncio.create_task(ask(client))
    await asyncio.sleep(0.2)
    await broker.purge(interface=INTERFACE)
    register.delay_s = 0.0
    register.add(WHO, "张三丰")
    assert (await ask(client)).fields["name"] == "张三丰"
    await before
    assert (await ask(client)).fields["name"] == "张三丰"


async def test_a_provider_that_moves_is_followed(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    await ask(client)
    async with Register() as moved:
        moved.add(WHO, "张三")
        await put(broker, register, providers=(provider(moved.base_url),))
        assert (await ask(client)).provenance.source == "UPSTREAM"
        assert (register.calls, moved.calls) == (1, 1)


async def test_what_was_cached_under_another_definition_is_no_answer(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    await ask(client)
    for changed in (
        interface(freshness={}),
        interface(side_effect=True, freshness={}),
        interface(freshness={"cacheable": True, "ttl_s": 599}),
        interface(operation=msgspec.to_builtins(interface().operation) | {"path": "/person", "service_id": "s_2"}),
    ):
        asked = register.calls
        await broker.put(catalogue(register.base_url, broker.public_key, interfaces=(changed,)))
        assert (await ask(client)).provenance.source == "UPSTREAM"
        assert register.calls == asked + 1
    async with Register() as moved:
        moved.add(WHO, "李四")
        await broker.put(catalogue(moved.base_url, broker.public_key))
        assert (await ask(client)).fields["name"] == "李四", "an old server's record is not the new one's"


async def test_a_caller_under_a_new_definition_does_not_join_the_old_ones_flight(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    register.delay_s = 0.6
    before = asyncio.create_task(ask(client))
    await asyncio.sleep(0.1)
    wider = msgspec.to_builtins(interface().answer) | {"address": {"type": "address"}}
    register.add(WHO, "张三", address="听松路1号")
    both = (grant(fields=["name", "address"]),)
    await broker.put(
        catalogue(register.base_url, broker.public_key, interfaces=(interface(answer=wider, timeout_ms=2001),), grants=both)
    )
    assert (await ask(client)).fields == {"name": "张三", "address": "听松路1号"}
    assert (await before).found


async def test_a_record_that_is_gone_does_not_live_on_in_the_cache(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    freshness = {"cacheable": True, "ttl_s": 1, "stale_while_revalidate_s": 600, "stale_if_error_s": 600, "jitter_ratio": 0.0}
    await put(broker, register, interfaces=(interface(freshness=freshness),))
    await ask(client)
    await client.exchange.Call(
        pb.CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE, encoding=pb.ENCODING_MSGPACK)
    )
    del register.people[WHO]
    assert not (await ask(client, max_age_s=0)).found
    assert not (await ask(client)).found, "the answer before is not answered again"
    again = await client.exchange.Call(
        pb.CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE, encoding=pb.ENCODING_MSGPACK)
    )
    assert again.outcome == pb.OUTCOME_NOT_FOUND, "nor in another encoding"


async def test_a_failing_provider_is_not_asked_at_every_stale_answer(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    freshness = {"cacheable": True, "ttl_s": 1, "stale_while_revalidate_s": 600, "jitter_ratio": 0.0}
    await put(broker, register, interfaces=(interface(freshness=freshness),))
    await ask(client)
    await asyncio.sleep(1.1)
    register.behaviour = _failing
    for _ in range(30):
        assert (await ask(client)).provenance.stale
        await asyncio.sleep(0.005)
    assert register.calls == 2


async def test_in_an_outage_hits_are_answered_the_old_is_stale_and_the_rest_is_refused_at_once(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    stale_later = {"cacheable": True, "ttl_s": 1, "stale_if_error_s": 600, "jitter_ratio": 0.0}
    both = (interface(freshness=stale_later), interface(id="city.person.kept"))
    grants = (grant(), grant(id="g-kept", interface="city.person.kept"))
    await put(broker, register, interfaces=both, grants=grants)

    async def hit() -> float:
        began_s = time.perf_counter()
        answer = await client.call("city.person.kept", {"resident_id": WHO}, purpose=PURPOSE)
        assert (answer.provenance.source, answer.provenance.stale) == ("CACHE", False)
        return time.perf_counter() - began_s

    await client.call("city.person.kept", {"resident_id": WHO}, purpose=PURPOSE)
    await ask(client)
    await asyncio.sleep(1.1)
    healthy_s = sorted([await hit() for _ in range(100)])
    register.behaviour = _failing
    calls, refused = register.calls, 0
    for i in range(40):
        with pytest.raises(ProviderFailed) as caught:
            await ask(client, resident_id(100 + i))
        refused += caught.value.reason == "PROVIDER_BREAKER_OPEN"
    last = caught.value
    assert (last.code.name, last.reason, last.origin) == ("UNAVAILABLE", "PROVIDER_BREAKER_OPEN", "UPSTREAM")
    assert last.retry_after_s is not None and 0 < last.retry_after_s <= 2.5
    assert register.calls - calls == 40 - refused <= 20
    seen = register.calls
    assert (await ask(client)).provenance.stale, "as if the provider had failed once more"
    outage_s = sorted([await hit() for _ in range(100)])
    assert outage_s[10] <= 1.5 * healthy_s[10], "the breaker is not on the way of a hit"
    assert register.calls <= seen + 1, "a probe, at most"


async def test_what_was_purged_is_not_given_as_stale_by_a_call_under_way(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    freshness = {"cacheable": True, "ttl_s": 1, "stale_if_error_s": 600, "jitter_ratio": 0.0}
    await put(broker, register, interfaces=(interface(freshness=freshness),))
    await ask(client)
    await asyncio.sleep(1.1)
    register.behaviour, register.delay_s = _failing, 0.5
    under_way = asyncio.create_task(ask(client))
    await asyncio.sleep(0.2)
    assert await broker.purge(subject=WHO) == 1
    with pytest.raises(ProviderFailed):
        await under_way


async def test_a_provider_that_left_the_catalogue_is_let_go(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    await ask(client)
    port = int(register.base_url.rpartition(":")[2])
    assert _connections_to(broker.core_pid(), port) == 1
    await broker.put(catalogue(register.base_url, broker.public_key, providers=(), interfaces=(), grants=()))
    for _ in range(100):
        if not _connections_to(broker.core_pid(), port):
            break
        await asyncio.sleep(0.02)
    assert _connections_to(broker.core_pid(), port) == 0


def _connections_to(pid: int, port: int) -> int:
    """Established connections of a process to a local port, as the kernel has them."""
    sockets = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has been closed meanwhile
            sockets.add(str(path.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(row[3] == "01" and row[2].endswith(f":{port:04X}") and f"socket:[{row[9]}]" in sockets for row in rows)


async def test_the_age_of_a_stale_answer_is_that_of_the_moment_it_leaves(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    freshness = {"cacheable": True, "ttl_s": 1, "stale_if_error_s": 60, "jitter_ratio": 0.0}
    await put(broker, register, interfaces=(interface(freshness=freshness),))
    await ask(client)
    await asyncio.sleep(1.1)
    register.behaviour, register.delay_s = _failing, 0.7
    stale = await ask(client)
    assert stale.provenance.stale
    assert stale.provenance.age_s >= 1.8, "the wait for the provider that failed is part of it"
