"""A front in this process, before a gRPC server on a unix socket. What must not go in here: tests, and what a core answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
from google.rpc import code_pb2, status_pb2

from broker._native.connection import Connection
from broker._native.front import Front, Handler
from broker._native.relay import Upstream

RECONNECT_S = 0.02
PATIENCE_S = 5
STEADY = ("grpc.http2.bdp_probe", 0)  # else grpc widens its windows by and by
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
DETAILS = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="the core is away").SerializeToString()
_BUDGETS = {  # burst, and how fast it fills
    "frames": (200_000, 200_000),
    "resets": (200, 33),
    "pings": (20, 2),
    "settings": (20, 2),
    "priorities": (100, 10),
    "window_updates": (1000, 100),
    "empty_frames": (1, 1),
    "unknown_frames": (20, 2),
}
_RULES = {
    "preface_timeout_ms": 5000,
    "settings_timeout_ms": 10_000,
    "header_timeout_ms": 10_000,
    "idle_timeout_ms": 300_000,
    "max_age_ms": 1_800_000,
    "drain_timeout_ms": 300_000,
    "stalled_stream_timeout_ms": 30_000,
    "held_timeout_ms": 1_000,
    "stalled_timeout_ms": 60_000,
    "ping_interval_ms": 10_000,
    "streams": 100,
    "stream_window_bytes": 65_536,
    "connection_window_bytes": 1 << 20,
    "header_fields": 64,
    "header_bytes": 16_384,
    "outbound_bytes": 1 << 20,
    "calls_a_core_connection": 500_000_000,
    "connections": 10_000,
    "connections_of_identity": 1000,
    "continuations": 8,
    "header_block_bytes": 65_536,
}


def rules(**changes: int) -> dict[str, int]:
    """Return the rules of a front, some of them changed."""
    budgets = {name: burst for name, (burst, _) in _BUDGETS.items()}
    rates = {f"{name}_per_second": rate for name, (_, rate) in _BUDGETS.items()}
    known = {**_RULES, **budgets, **rates}
    assert changes.keys() <= known.keys()
    return {**known, **changes}


async def wait_for(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Look again and again until something is so."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        await asyncio.sleep(0.005)


class Core(grpc.GenericRpcHandler):
    """A gRPC server on a unix socket that can go and come back; `methods` are handlers of grpc by their paths."""

    def __init__(self, socket: Path, methods: Mapping[str, Any], *others: grpc.GenericRpcHandler) -> None:
        self.socket = socket
        self._methods = methods
        self._others = others
        self._server: Any = None

    def service(self, details: Any) -> Any:
        """Find a method."""
        return self._methods.get(details.method)

    async def start(self) -> None:
        """Listen."""
        self._server = grpc.aio.server(options=(*UNLIMITED, STEADY))
        self._server.add_generic_rpc_handlers((self, *self._others))
        self._server.add_insecure_port(f"unix:{self.socket}")
        await self._server.start()

    async def stop(self, grace_s: float = 0) -> None:
        """Go; calls in progress have so long to end."""
        await self._server.stop(grace_s)

    async def __aenter__(self) -> Core:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class RunningFront:
    """A front that listens, and that looks for its core again and again."""

    def __init__(self, core: Path, changes: Mapping[str, int]) -> None:
        self.reasons: list[str] = []  # why it has ended connections and streams
        unavailable = base64.b64encode(DETAILS).rstrip(b"=")
        self.front = Front(rules(**changes), ("/none/none",), Handler(), unavailable, self.reasons.append)
        self.target = ""
        self._core = core
        self.upstreams: list[asyncio.Transport] = []
        self._servers: list[asyncio.Server] = []

    async def listen(self, port: int = 0, tls: ssl.SSLContext | None = None) -> int:
        """Listen on a port, a free one if it is 0; returns it."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self.front), "127.0.0.1", port, ssl=tls)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def connect(self) -> None:
        """Connect to the core if it is there."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            transport, _ = await loop.create_unix_connection(lambda: Upstream(self.front, _nothing), str(self._core))
            self.upstreams.append(transport)

    async def keep(self) -> None:
        """Look for the core whenever there is none, and end what has taken too long."""
        while True:
            if self.front.core is None:
                await self.connect()
            self.front.tick()
            await asyncio.sleep(RECONNECT_S)

    def close(self) -> None:
        """Listen no more, and leave the core."""
        for server in self._servers:
            server.close()
        for transport in self.upstreams:
            transport.abort()


def _nothing() -> None:
    """The loop that keeps the front looks for the core anyway."""


@contextlib.asynccontextmanager
async def running_front(core: Path, **changes: int) -> AsyncIterator[RunningFront]:
    """Run a front within the context. Whoever connects to it has to leave before the end: then nobody may be left.

    A channel of grpc stays connected, though closed, for as long as one of its calls is held.
    """
    running = RunningFront(core, changes)
    await running.connect()
    keeping = asyncio.create_task(running.keep())
    running.target = f"127.0.0.1:{await running.listen()}"
    try:
        yield running
        await wait_for(lambda: running.front.counters()["open"] == 0)
        assert not keeping.done(), keeping
    finally:
        keeping.cancel()
        running.close()
