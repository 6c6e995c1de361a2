"""What the tests of the HTTP connector share: handlers in one line."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from broker.errors import (
    ProviderError,
)
from broker.model.call import Record
from broker.model.catalogue import HttpEndpoint, HttpOperation
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
)

NOW_MS = 1_700_000_000_000
Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


def at(base_url: str) -> Any:
    return provider(HttpEndpoint(base_url=base_url))


def answering(body: Any = GOOD, **settings: Any) -> Handle:
    text = body if isinstance(body, str) else json.dumps(body)

    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=text, **settings)

    return handle


async def ask(base_url: str, operation: HttpOperation | None = None, timeout_s: float = 5, **settings: Any) -> Record:
    async with providers(config(**settings), wall_ms=lambda: NOW_MS) as asking:
        return await asking.ask(question(interface(operation)), at(base_url), timeout_s)


async def failure(base_url: str, *arguments: Any, **settings: Any) -> ProviderError:
    """Ask, and check that whatever is said of the failure holds nothing personal."""
    with pytest.raises(ProviderError) as caught:
        await ask(base_url, *arguments, **settings)
    said = everything_said(caught.value)
    assert [value for value in (PERSON, NAME, OTHER_PERSON) if value in said] == []
    return caught.value
