"""HTTP providers, over real sockets: what is sent, and lines that break, hang or never end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from broker.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderTimeout,
    ProviderUnavailable,
)
from broker.model.call import Record
from broker.model.catalogue import Envelope, HttpOperation
from tests.http_kit import NOW_MS, answering, ask, at, failure
from tests.upstream_kit import (
    GOOD,
    NAME,
    OTHER_PERSON,
    PERSON,
    Handler,
    config,
    http_server,
    interface,
    providers,
    question,
    raw_server,
)

# --- asking -------------------------------------------------------------------------------------------------------------


async def test_a_post_carries_the_parameters_as_json() -> None:
    seen: list[web.Request] = []
    bodies: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.json())
        return web.json_response(GOOD)

    operation = HttpOperation(path="/person/query", parameters={"sfzh": "{resident_id}", "xm": "{name}", "type": "1"})
    async with http_server(handle) as base_url:
        record = await ask(base_url, operation)
    assert record == Record(fields=GOOD, fetched_at_ms=NOW_MS)
    assert (seen[0].method, seen[0].path, seen[0].content_type) == ("POST", "/person/query", "application/json")
    assert bodies == [{"sfzh": PERSON, "type": "1"}]
    assert "Cookie" not in seen[0].headers


async def test_a_get_carries_them_as_a_query_and_leaves_nothing_ambiguous() -> None:
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"resident_id": PERSON, "name": NAME})

    name = "a&b=c+d %20#?" + NAME
    operation = HttpOperation(path="/person", method="GET", parameters={"sfzh": "{resident_id}", "xm": "{name}"})
    async with http_server(handle) as base_url, providers() as asking:
        await asking.ask(question(interface(operation), resident_id=PERSON, name=name), at(base_url), 5)
    assert dict(seen[0].query) == {"sfzh": PERSON, "xm": name}
    assert not seen[0].can_read_body


async def test_an_answer_is_taken_out_of_its_envelope_and_made_canonical() -> None:
    body = {"code": 200, "data": {"records": [{"sfzh": "11010519491231002x", "person": {"xm": NAME}}]}}
    operation = HttpOperation(
        path="/",
        envelope=Envelope(record="data.records.0", code="code", success=("200",), not_found=("404",)),
        fields={"resident_id": "sfzh", "name": "person.xm"},
    )
    async with http_server(answering(body)) as base_url:
        assert (await ask(base_url, operation)).fields == GOOD
    async with http_server(answering({"code": "404"})) as base_url:
        assert (await ask(base_url, operation)).fields is None


async def test_json_is_read_whatever_it_calls_itself() -> None:
    async with http_server(answering(content_type="text/html")) as base_url:
        assert (await ask(base_url)).fields == GOOD


async def test_connections_are_kept_and_bounded_and_cookies_are_not() -> None:
    peers: set[Any] = set()
    cookies: list[str] = []
    at_once = most = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        peers.add(request.transport and request.transport.get_extra_info("peername"))
        cookies.append(request.headers.get("Cookie", ""))
        await asyncio.sleep(0.005)
        at_once -= 1
        return web.json_response(GOOD, headers={"Set-Cookie": "session=1; Path=/"})

    async with http_server(handle) as base_url, providers(config(max_connections_per_provider=4)) as asking:
        named = at(base_url.replace("127.0.0.1", "localhost"))  # aiohttp's own jar would ignore cookies of a bare address
        for _ in range(2):
            await asyncio.gather(*(asking.ask(question(), named, 5) for _ in range(20)))
    assert most == 4
    assert len(peers) == 4
    assert set(cookies) == {""}


async def test_proxies_of_the_environment_are_not_for_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with http_server(answering()) as base_url:
        assert (await ask(base_url)).fields == GOOD


async def test_waiting_for_a_connection_counts_as_time() -> None:
    async def handle(_: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return web.json_response(GOOD)

    async with http_server(handle) as base_url, providers(config(max_connections_per_provider=1)) as asking:
        first = asyncio.create_task(asking.ask(question(), at(base_url), 5))
        await asyncio.sleep(0.05)
        with pytest.raises(ProviderTimeout):
            await asking.ask(question(), at(base_url), 0.1)
        assert (await first).fields == GOOD


# --- UP-02: lines that break, hang or never end -------------------------------------------------------------------------


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def reset_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.transport.abort()


async def close_before_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def fewer_bytes_than_announced(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + json.dumps(GOOD).encode())
    writer.write_eof()
    await writer.drain()


async def half_a_chunk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
    await writer.drain()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def not_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


async def endless_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        (hang, ProviderTimeout),
        (drip, ProviderTimeout),
        (reset_in_the_body, ProviderUnavailable),
        (close_before_the_answer, ProviderUnavailable),
        (fewer_bytes_than_announced, ProviderUnavailable),
        (half_a_chunk, ProviderUnavailable),
        (not_http, ProviderNonsense),
        (endless, ProviderNonsense),
        (endless_header, ProviderNonsense),
    ],
)
async def test_a_line_that_breaks_hangs_or_never_ends_is_a_typed_error_in_time(
    handle: Handler, expected: type[ProviderError]
) -> None:
    async with raw_server(handle) as address:
        began = time.monotonic()
        error = await failure(f"http://{address}", timeout_s=0.3, max_answer_bytes=1 << 20)
        assert time.monotonic() - began < 1
    assert type(error) is expected


async def test_more_bytes_than_announced_do_not_become_the_next_answer() -> None:
    async def two_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps(GOOD).encode()
        other = json.dumps(GOOD | {"resident_id": OTHER_PERSON}).encode()
        while await reader.readuntil(b"\r\n\r\n"):
            for content in (body, other):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            await writer.drain()

    async with raw_server(two_answers) as address, providers() as asking:
        for _ in range(5):
            assert (await asking.ask(question(), at(f"http://{address}"), 5)).fields == GOOD


async def test_a_port_where_nobody_listens_is_unavailable() -> None:
    async with raw_server(hang) as address:
        pass
    assert type(await failure(f"http://{address}")) is ProviderUnavailable


async def test_a_connection_that_is_never_accepted_ends_after_the_connect_timeout() -> None:
    async with full_backlog() as address:
        began = time.monotonic()
        error = await failure(f"http://{address}", timeout_s=5, connect_timeout_ms=200)
        assert time.monotonic() - began < 1
    assert type(error) is ProviderTimeout


@contextlib.asynccontextmanager
async def full_backlog() -> AsyncIterator[str]:
    """A listening socket whose queue is full: the kernel drops further SYNs, as a black hole does."""
    with socket.socket() as server, contextlib.ExitStack() as fillers:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(server.getsockname())
        await asyncio.sleep(0.05)
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def test_no_time_left_sends_nothing() -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(GOOD)

    async with http_server(handle) as base_url:
        for none_left in (0, -1):
            assert type(await failure(base_url, timeout_s=none_left)) is ProviderTimeout
    assert asked == []


async def test_a_caller_that_leaves_frees_the_connection() -> None:
    async def handle(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.json_response(GOOD)

    async with http_server(handle) as base_url, providers(config(max_connections_per_provider=1)) as asking:
        for _ in range(3):
            leaving = asyncio.create_task(asking.ask(question(), at(base_url), 5))
            await asyncio.sleep(0.02)
            assert repr(asking) == "<Providers: 1 connected, 1 calls, 0 closing>"
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        assert repr(asking) == "<Providers: 1 connected, 0 calls, 0 closing>"


# --- privacy ------------------------------------------------------------------------------------------------------------


async def test_nothing_personal_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    operation = HttpOperation(path="/person", method="GET", parameters={"sfzh": "{resident_id}"})
    for handle in (reset_in_the_body, not_http, hang):
        async with raw_server(handle) as address:
            await failure(f"http://{address}", operation, timeout_s=0.1)
    for answer in (answering(GOOD | {"resident_id": OTHER_PERSON}), answering(GOOD, status=500), answering([NAME])):
        async with http_server(answer) as base_url:
            await failure(base_url, operation)
    assert [value for value in (PERSON, OTHER_PERSON, NAME) if value in caplog.text] == []
