"""HTTP/2 frame by frame, as either end: what a gRPC library does not show. Header blocks are written, not read."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import NamedTuple

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_INITIAL_WINDOW, _MOST_DATA, _WIDE = 4, 16_384, 0x7FFFFFFF
_FIRST_WINDOW = 65_535

Fields = Iterable[tuple[str, str]]
OK_FIELDS: Fields = ((":status", "200"), ("content-type", "application/grpc"))


class Frame(NamedTuple):
    """A frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def number(self) -> int:
        """The first 32 bits: an error code, or the last stream of a GOAWAY."""
        return int.from_bytes(self.payload[:4])


def request_fields(path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the fields of a gRPC request."""
    pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")]
    return [*pseudo, ("te", "trailers"), ("content-type", "application/grpc"), *more]


def grpc_message(body: bytes, compressed: bool = False) -> bytes:
    """Return a message with its prefix."""
    return struct.pack("!BI", compressed, len(body)) + body


def _literal(name: str, value: str) -> bytes:
    texts = [text.encode() for text in (name, value)]
    assert all(len(text) < 127 for text in texts)
    return b"\0" + b"".join(bytes([len(text)]) + text for text in texts)


class Wire:
    """One end of a connection. SETTINGS and PING are acknowledged, windows are as wide as can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._first_window = _FIRST_WINDOW
        self._used: defaultdict[int, int] = defaultdict(int)  # of the window of a stream, or (0) of the connection
        self._room = asyncio.Event()
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read_all())
        self.answers_pings = True
        self.seen: list[Frame] = []

    def greet(self, window: int) -> None:
        """Say our settings: how much may come on each stream, for it is never given more."""
        self.send(SETTINGS, 0, 0, struct.pack("!HI", _INITIAL_WINDOW, window))
        self.send(WINDOW_UPDATE, 0, 0, struct.pack("!I", _WIDE - _FIRST_WINDOW))

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Send a frame, whatever it is."""
        self._writer.write(struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload)

    def headers(self, stream: int, fields: Fields, ends: bool = False) -> None:
        """Send a header block."""
        self.send(HEADERS, END_HEADERS | ends, stream, b"".join(_literal(*field) for field in fields))

    def room(self, stream: int) -> int:
        """Return how much may be sent on a stream."""
        return self._first_window - self._used[stream]

    async def data(self, stream: int, body: bytes, ends: bool = False) -> None:
        """Send bytes as the windows of the other end let them through."""
        while body:
            room = min(_MOST_DATA, self.room(stream), _FIRST_WINDOW - self._used[0])
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            piece, body = body[:room], body[room:]
            self._used[stream] += len(piece)
            self._used[0] += len(piece)
            self.send(DATA, END_STREAM if ends and not body else 0, stream, piece)

    async def read(self) -> Frame:
        """Take the next frame.

        Raises:
            EOFError: the other end has closed.
        """
        frame = await self._frames.get()
        if frame is None:
            self._frames.put_nowait(None)
            raise EOFError
        self.seen.append(frame)
        return frame

    async def _read_all(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self._frames.put_nowait(await self._read_one())
        self._frames.put_nowait(None)

    async def _read_one(self) -> Frame:
        head = await self._reader.readexactly(9)
        kind, flags, stream = struct.unpack("!BBI", head[3:])
        frame = Frame(kind, flags, stream, await self._reader.readexactly(int.from_bytes(head[:3])))
        if (kind == SETTINGS or (kind == PING and self.answers_pings)) and not flags & ACK:
            self._acknowledge(frame)
        elif kind == WINDOW_UPDATE:
            self._used[stream] -= frame.number
            self._room.set()
        return frame

    def _acknowledge(self, frame: Frame) -> None:
        for at in range(0, len(frame.payload) if frame.kind == SETTINGS else 0, 6):
            name, value = struct.unpack_from("!HI", frame.payload, at)
            self._first_window = value if name == _INITIAL_WINDOW else self._first_window
            self._room.set()
        self.send(frame.kind, ACK, 0, frame.payload if frame.kind == PING else b"")

    async def until(self, is_it: Callable[[Frame], object]) -> Frame:
        """Read on until a frame is as wanted."""
        async with asyncio.timeout(10):
            while not is_it(frame := await self.read()):
                pass
        return frame

    async def body(self, stream: int) -> bytes:
        """Read a stream to its end and return what its DATA held."""
        await self.until(lambda frame: frame.stream == stream and frame.kind in (DATA, HEADERS) and frame.flags & END_STREAM)
        return b"".join(frame.payload for frame in self.seen if frame.kind == DATA and frame.stream == stream)

    async def closed(self) -> None:
        """Read on until the other end closes."""
        with contextlib.suppress(EOFError):
            await self.until(lambda _: False)

    def abort(self) -> None:
        """Be gone, as a killed process is."""
        self._reading.cancel()
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def wire_to(target: str, window: int = _WIDE) -> AsyncIterator[Wire]:
    """Connect to "unix:path" or "host:port" as a client."""
    host, _, port = target.rpartition(":")
    opened = asyncio.open_unix_connection(port) if host == "unix" else asyncio.open_connection(host, int(port))
    reader, writer = await opened
    wire = Wire(reader, writer)
    writer.write(PREFACE)
    wire.greet(window)
    try:
        yield wire
    finally:
        wire.abort()


@contextlib.asynccontextmanager
async def core_of_frames(path: Path, serve: Callable[[Wire], Awaitable[None]]) -> AsyncIterator[None]:
    """Listen on a unix socket; `serve` gets each connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(PREFACE)) == PREFACE
        wire = Wire(reader, writer)
        with contextlib.suppress(EOFError, asyncio.CancelledError):  # asyncio tells of its own cancelling as of an error
            wire.greet(_WIDE)
            await serve(wire)
        wire.abort()

    server = await asyncio.start_unix_server(connected, str(path))
    try:
        yield
    finally:
        server.close()
