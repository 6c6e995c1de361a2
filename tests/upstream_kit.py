"""Small makers of providers, interfaces and questions, and a byte-level server, for the tests of `broker/upstream`."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from broker.config import Config, Upstream
from broker.model.call import Question
from broker.model.catalogue import Endpoint, HttpOperation, Interface, Operation, Provider
from broker.upstream.providers import Providers

PERSON = "11010519491231002X"
OTHER_PERSON = "440524188001010014"
NAME = "买买提·吐尔逊"
SCHEMA = {"resident_id": {"type": "resident_id"}, "name": {"type": "person_name"}}
GOOD = {"resident_id": PERSON, "name": NAME}


def interface(operation: Operation | None = None, answer: Any = SCHEMA, **settings: Any) -> Interface:
    arguments = {"resident_id": {"type": "resident_id"}, "name": {"type": "person_name", "required": False}}
    values = {"id": "person", "title": "Person", "provider": "police", "arguments": arguments, "answer": answer} | settings
    values.setdefault("subject", {"argument": "resident_id", "answer": "resident_id"})
    made = operation or HttpOperation(path="/person", parameters={"sfzh": "{resident_id}", "xm": "{name}"})
    return msgspec.convert({**values, "operation": msgspec.to_builtins(made)}, Interface)


def question(of: Interface | None = None, /, **arguments: str) -> Question:
    given = arguments or {"resident_id": PERSON}
    return Question(interface=of or interface(), arguments=tuple(sorted(given.items())), key=b"k" * 32, definition=b"d" * 16)


def provider(endpoint: Endpoint) -> Provider:
    values = {"id": "police", "name": "Police", "level": "CITY", "endpoint": msgspec.to_builtins(endpoint)}
    return msgspec.convert(values, Provider)


def config(directory: Path | None = None, **upstream: Any) -> Config:
    return Config(upstream=Upstream(**upstream, **({"secrets_dir": str(directory)} if directory else {})))


@contextlib.asynccontextmanager
async def providers(settings: Config | None = None, **clock: Callable[[], int]) -> AsyncIterator[Providers]:
    """Providers that are closed at the end."""
    made = Providers(settings or config(), **clock)
    try:
        yield made
    finally:
        await made.close()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(handle: Handler) -> AsyncIterator[str]:
    """A server that speaks whatever bytes `handle` writes; yields host:port."""
    at_work: set[asyncio.Task[None]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        at_work.add(task)
        with contextlib.suppress(ConnectionError, EOFError, asyncio.CancelledError):
            await handle(reader, writer)
        at_work.discard(task)
        writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work)


def everything_said(error: BaseException) -> str:
    """All that a log could show of an error: text, repr, chain, traceback, metadata."""
    metadata = error.metadata() if hasattr(error, "metadata") else {}
    return "".join(traceback.format_exception(error)) + repr(error) + repr(metadata)


@contextlib.asynccontextmanager
async def http_server(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A real HTTP server on a free port that gives every request to `handle`; yields its base URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
