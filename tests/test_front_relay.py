"""The relay: what a front passes on is unchanged, what it must not pass on stays here, and either end hears of the other's."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.front_kit import DETAILS, UNLIMITED, Core, RunningFront, running_front, wait_for
from tests.interop.frames import (
    DATA,
    END_STREAM,
    HEADERS,
    OK_FIELDS,
    RST_STREAM,
    Wire,
    core_of_frames,
    grpc_message,
    request_fields,
    wire_to,
)
from tests.relay_kit import METADATA, Channel, Methods, channel, channel_to, core, front, methods, serving

__all__ = ["channel", "core", "front", "methods"]  # fixtures
MIB = 1 << 20


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    """Return the status of a call, and do not hold on to it."""
    return await call.code(), await call.details()


# --- what passes ---------------------------------------------------------------------------------------------------


async def told(target: str, methods: Methods) -> tuple[list[Any], ...]:
    """Return what the core has seen of METADATA, what the client has at the beginning, and at the end."""
    async with channel_to(target) as channel:
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


async def test_status_details_and_trailers_of_the_core_pass_unchanged(channel: Channel) -> None:
    call = channel.unary_unary("/t/unary_unary_abort")(b"")
    assert await failure(call) == (grpc.StatusCode.FAILED_PRECONDITION, "没有 100%\n")
    assert sorted(await call.trailing_metadata()) == sorted(METADATA)


@pytest.mark.parametrize("size", [0, MIB, 5 * MIB + 1])
async def test_messages_of_any_size_pass_both_ways(channel: Channel, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert await channel.unary_unary("/t/unary_unary_echo")(body) == body


async def test_three_hundred_calls_at_once_over_ten_connections_leave_nothing(front: RunningFront) -> None:
    options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel_to(front.target, options)) for _ in range(10)]
        bodies = [number.to_bytes(2) * (number * 100) for number in range(300)]
        asked = [channels[n % 10].unary_unary("/t/unary_unary_echo")(body) for n, body in enumerate(bodies)]
        assert await asyncio.gather(*asked) == bodies
        assert (front.front.counters()["open"], front.front.counters()["relayed"]) == (10, 300)
        asked.clear()
    await wait_for(lambda: front.front.counters()["open"] == 0)


# --- names that are ours -------------------------------------------------------------------------------------------


async def test_the_core_never_sees_our_names_from_a_consumer(channel: Channel, methods: Methods) -> None:
    forged = (("broker-relay-certificate-bin", b"forged"), ("broker-relay-x", "1"), ("broker-relay", "2"), ("x", "3"))
    await channel.unary_unary("/t/unary_unary_metadata")(b"", metadata=forged)
    assert [pair for pair in methods.metadata if pair[0].startswith(("broker-", "x"))] == [("broker-relay", "2"), ("x", "3")]


async def test_a_consumer_never_sees_our_names_from_the_core(front: RunningFront, channel: Channel, methods: Methods) -> None:
    methods.trailing = [("broker-relay-note-bin", b"secret"), ("x", "1"), ("broker-relay-", "2")]
    call = channel.unary_unary("/t/unary_unary_metadata")(b"")
    assert tuple(await call.trailing_metadata()) == (("x", "1"),)


async def test_without_a_front_the_same_names_pass(core: Core, methods: Methods) -> None:
    methods.trailing = [("broker-relay-x", "1")]
    async with channel_to(f"unix:{core.socket}") as channel:
        call = channel.unary_unary("/t/unary_unary_metadata")(b"", metadata=(("broker-relay-y", "2"),))
        assert tuple(await call.trailing_metadata()) == (("broker-relay-x", "1"),)
        assert ("broker-relay-y", "2") in methods.metadata


# --- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unary_unary", "stream_stream"])
async def test_the_core_hears_of_a_cancelled_call_within_a_second(channel: Channel, methods: Methods, kind: str) -> None:
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


async def test_a_deadline_passes_and_ends_the_call_on_both_sides(channel: Channel, methods: Methods) -> None:
    code, _ = await failure(channel.unary_unary("/t/unary_unary_wait")(b"", timeout=0.2))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_for(lambda: methods.running == 0, within_s=1)


async def test_the_core_ends_a_stream_in_the_middle(channel: Channel) -> None:
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

    async with (
        core_of_frames(tmp_path / "s", resets),
        running_front(tmp_path / "s") as front,
        channel_to(front.target) as channel,
    ):
        code, _ = await failure(channel.unary_unary("/t/any")(b""))
        assert code.name == status


async def test_a_core_that_answers_without_reading_ends_a_large_request(channel: Channel) -> None:
    for _ in range(5):
        code, _ = await failure(channel.unary_unary("/t/unary_unary_abort")(bytes(5 * MIB)))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
    code, _ = await failure(channel.unary_unary("/t/none")(bytes(5 * MIB)))
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_calls_that_are_given_up_at_any_moment_leave_nothing(
    front: RunningFront, channel: Channel, methods: Methods
) -> None:
    chance = random.Random(1)  # no more calls than streams: what waits for a stream is not tested here
    calls = [channel.unary_unary(f"/t/unary_unary_{chance.choice(('echo', 'wait'))}") for _ in range(90)]
    asked = [call(bytes(chance.randrange(200_000)), timeout=chance.random() / 5) for call in calls]
    asked.append(channel.unary_unary("/t/unary_unary_echo")(b"patient", timeout=60))  # is answered, however slow the machine
    codes = {await call.code() for call in asked}
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
    await wait_for(lambda: methods.running == 0)
    assert (front.front.counters()["open"], front.reasons) == (1, [])


# --- the core is away ----------------------------------------------------------------------------------------------


async def assert_unavailable(call: Any) -> None:
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(await call.trailing_metadata())["grpc-status-details-bin"] == DETAILS


async def test_without_a_core_calls_are_unavailable_with_the_given_details(tmp_path: Path) -> None:
    async with running_front(tmp_path / "s") as front, channel_to(front.target) as channel:
        await assert_unavailable(channel.unary_unary("/t/unary_unary_echo")(bytes(100_000)))
        assert front.front.counters()["unavailable"] == 1


async def test_a_core_that_comes_back_is_found_again(core: Core, front: RunningFront, channel: Channel) -> None:
    ask = channel.unary_unary("/t/unary_unary_echo")
    for round_ in (b"first", b"second", b"third"):
        assert await ask(round_) == round_
        await core.stop()
        await assert_unavailable(ask(b"away"))
        await core.start()
        await wait_for(lambda: front.front.core is not None)
    assert await ask(b"last") == b"last"


async def test_a_connection_whose_streams_are_used_up_is_followed_by_another(core: Core) -> None:
    async with running_front(core.socket, calls_a_core_connection=3) as front, channel_to(front.target) as channel:
        ask, talk = channel.unary_unary("/t/unary_unary_echo"), channel.stream_stream("/t/stream_stream_wait")
        talks = [talk() for _ in range(2)]
        for call in talks:
            await call.write(b"a")
            assert await call.read() == b"a"
        assert await ask(b"the last over this connection") == b"the last over this connection"
        for number in range(10):
            await wait_for(lambda: front.front.core is not None)
            assert await ask(b"%d" % number) == b"%d" % number
        for call in talks:
            await call.write(b"b")
            assert await call.read() == b"b", "not cut off"
            assert not front.upstreams[0].is_closing()
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK
        await wait_for(front.upstreams[0].is_closing)
        assert len(front.upstreams) == 1 + 4
        del talks, call


async def test_a_core_that_stops_in_good_order_ends_its_calls_well(core: Core, channel: Channel, methods: Methods) -> None:
    call = channel.stream_unary("/t/stream_unary_sink")()
    await call.write(b"abc")
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(core.stop(grace_s=5))
    await asyncio.sleep(0.1)
    await assert_unavailable(channel.unary_unary("/t/unary_unary_echo")(b"new"))
    methods.go_on.set()
    await call.done_writing()
    assert int.from_bytes(await call) == 3
    await stopping


async def test_calls_that_wait_for_a_killed_core_are_unavailable(tmp_path: Path) -> None:
    process, _ = await serving("--only", "core", "--socket", str(tmp_path / "s"))
    async with running_front(tmp_path / "s") as front, channel_to(front.target) as channel:
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
    async with (
        core_of_frames(tmp_path / "s", dies),
        running_front(tmp_path / "s") as front,
        channel_to(front.target) as channel,
    ):
        call = channel.unary_stream("/t/any")(b"")
        assert await call.read() == b"first"
        died.set()
        assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
        del call
