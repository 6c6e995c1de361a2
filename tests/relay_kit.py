"""What the core behind a front does in the tests of the relay, and fixtures that run both. What must not go in here: tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.front_kit import UNLIMITED, Core, RunningFront, running_front

METADATA = (("x-b", "1"), ("x-a-bin", bytes(range(256))), ("x-b", "2"), ("x-a", "~ !"), ("x-a-bin", b""))
Channel = Any  # grpc.aio.Channel, whose types say nothing of calls in bytes


def channel_to(target: str, options: Any = None) -> Channel:
    """Return a channel, to be entered."""
    return grpc.aio.insecure_channel(target, options)


class Methods:
    """What the core does here, and what it has seen."""

    def __init__(self) -> None:
        self.metadata: list[tuple[str, str | bytes]] = []
        self.trailing: list[tuple[str, str | bytes]] = []
        self.running = 0
        self.pieces = 0  # sent, or received
        self.go_on = asyncio.Event()

    def handlers(self) -> dict[str, Any]:
        names = [name for name in dir(self) if "_" in name and name.split("_")[0] in ("unary", "stream")]
        kinds = {name: "_".join(name.split("_")[:2]) for name in names}
        return {f"/t/{name}": getattr(grpc, f"{kinds[name]}_rpc_method_handler")(getattr(self, name)) for name in names}

    async def unary_unary_echo(self, request: bytes, context: Any) -> bytes:
        return request

    async def unary_unary_metadata(self, _: bytes, context: Any) -> bytes:
        self.metadata = list(context.invocation_metadata())
        await context.send_initial_metadata(METADATA)
        context.set_trailing_metadata(self.trailing or METADATA)
        return b""

    async def unary_unary_abort(self, _: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "没有 100%\n", METADATA)

    async def unary_unary_wait(self, _: bytes, context: Any) -> bytes:
        with self._told():
            await asyncio.sleep(60)
        return b""

    async def stream_stream_wait(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        with self._told():
            async for request in requests:
                yield request

    async def stream_stream_abort(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await context.abort(grpc.StatusCode.DATA_LOSS, "in the middle", (("x-end", "1"),))

    async def unary_stream_flood(self, _: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(1024):
            yield number.to_bytes(4) + bytes(65_532)
            self.pieces += 1

    async def stream_unary_sink(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        await self.go_on.wait()
        return sum([len(request) async for request in requests]).to_bytes(8)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1


@pytest.fixture
def methods() -> Methods:
    return Methods()


@pytest.fixture
async def core(tmp_path: Path, methods: Methods) -> AsyncIterator[Core]:
    async with Core(tmp_path / "s", methods.handlers()) as core:
        yield core


@pytest.fixture
async def front(core: Core) -> AsyncIterator[RunningFront]:
    async with running_front(core.socket) as front:
        yield front


@pytest.fixture
async def channel(front: RunningFront) -> AsyncIterator[Channel]:
    async with channel_to(front.target, UNLIMITED) as channel:
        yield channel


async def serving(*arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    """Start a process that serves; returns what it says of itself once it does."""
    command = [sys.executable, "-m", "tests.interop.serve", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    return process, json.loads(await process.stdout.readline())
