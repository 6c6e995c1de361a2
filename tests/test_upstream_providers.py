"""The face of the folder: one connector a provider's value, from its first question to its last."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from aiohttp import web

from broker.errors import ProviderUnavailable
from broker.model.call import Record
from broker.model.catalogue import HttpEndpoint, Provider
from broker.upstream.providers import Providers
from tests.upstream_kit import GOOD, http_server, interface, provider, providers, question


class City:
    """A provider that counts connections and answers when told."""

    def __init__(self) -> None:
        self.peers: set[Any] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.peers.add(request.transport and request.transport.get_extra_info("peername"))
        await self.gate.wait()
        return web.json_response(GOOD)


def renewed(there: Provider) -> Provider:
    """The same at the same place, but by another endpoint."""
    assert isinstance(there.endpoint, HttpEndpoint)
    endpoint = msgspec.structs.replace(there.endpoint, requester_id="R2")
    return msgspec.structs.replace(there, endpoint=endpoint)


async def ask(asking: Providers, there: Provider) -> Record:
    return await asking.ask(question(interface()), there, 5)


async def test_equal_providers_share_a_connector_and_its_connections() -> None:
    city = City()
    async with http_server(city.handle) as base_url, providers() as asking:
        for _ in range(3):
            await ask(asking, provider(HttpEndpoint(base_url=base_url)))
        assert repr(asking) == "<Providers: 1 connected, 0 calls, 0 closing>"
    assert len(city.peers) == 1


async def test_what_is_not_the_endpoint_leaves_the_connector() -> None:
    city = City()
    async with http_server(city.handle) as base_url, providers() as asking:
        there = provider(HttpEndpoint(base_url=base_url))
        for changes in ({}, {"name": "Police 2"}, {"approvers": ("city-hall",)}):
            await ask(asking, msgspec.structs.replace(there, **changes))
    assert len(city.peers) == 1


async def test_an_idle_connector_is_closed_when_its_endpoint_changes() -> None:
    city = City()
    async with http_server(city.handle) as base_url, providers() as asking:
        there = provider(HttpEndpoint(base_url=base_url))
        await ask(asking, there)
        await ask(asking, renewed(there))
        assert repr(asking) == "<Providers: 1 connected, 0 calls, 0 closing>"
    assert len(city.peers) == 2


async def test_a_connector_in_use_is_closed_after_its_last_call() -> None:
    city = City()
    async with http_server(city.handle) as base_url, providers() as asking:
        there = provider(HttpEndpoint(base_url=base_url))
        city.gate.clear()
        old = [asyncio.create_task(ask(asking, there)) for _ in range(2)]
        await asyncio.sleep(0.05)
        new = asyncio.create_task(ask(asking, renewed(there)))
        await asyncio.sleep(0.05)
        city.gate.set()
        assert [record.fields for record in await asyncio.gather(*old, new)] == [GOOD] * 3
        await asyncio.sleep(0.05)
        assert repr(asking) == "<Providers: 1 connected, 0 calls, 0 closing>"


async def test_close_ends_calls_under_way_as_if_the_provider_were_gone() -> None:
    city = City()
    async with http_server(city.handle) as base_url, providers() as asking:
        there = provider(HttpEndpoint(base_url=base_url))
        city.gate.clear()
        retired = asyncio.create_task(ask(asking, there))
        await asyncio.sleep(0.05)
        current = asyncio.create_task(ask(asking, renewed(there)))
        await asyncio.sleep(0.05)
        await asking.close()
        for call in (retired, current):
            with pytest.raises(ProviderUnavailable):
                await asyncio.wait_for(call, 1)
        city.gate.set()


async def test_nothing_is_asked_after_close() -> None:
    city = City()
    async with http_server(city.handle) as base_url, providers() as asking:
        await asking.close()
        with pytest.raises(ProviderUnavailable):
            await ask(asking, provider(HttpEndpoint(base_url=base_url)))
        await asking.close()
    assert city.peers == set()
    assert len(asyncio.all_tasks()) == 1


async def test_one_provider_that_hangs_does_not_hold_up_another() -> None:
    slow, quick = City(), City()
    slow.gate.clear()
    async with http_server(slow.handle) as slow_url, http_server(quick.handle) as quick_url, providers() as asking:
        hanging = [asyncio.create_task(ask(asking, provider(HttpEndpoint(base_url=slow_url)))) for _ in range(150)]
        await asyncio.sleep(0.05)
        other = msgspec.structs.replace(provider(HttpEndpoint(base_url=quick_url)), id="tax")
        assert (await asyncio.wait_for(ask(asking, other), 2)).fields == GOOD
        slow.gate.set()
        await asyncio.gather(*hanging)
