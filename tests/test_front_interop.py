"""gRPC's interop cases (its interop-test-descriptions.md), each put to the core itself, as a control, and through a front."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from tests.front_kit import Core, running_front
from tests.interop import frames, messages
from tests.interop.frames import DATA, END_STREAM, Wire, core_of_frames, grpc_message, request_fields, wire_to
from tests.interop.messages import Empty, InputRequest, OutputRequest, SimpleRequest, payload
from tests.interop.service import ECHO_INITIAL, ECHO_TRAILING, InteropService

ASKED, GIVEN = 271_828, 314_159
REQUEST_SIZES, RESPONSE_SIZES = [27_182, 8, 1828, 45_904], [31_415, 9, 2653, 58_979]
LARGE = SimpleRequest(response_size=GIVEN, payload=payload(ASKED))
METADATA = ((ECHO_INITIAL, "test_initial_metadata_value"), (ECHO_TRAILING, b"\xab\xab\xab"))
ENDED = {"code": 2, "message": "test status message"}
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \U0001f608\t\n"
UNARY_PATH = f"/{messages.SERVICE.full_name}/UnaryCall"
OUTPUT_PATH = f"/{messages.SERVICE.full_name}/StreamingOutputCall"


class Way(NamedTuple):
    """A way to a service."""

    target: str
    channel: grpc.aio.Channel
    stub: Any


@contextlib.asynccontextmanager
async def way_to(socket: Path, through: str) -> AsyncIterator[Way]:
    async with contextlib.AsyncExitStack() as stack:
        target = f"unix:{socket}"
        if through == "front":
            front = await stack.enter_async_context(running_front(socket))
            stack.callback(lambda: pytest.fail("nothing was relayed") if not front.front.counters()["relayed"] else None)
            target = front.target
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(target))
        yield Way(target, channel, messages.stub(channel))


@pytest.fixture(params=["core", "front"])
def through(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def way(tmp_path: Path, through: str) -> AsyncIterator[Way]:
    async with Core(tmp_path / "s", {}, InteropService()), way_to(tmp_path / "s", through) as found:
        yield found


def asked(*sizes: int, request: int = 0, **parameters: Any) -> Any:
    return OutputRequest(response_parameters=[{"size": size, **parameters} for size in sizes], payload=payload(request))


def sizes_of(responses: list[Any]) -> list[int]:
    assert all(response.payload.body == bytes(len(response.payload.body)) for response in responses)
    return [len(response.payload.body) for response in responses]


async def test_empty_unary(way: Way) -> None:
    assert await way.stub.EmptyCall(Empty()) == Empty()


async def test_large_unary(way: Way) -> None:
    assert sizes_of([await way.stub.UnaryCall(LARGE)]) == [GIVEN]


async def test_client_streaming(way: Way) -> None:
    answer = await way.stub.StreamingInputCall(InputRequest(payload=payload(size)) for size in REQUEST_SIZES)
    assert answer.aggregated_payload_size == 74_922


async def test_server_streaming(way: Way) -> None:
    assert sizes_of([one async for one in way.stub.StreamingOutputCall(asked(*RESPONSE_SIZES))]) == RESPONSE_SIZES


async def test_ping_pong(way: Way) -> None:
    call = way.stub.FullDuplexCall()
    answers = []
    for request, response in zip(REQUEST_SIZES, RESPONSE_SIZES, strict=True):
        await call.write(asked(response, request=request))
        answers.append(await call.read())
    await call.done_writing()
    assert sizes_of(answers) == RESPONSE_SIZES
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_empty_stream(way: Way) -> None:
    call = way.stub.FullDuplexCall()
    await call.done_writing()
    assert [one async for one in call] == []
    assert await call.code() is grpc.StatusCode.OK


async def test_timeout_on_sleeping_server(way: Way) -> None:
    await way.channel.channel_ready()
    call = way.stub.FullDuplexCall(timeout=0.001)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(asked(request=27_182))
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_cancel_after_begin(way: Way) -> None:
    call = way.stub.StreamingInputCall()
    await call.wait_for_connection()
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_cancel_after_first_response(way: Way) -> None:
    call = way.stub.FullDuplexCall()
    await call.write(asked(31_415, request=27_182))
    assert sizes_of([await call.read()]) == [31_415]
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_status_code_and_message(way: Way) -> None:
    unary = way.stub.UnaryCall(SimpleRequest(response_status=ENDED))
    duplex = way.stub.FullDuplexCall()
    await duplex.write(OutputRequest(response_status=ENDED))
    for call in (unary, duplex):
        assert (await call.code(), await call.details()) == (grpc.StatusCode.UNKNOWN, ENDED["message"])


async def test_special_status_message(way: Way) -> None:
    call = way.stub.UnaryCall(SimpleRequest(response_status={"code": 2, "message": SPECIAL}))
    assert (await call.code(), await call.details()) == (grpc.StatusCode.UNKNOWN, SPECIAL)


@pytest.mark.parametrize("service", [messages.SERVICE, messages.UNIMPLEMENTED], ids=["method", "service"])
async def test_unimplemented(way: Way, service: Any) -> None:
    call = messages.stub(way.channel, service).UnimplementedCall(Empty())
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_custom_metadata(way: Way) -> None:
    unary = way.stub.UnaryCall(LARGE, metadata=METADATA)
    duplex = way.stub.FullDuplexCall(metadata=METADATA)
    await duplex.write(asked(GIVEN, request=ASKED))
    await duplex.done_writing()
    assert sizes_of([await unary, *[one async for one in duplex]]) == [GIVEN, GIVEN]
    for call in (unary, duplex):
        assert METADATA[0] in tuple(await call.initial_metadata())
        assert METADATA[1] in tuple(await call.trailing_metadata())
        assert await call.code() is grpc.StatusCode.OK


# --- compression: whether a message is compressed is seen in its frames alone --------------------------------------------


def messages_of(body: bytes) -> list[tuple[bool, bytes]]:
    """Split what a stream has held; says of each message whether it was compressed."""
    found = []
    while body:
        end = 5 + int.from_bytes(body[1:5])
        found.append((bool(body[0]), gzip.decompress(body[5:end]) if body[0] else body[5:end]))
        body = body[end:]
    return found


async def said_to(target: str, path: str, request: Any) -> list[tuple[bool, bytes]]:
    """Ask in frames."""
    async with wire_to(target) as wire:
        wire.headers(1, request_fields(path, ("grpc-accept-encoding", "identity,gzip")))
        wire.send(DATA, END_STREAM, 1, grpc_message(request.SerializeToString()))
        return messages_of(await wire.body(1))


@pytest.mark.parametrize("compressed", [True, False])
async def test_server_compressed_unary(way: Way, compressed: bool) -> None:
    request = SimpleRequest(response_size=GIVEN, response_compressed={"value": compressed}, payload=payload(8000))
    [(was_compressed, answer)] = await said_to(way.target, UNARY_PATH, request)
    assert was_compressed == compressed
    assert sizes_of([messages.SimpleResponse.FromString(answer)]) == [GIVEN]


async def test_server_compressed_streaming(way: Way) -> None:
    request = OutputRequest(
        response_parameters=[{"size": 31_415, "compressed": {"value": True}}, {"size": 92_653, "compressed": {"value": False}}]
    )
    answers = await said_to(way.target, OUTPUT_PATH, request)
    assert [was_compressed for was_compressed, _ in answers] == [True, False]
    assert sizes_of([messages.OutputResponse.FromString(answer) for _, answer in answers]) == [31_415, 92_653]


class Compressing:
    """A core of frames for one call a connection: refuses what is not compressed as the request says that it is."""

    def __init__(self, request: Any, answer: Any) -> None:
        self._request, self._answer = request, answer

    async def __call__(self, wire: Wire) -> None:
        stream = 1
        while True:
            body = await wire.body(stream)
            received = [(was, self._request.FromString(text)) for was, text in messages_of(body)]
            wire.headers(stream, frames.OK_FIELDS)
            right = all(was == request.expect_compressed.value for was, request in received)
            if right:
                answer = self._answer([request for _, request in received])
                await wire.data(stream, grpc_message(answer.SerializeToString()))
            wire.headers(stream, [("grpc-status", "0" if right else "3")], ends=True)
            stream += 2


def expecting(compressed: bool) -> Any:
    return SimpleRequest(expect_compressed={"value": compressed}, response_size=GIVEN, payload=payload(ASKED))


async def test_client_compressed_unary(tmp_path: Path, through: str) -> None:
    core = Compressing(SimpleRequest, lambda requests: messages.SimpleResponse(payload=payload(requests[0].response_size)))
    async with core_of_frames(tmp_path / "s", core), way_to(tmp_path / "s", through) as way:
        assert await way.stub.UnaryCall(expecting(True)).code() is grpc.StatusCode.INVALID_ARGUMENT
        answers = [
            await way.stub.UnaryCall(expecting(True), compression=grpc.Compression.Gzip),
            await way.stub.UnaryCall(expecting(False)),
        ]
    assert sizes_of(answers) == [GIVEN, GIVEN]


async def test_client_compressed_streaming(tmp_path: Path, through: str) -> None:
    def summed(requests: list[Any]) -> Any:
        return messages.InputResponse(aggregated_payload_size=sum(len(request.payload.body) for request in requests))

    first, second = (
        InputRequest(payload=payload(27_182), expect_compressed={"value": True}),
        InputRequest(payload=payload(45_904)),
    )
    async with core_of_frames(tmp_path / "s", Compressing(InputRequest, summed)), way_to(tmp_path / "s", through) as way:
        assert await way.stub.StreamingInputCall([first]).code() is grpc.StatusCode.INVALID_ARGUMENT
        async with wire_to(way.target) as wire:
            wire.headers(1, request_fields(f"/{messages.SERVICE.full_name}/StreamingInputCall", ("grpc-encoding", "gzip")))
            sent = grpc_message(gzip.compress(first.SerializeToString()), True) + grpc_message(second.SerializeToString())
            await wire.data(1, sent, ends=True)
            [(_, answer)] = messages_of(await wire.body(1))
    assert messages.InputResponse.FromString(answer).aggregated_payload_size == 73_086
