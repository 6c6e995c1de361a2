"""Flow control through a front, and its drain: nobody waits for another, nothing is hoarded, calls in progress end well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.front_kit import STEADY, UNLIMITED, Core, RunningFront, running_front, wait_for
from tests.interop.frames import ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, grpc_message, request_fields, wire_to
from tests.relay_kit import Channel, Methods, channel_to, core, front, methods, serving

__all__ = ["core", "front", "methods"]  # fixtures
MIB = 1 << 20
NARROW = (*UNLIMITED, STEADY)


def rss(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


class Alone:
    """A front in a process of its own."""

    def __init__(self, pid: int, target: str) -> None:
        self.target, self._pid, self._before = target, pid, 0

    async def warm(self, channel: Channel) -> None:
        """Have it do once what it will do."""
        for _ in range(20):
            assert await channel.unary_unary("/t/unary_unary_echo")(bytes(65_536))
        self._before = rss(self._pid)

    @property
    def growth(self) -> int:
        return rss(self._pid) - self._before


@pytest.fixture
async def alone(core: Core) -> AsyncIterator[Alone]:
    process, said = await serving("--only", "front", "--socket", str(core.socket))
    yield Alone(process.pid, f"127.0.0.1:{said['cleartext']}")
    process.terminate()
    assert await process.wait() == 0


async def settled(methods: Methods) -> int:
    """Wait until the core gets rid of nothing more; returns how many pieces it has got rid of."""
    before = -1
    while before != methods.pieces or not methods.pieces:
        before = methods.pieces
        await asyncio.sleep(0.3)
    return before


async def test_a_slow_reader_blocks_the_core_and_takes_no_memory_of_the_front(alone: Alone, methods: Methods) -> None:
    async with channel_to(alone.target, NARROW) as channel:
        await alone.warm(channel)
        call = channel.unary_stream("/t/unary_stream_flood")(b"")
        received = [int.from_bytes((await call.read())[:4]) for _ in range(2)]
        assert await settled(methods) < 64  # of 1024 pieces of 64 KiB
        assert alone.growth < 8 * MIB
        received += [int.from_bytes((await call.read())[:4]) for _ in range(1022)]
        assert await call.read() is grpc.aio.EOF
        assert received == list(range(1024))
        assert alone.growth < 8 * MIB
        del call


async def test_a_core_that_does_not_read_blocks_the_sender_and_takes_no_memory(alone: Alone, methods: Methods) -> None:
    async def flood() -> AsyncIterator[bytes]:
        for _ in range(1024):
            yield bytes(65_536)
            methods.pieces += 1

    async with channel_to(alone.target, NARROW) as channel:
        await alone.warm(channel)
        call = channel.stream_unary("/t/stream_unary_sink")(flood())
        assert await settled(methods) < 64
        assert alone.growth < 8 * MIB
        methods.go_on.set()
        assert int.from_bytes(await call) == 64 * MIB
        assert alone.growth < 8 * MIB
        del call


async def test_with_wide_windows_the_core_would_not_be_blocked(core: Core, methods: Methods) -> None:
    wide = 1 << 30
    async with running_front(core.socket, stream_window_bytes=wide) as front, wire_to(front.target, window=65_535) as wire:
        wire.headers(1, request_fields("/t/unary_stream_flood"))
        await wire.data(1, grpc_message(b""), ends=True)
        assert await settled(methods) == 1024


@pytest.mark.parametrize("stalled", ["unary_stream_flood", "stream_unary_sink"])
async def test_a_stalled_stream_does_not_stall_others(front: RunningFront, methods: Methods, stalled: str) -> None:
    async with wire_to(front.target, window=65_535) as wire:
        wire.headers(1, request_fields(f"/t/{stalled}"))
        if stalled == "unary_stream_flood":
            await wire.data(1, grpc_message(b""), ends=True)
            await settled(methods)
        else:
            sending = asyncio.create_task(wire.data(1, grpc_message(bytes(4 * MIB))))
            await wait_for(lambda: wire.room(1) == 0)
        for stream in range(3, 23, 2):
            wire.headers(stream, request_fields("/t/unary_unary_echo"))
            await wire.data(stream, grpc_message(bytes(60_000)), ends=True)
            assert await wire.body(stream) == grpc_message(bytes(60_000))
        assert not any(frame.stream == 1 and frame.flags & END_STREAM for frame in wire.seen if frame.kind in (DATA, HEADERS))
        assert stalled == "unary_stream_flood" or not sending.done()


# --- drain ---------------------------------------------------------------------------------------------------------


async def test_a_drain_is_told_twice_and_calls_in_progress_end_well(front: RunningFront) -> None:
    async with wire_to(front.target) as wire:
        wire.headers(1, request_fields("/t/unary_unary_echo"))
        await wait_for(lambda: front.front.counters()["relayed"] == 1)
        wire.answers_pings = False
        front.front.drain()
        assert (await wire.until(lambda frame: frame.kind == GOAWAY)).number == 0x7FFFFFFF
        wire.headers(3, request_fields("/t/unary_unary_echo"))  # on its way when the front said so
        ping = await wire.until(lambda frame: frame.kind == PING)
        wire.send(PING, ACK, 0, ping.payload)
        await wire.until(lambda frame: frame.kind == GOAWAY)
        for stream in (1, 3):
            await wire.data(stream, grpc_message(b"late"), ends=True)
            assert await wire.body(stream) == grpc_message(b"late")
        await wire.closed()
        kinds = [frame.kind for frame in wire.seen if frame.kind in (GOAWAY, PING)]
        assert (kinds, [frame.number for frame in wire.seen if frame.kind == GOAWAY]) == (
            [GOAWAY, PING, GOAWAY],
            [0x7FFFFFFF, 3],
        )


async def test_without_a_drain_a_connection_stays(front: RunningFront) -> None:
    async with wire_to(front.target) as wire:
        wire.headers(1, request_fields("/t/unary_unary_echo"))
        await wire.data(1, grpc_message(b"now"), ends=True)
        assert await wire.body(1) == grpc_message(b"now")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await wire.closed()
        assert GOAWAY not in [frame.kind for frame in wire.seen]
