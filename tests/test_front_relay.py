"""The relay: what a front passes on is unchanged, what it must not pass on stays here, and nobody waits for another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.front_kit import DETAILS, STEADY, UNLIMITED, Core, RunningFront, running_front, wait_for
from tests.interop.frames import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    OK_FIELDS,
    PING,
    RST_STREAM,
    Wire,
    core_of_frames,
    grpc_message,
    request_fields,
    wire_to,
)

MIB = 1 << 20
METADATA = (("x-b", "1"), ("x-a-bin", bytes(range(256))), ("x-b", "2"), ("x-a", "~ !"), ("x-a-bin", b""))
NARROW = (*UNLIMITED, STEADY)


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
    def _told(self) -> Any:
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
async def channel(front: RunningFront) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(front.target, UNLIMITED) as channel:
        yield channel


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    """Return the status of a call, and do not hold on to it."""
    return await call.code(), await call.details()


# --- what passes ---------------------------------------------------------------------------------------------------


async def told(target: str, methods: Methods) -> tuple[list[Any], ...]:
    """Return what the core has seen of METADATA, what the client has at the beginning, and at the end."""
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.unary_unary("/t/unary_unary_metadata")(b"", metadata=METADATA)
        seen = await call.initial_metadata(), await call.trailing_metadata()
        return [pair for pair in methods.metadata if pair[0].startswith("x-")], *map(list, seen)


async def test_metadata_pass_unchanged_and_in_the_same_order_both_ways(
    front: RunningFront, core: Core, methods: Methods
) -> None:
    """grpc itself changes the order, but always in the same way."""
    relayed = await told(front.target, methods)
    assert relayed == await told(f"unix:{core.socket}", methods)
    assert [sorted(some) for some in relayed] == [sorted(METADATA)] * 3


async def test_status_details_and_trailers_of_the_core_pass_unchanged(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary("/t/unary_unary_abort")(b"")
    assert await failure(call) == (grpc.StatusCode.FAILED_PRECONDITION, "没有 100%\n")
    assert sorted(await call.trailing_metadata()) == sorted(METADATA)


@pytest.mark.parametrize("size", [0, MIB, 5 * MIB + 1])
async def test_messages_of_any_size_pass_both_ways(channel: grpc.aio.Channel, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert await channel.unary_unary("/t/unary_unary_echo")(body) == body


async def test_three_hundred_calls_at_once_over_ten_connections_leave_nothing(front: RunningFront) -> None:
    options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(front.target, options)) for _ in range(10)]
        bodies = [number.to_bytes(2) * (number * 100) for number in range(300)]
        asked = [channels[n % 10].unary_unary("/t/unary_unary_echo")(body) for n, body in enumerate(bodies)]
        assert await asyncio.gather(*asked) == bodies
        assert (front.front.counters()["open"], front.front.counters()["relayed"]) == (10, 300)
        asked.clear()
    await wait_for(lambda: front.front.counters()["open"] == 0)


# --- names that are ours -------------------------------------------------------------------------------------------


async def test_the_core_never_sees_our_names_from_a_consumer(channel: grpc.aio.Channel, methods: Methods) -> None:
    forged = (("broker-relay-certificate-bin", b"forged"), ("broker-relay-x", "1"), ("broker-relay", "2"), ("x", "3"))
    await channel.unary_unary("/t/unary_unary_metadata")(b"", metadata=forged)
    assert [pair for pair in methods.metadata if pair[0].startswith(("broker-", "x"))] == [("broker-relay", "2"), ("x", "3")]


async def test_a_consumer_never_sees_our_names_from_the_core(
    front: RunningFront, channel: grpc.aio.Channel, methods: Methods
) -> None:
    methods.trailing = [("broker-relay-note-bin", b"secret"), ("x", "1"), ("broker-relay-", "2")]
    call = channel.unary_unary("/t/unary_unary_metadata")(b"")
    assert tuple(await call.trailing_metadata()) == (("x", "1"),)


async def test_without_a_front_the_same_names_pass(core: Core, methods: Methods) -> None:
    methods.trailing = [("broker-relay-x", "1")]
    async with grpc.aio.insecure_channel(f"unix:{core.socket}") as channel:
        call = channel.unary_unary("/t/unary_unary_metadata")(b"", metadata=(("broker-relay-y", "2"),))
        assert tuple(await call.trailing_metadata()) == (("broker-relay-x", "1"),)
        assert ("broker-relay-y", "2") in methods.metadata


# --- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unary_unary", "stream_stream"])
async def test_the_core_hears_of_a_cancelled_call_within_a_second(
    channel: grpc.aio.Channel, methods: Methods, kind: str
) -> None:
    wait = getattr(channel, kind)(f"/t/{kind}_wait")
    call = wait(b"") if kind == "unary_unary" else wait()
    await wait_for(lambda: methods.running == 1)
    await asyncio.sleep(0.1)
    assert methods.running == 1
    call.cancel()
    await wait_for(lambda: methods.running == 0, within_s=1)


async def test_the_core_hears_of_a_consumer_that_is_gone(front: RunningFront, methods: Methods) -> None:
    async with wire_to(front.target) as wire:
        wire.headers(1, request_fields("/t/unary_unary_wait"))
        wire.send(DATA, END_STREAM, 1, grpc_message(b""))
        await wait_for(lambda: methods.running == 1)
    await wait_for(lambda: methods.running == 0, within_s=1)


async def test_a_deadline_passes_and_ends_the_call_on_both_sides(channel: grpc.aio.Channel, methods: Methods) -> None:
    code, _ = await failure(channel.unary_unary("/t/unary_unary_wait")(b"", timeout=0.2))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_for(lambda: methods.running == 0, within_s=1)


async def test_the_core_ends_a_stream_in_the_middle(channel: grpc.aio.Channel) -> None:
    call = channel.stream_stream("/t/stream_stream_abort")()
    assert await call.read() == b"first"
    assert await failure(call) == (grpc.StatusCode.DATA_LOSS, "in the middle")
    assert tuple(await call.trailing_metadata()) == (("x-end", "1"),)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(("error", "status"), [(2, "INTERNAL"), (8, "CANCELLED"), (11, "RESOURCE_EXHAUSTED")])
async def test_a_reset_by_the_core_passes_with_its_code(tmp_path: Path, error: int, status: str, begun: bool) -> None:
    async def resets(wire: Wire) -> None:
        while True:
            frame = await wire.until(lambda frame: frame.kind == HEADERS)
            if begun:
                wire.headers(frame.stream, OK_FIELDS)
            wire.send(RST_STREAM, 0, frame.stream, error.to_bytes(4))

    async with core_of_frames(tmp_path / "s", resets), running_front(tmp_path / "s") as front:
        async with grpc.aio.insecure_channel(front.target) as channel:
            code, _ = await failure(channel.unary_unary("/t/any")(b""))
            assert code.name == status


# --- the core is away ----------------------------------------------------------------------------------------------


async def assert_unavailable(call: Any) -> None:
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(await call.trailing_metadata())["grpc-status-details-bin"] == DETAILS


async def test_without_a_core_calls_are_unavailable_with_the_given_details(tmp_path: Path) -> None:
    async with running_front(tmp_path / "s") as front, grpc.aio.insecure_channel(front.target) as channel:
        await assert_unavailable(channel.unary_unary("/t/unary_unary_echo")(bytes(100_000)))
        assert front.front.counters()["unavailable"] == 1


async def test_a_core_that_comes_back_is_found_again(core: Core, front: RunningFront, channel: grpc.aio.Channel) -> None:
    ask = channel.unary_unary("/t/unary_unary_echo")
    for round_ in (b"first", b"second", b"third"):
        assert await ask(round_) == round_
        await core.stop()
        await assert_unavailable(ask(b"away"))
        await core.start()
        await wait_for(lambda: front.front.core is not None)
    assert await ask(b"last") == b"last"


async def test_calls_that_wait_for_a_killed_core_are_unavailable(tmp_path: Path) -> None:
    process, _ = await serving("--only", "core", "--socket", str(tmp_path / "s"))
    async with running_front(tmp_path / "s") as front, grpc.aio.insecure_channel(front.target) as channel:
        call = channel.stream_stream("/grpc.testing.TestService/HalfDuplexCall")()
        await call.write(b"")
        await wait_for(lambda: front.front.counters()["relayed"] == 1)
        process.kill()
        await assert_unavailable(call)
        del call
    await process.wait()


async def test_a_call_that_was_being_answered_fails_when_the_core_is_killed(tmp_path: Path) -> None:
    async def dies(wire: Wire) -> None:
        frame = await wire.until(lambda frame: frame.kind == HEADERS)
        wire.headers(frame.stream, OK_FIELDS)
        await wire.data(frame.stream, grpc_message(b"first"))
        await died.wait()

    died = asyncio.Event()
    async with core_of_frames(tmp_path / "s", dies), running_front(tmp_path / "s") as front:
        async with grpc.aio.insecure_channel(front.target) as channel:
            call = channel.unary_stream("/t/any")(b"")
            assert await call.read() == b"first"
            died.set()
            assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
            del call


# --- flow control --------------------------------------------------------------------------------------------------


async def serving(*arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    """Start a process that serves; returns what it says of itself once it does."""
    command = [sys.executable, "-m", "tests.interop.serve", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    return process, json.loads(await process.stdout.readline())


def rss(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


class Alone:
    """A front in a process of its own."""

    def __init__(self, pid: int, target: str) -> None:
        self.target, self._pid, self._before = target, pid, 0

    async def warm(self, channel: grpc.aio.Channel) -> None:
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
    async with grpc.aio.insecure_channel(alone.target, NARROW) as channel:
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

    async with grpc.aio.insecure_channel(alone.target, NARROW) as channel:
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
