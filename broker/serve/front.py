"""A front process: takes consumers' connections, answers hot calls natively, passes everything else on to the core.

Started by the supervisor as ``python -m broker.serve.front``, with the listening sockets, which it shares with other fronts
(without them, by hand, it listens itself). It imports neither gRPC nor a database, reads what the core leaves (snapshot,
counters, cache) and follows its board. SIGTERM: serves on for `grpc.drain_ms`, takes no more connections, tells its consumers
twice that there will be an end, ends with the last call or after `grpc.grace_ms`. What must not go in here: what a call means
(`broker._native`), TLS (front_tls.py).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
import structlog
import uvloop

from broker import config
from broker._native.connection import Connection
from broker._native.front import Front
from broker._native.hot import Hot
from broker._native.hot_call import HotCall
from broker._native.hot_match import HotMatch
from broker._native.relay import Upstream
from broker._native.remembered import Remembered
from broker._native.session import live_calls
from broker.errors import StartupError
from broker.serve.board import CONNECTED, FOLLOWS, SERVES, NamedCounts, open_board, open_tally, tally_file
from broker.serve.core_address import CORE_SOCKET, READY_FD
from broker.serve.door import Door
from broker.serve.follow import Follower
from broker.serve.front_trail import FrontTrail
from broker.serve.listen import listen
from broker.serve.refusals import audit_unavailable, core_unavailable
from broker.telemetry import log as logs

log = structlog.get_logger("front")

_METHODS = {"/broker.v1.ExchangeService/Call": HotCall, "/broker.v1.ExchangeService/Match": HotMatch}
_EXPECTED = ("idle", "age")  # of any honest consumer
_TICK_S = 0.05
_CONNECT_EVERY_S = 0.02
_CONNECT_S = 2.0  # that a front waits for a core before it takes connections
_ACCEPTED_S = 0.05  # in which those who were accepted before the door was closed are connections, which have to be told
_TICKS_A_COUNT = 4  # ticks from one writing down of the counts to the next


class FrontProcess:
    """What runs between start and stop."""

    def __init__(self, settings: config.Config, slot: int) -> None:
        self._settings = settings
        data_dir = settings.path("{data_dir}")
        self._board = open_board(data_dir)
        self._counts = NamedCounts(open_tally(tally_file(data_dir, slot)))
        self._counts.put(FOLLOWS, 0, os.getpid())
        self._counts.put(SERVES, 0)
        self._counts.put(CONNECTED, 0)
        remembered = Remembered(settings.identity.remembered_tokens)
        methods = [method() for method in _METHODS.values()]
        most, away_ms = settings.grpc.max_message_bytes, settings.front.core_away_ms
        self._hot = Hot(methods, self._board, self._counts.tally, remembered, settings.limits, most, away_ms)
        self._front = Front(
            _rules(settings), tuple(_METHODS), self._hot, core_unavailable(), self._on_closed, audit_unavailable()
        )
        self._trail = FrontTrail(settings, slot, self._hot, self._front, self._board)
        self._follower = Follower(settings, self._board, self._hot, self._counts, self._trail.settled)
        self._core_socket = str(settings.path(CORE_SOCKET))
        self._stop = asyncio.Event()
        self._core_lost = asyncio.Event()
        self._connected = asyncio.Event()

    async def run(self, sockets: Sequence[int], token_sockets: Sequence[int]) -> None:
        """Serve on listening sockets until told to stop; on the second ones nobody is asked for a certificate."""
        async with self._trail.open():
            await self._run(sockets, token_sockets)

    async def _run(self, sockets: Sequence[int], token_sockets: Sequence[int]) -> None:
        loop = asyncio.get_running_loop()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection takes a descriptor
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if READY_FD in os.environ:  # started by a supervisor, whose end closes our standard input
            loop.add_reader(sys.stdin.fileno(), self._on_orphaned)
        await self._follower.start()
        chores = [asyncio.create_task(chore) for chore in (self._keep_core(), self._tick(), self._follower.run())]
        with contextlib.suppress(TimeoutError):  # without a core there are hits at least
            await asyncio.wait_for(self._connected.wait(), _CONNECT_S)
        door = Door(self._settings, lambda: Connection(self._front), sockets, token_sockets)
        await door.open()
        chores.append(asyncio.create_task(door.run()))
        self._say_ready()
        await self._stop.wait()
        await self._drain(door)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)

    def _on_orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        log.error("the supervisor has gone; stopping")
        self._stop.set()

    def _on_closed(self, reason: str) -> None:
        write = log.info if reason in _EXPECTED else log.warning
        write("connection limit", limit=reason)

    def _say_ready(self) -> None:
        gc.collect()
        gc.freeze()
        self._counts.put(SERVES, os.getpid())
        log.info("takes connections")
        if READY_FD in os.environ:
            with contextlib.suppress(BrokenPipeError):
                os.write(int(os.environ[READY_FD]), b"1")

    async def _drain(self, door: Door) -> None:
        await asyncio.sleep(self._settings.grpc.drain_ms / 1000)
        self._counts.put(SERVES, 0)
        door.close()
        self._front.drain()
        until = time.monotonic() + self._settings.grpc.grace_ms / 1000
        await asyncio.sleep(_ACCEPTED_S)
        while self._front.counters()["open"] and time.monotonic() < until:  # noqa: ASYNC110 - connections end natively
            await asyncio.sleep(0.005)
        self._put_counts()

    async def _keep_core(self) -> None:
        """Have a connection to the core, as soon as there is one to be had."""
        loop = asyncio.get_running_loop()
        while True:
            self._core_lost.clear()
            try:
                await loop.create_unix_connection(lambda: Upstream(self._front, self._core_lost.set), self._core_socket)
            except OSError:
                await asyncio.sleep(_CONNECT_EVERY_S)
                continue
            self._connected.set()
            self._counts.put(CONNECTED, 1)
            log.info("connected to the core")
            await self._core_lost.wait()
            self._counts.put(CONNECTED, 0)
            log.warning("the core has gone")

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(_TICK_S)
            self._front.tick()
            ticks += 1
            if ticks % _TICKS_A_COUNT == 0:
                self._put_counts()

    def _put_counts(self) -> None:
        counters = self._front.counters() | {"calls": live_calls()}
        for reason, count in counters.pop("closed").items():
            if count:
                self._counts.put(b"closed/" + reason.encode(), count)
        for name, count in counters.items():
            self._counts.put(f"front/{name}".encode(), count)


def _rules(settings: config.Config) -> dict[str, int]:
    elsewhere = {"ping_interval_ms": settings.grpc.keepalive_min_interval_ms, "held_timeout_ms": settings.audit.patience_ms}
    return {**msgspec.structs.asdict(settings.front), **elsewhere}


def main() -> NoReturn:
    """Run a front process."""
    parser = argparse.ArgumentParser(prog="broker.serve.front")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--json-logs", action="store_true")
    parser.add_argument("--slot", type=int, default=0)
    parser.add_argument("--listen", type=int, action="append", default=[], help="descriptor of a listening socket")
    parser.add_argument("--listen-tokens", type=int, action="append", default=[], help="the same for grpc.tls.token_address")
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments.config)
        logs.configure(settings.log, force_json=arguments.json_logs)
        front = FrontProcess(settings, arguments.slot)
        sockets = arguments.listen or [opened.detach() for opened in listen("grpc.address", settings.grpc.address)]
        uvloop.run(front.run(sockets, arguments.listen_tokens))
    except StartupError as error:
        print(f"broker: {error}", file=sys.stderr)  # noqa: T201 - the one line that a person reads
        raise SystemExit(error.exit_code) from None
    raise SystemExit(0)


if __name__ == "__main__":
    main()
