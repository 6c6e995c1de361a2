"""Raw HTTP/2 for attacks, and the scene of one: a broker, an honest consumer beside, what the attack may cost. No tests."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import hpack
from hyperframe import frame as frames

from broker.client import TokenSource
from broker.v1 import exchange_pb2, exchange_pb2_grpc
from tests.support.calling import WHO, put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE
from tests.support.provider import Register
from tests.support.running import RunningBroker, wait_until

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, REFUSED_STREAM, CANCEL = 0, 1, 3, 5, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW = 4

CALL, CHECK = "/broker.v1.ExchangeService/Call", "/grpc.health.v1.Health/Check"
MIB = 1 << 20
AT_ONCE_S = 1.0  # what has gone too far ends so soon
PATIENCE_S = 10.0  # for what takes how long it takes
HONEST_S = 2.0  # no honest call takes longer; alone it takes a millisecond
_WARM_CALLS = 50
_FIRST_WINDOW = 65_535

Fields = Iterable[tuple[str | bytes, str | bytes]]


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame, whatever it is."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def literal(*fields: tuple[str | bytes, str | bytes]) -> bytes:
    """Return header fields as HPACK without tables and without Huffman, whatever they hold."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return number(len(data), 7) + data


def number(value: int, bits: int, first: int = 0) -> bytes:
    """Return an integer as HPACK has it (RFC 7541 §5.1), with the bits of the first byte that are before it."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes([*out, value])


def fields_of(path: str | bytes = CHECK, *more: tuple[str | bytes, str | bytes], **changes: str | None) -> list[Any]:
    """Return the header fields of a gRPC request; a change of None leaves a field out."""
    usual = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test"}
    usual |= {"te": "trailers", "content-type": "application/grpc"}
    usual |= {{"method": ":method", "scheme": ":scheme"}.get(name, name.replace("_", "-")): to for name, to in changes.items()}
    return [*((name, value) for name, value in usual.items() if value is not None), *more]


def message(body: bytes = b"", flag: int = 0, length: int | None = None) -> bytes:
    """Return a gRPC message with its prefix, which may lie."""
    return struct.pack("!BI", flag, len(body) if length is None else length) + body


def headers(stream: int, fields: Fields, ends: bool = False) -> bytes:
    """Return a header block, in as many frames as it takes."""
    first, *rest = _pieces(literal(*fields))
    kinds = [(HEADERS, int(ends), first), *((CONTINUATION, 0, piece) for piece in rest)]
    flags = [*[0] * len(rest), END_HEADERS]
    return b"".join(raw(kind, flag | last, stream, piece) for (kind, flag, piece), last in zip(kinds, flags, strict=True))


def request(stream: int, fields: Fields | None = None, body: bytes | None = None) -> bytes:
    """Return the frames of a whole request: a health check unless something else is said."""
    *pieces, last = _pieces(message() if body is None else body)
    data = b"".join(raw(DATA, 0, stream, piece) for piece in pieces) + raw(DATA, END_STREAM, stream, last)
    return headers(stream, fields_of() if fields is None else fields) + data


def _pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 16_384] for at in range(0, len(data), 16_384)] or [b""]


class Peer:
    """A client's end of a connection, which does what it is told. Reads whenever it writes, so that neither end waits."""

    def __init__(self, target: str, context: ssl.SSLContext | None = None, receive_bytes: int = 0) -> None:
        host, _, port = target.rpartition(":")
        self._socket: Any = socket.socket()
        if receive_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect((host, int(port)))
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname=host)
        self._socket.setblocking(False)
        self._unread, self._decoder = bytearray(), hpack.Decoder()
        self.acks = self.answers_pings = True
        self.is_deaf = False  # reads nothing
        self.frames: list[Any] = []
        self.fields: defaultdict[int, dict[str, str]] = defaultdict(dict)
        self.bytes: defaultdict[int, int] = defaultdict(int)
        self.finished: set[int] = set()
        self.resets: dict[int, int] = {}
        self._first_window = _FIRST_WINDOW
        self._windows: defaultdict[int, int] = defaultdict(int)  # what has been added to it, by stream, 0 the connection
        self.is_over = False

    def greet(self, *settings: tuple[int, int]) -> Self:
        """Say what every connection begins with, and have the other end's settings."""
        self.send(PREFACE + raw(SETTINGS, 0, 0, b"".join(struct.pack("!HI", *one) for one in settings)))
        assert self.wait(lambda: any(isinstance(one, frames.SettingsFrame) for one in self.frames))
        return self

    def send(self, data: bytes) -> None:
        """Send all of it, or as much as the other end takes before it closes; what comes meanwhile is read."""
        rest = memoryview(data)
        until = time.monotonic() + PATIENCE_S
        while rest and not self.is_over and time.monotonic() < until:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                try:
                    rest = rest[self._socket.send(rest[: 1 << 16]) :]
                except OSError as error:
                    if isinstance(error, BlockingIOError | ssl.SSLWantReadError | ssl.SSLWantWriteError):
                        raise
                    self._read()  # what it has said before it closed
                    self.is_over = True
                    return
            self._read()
            if rest:
                select.select([self._socket], [self._socket], [], 0.05)

    def pour(self, stream: int, body: bytes) -> None:
        """Send a body as the windows allow, and no more of it than is wanted."""
        pieces, used, ends = _pieces(body), 0, (self.finished, self.resets)
        for at, piece in enumerate(pieces):
            used += len(piece)
            self.wait(lambda needed=used: self.room(stream) >= needed or any(stream in end for end in ends))
            if self.is_over or self.room(stream) < used:
                return
            self.send(raw(DATA, END_STREAM if at == len(pieces) - 1 else 0, stream, piece))

    def push(self, data: bytes) -> None:
        """Send without reading; what does not fit is left out."""
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def wait(self, condition: Callable[[], Any], within_s: float = PATIENCE_S) -> bool:
        """Read until something is so; False: it is not in time, or the connection is over first."""
        until = time.monotonic() + within_s
        while not condition():
            left = until - time.monotonic()
            if self.is_over or left <= 0:
                return bool(condition())
            select.select([self._socket], [], [], min(left, 0.05))
            self._read()
        return True

    def ends(self, within_s: float = AT_ONCE_S) -> int | None:
        """Assert that the other end closes in time; returns the code of its last GOAWAY."""
        assert self.wait(lambda: self.is_over, within_s), "the connection was not closed"
        return self.goaways[-1] if self.goaways else None

    def room(self, stream: int) -> int:
        """How many bytes have been allowed so far, on a stream and on the connection."""
        return min(self._first_window + self._windows[stream], _FIRST_WINDOW + self._windows[0])

    @property
    def goaways(self) -> list[int]:
        return [one.error_code for one in self.frames if isinstance(one, frames.GoAwayFrame)]

    def outcome(self, stream: int = 1, within_s: float = PATIENCE_S) -> str:
        """Wait for what becomes of a stream: HTTP status and gRPC status, a reset, or the end of the connection."""
        self.wait(lambda: stream in self.finished or stream in self.resets or any(self.goaways), within_s)
        if stream in self.finished:
            return "/".join(self.fields[stream].get(name, "") for name in (":status", "grpc-status"))
        if stream in self.resets:
            return f"RST {self.resets[stream]}"
        return f"GOAWAY {self.goaways[-1]}" if self.goaways else "closed" if self.is_over else "nothing"

    def _read(self) -> None:
        if self.is_deaf:
            return
        try:
            while data := self._socket.recv(1 << 16):
                self._unread += data
            self.is_over = True
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            self.is_over = True
        self._take_frames()

    def _take_frames(self) -> None:
        while len(self._unread) >= 9:
            one, length = frames.Frame.parse_frame_header(memoryview(bytes(self._unread[:9])))
            if len(self._unread) < 9 + length:
                return
            one.parse_body(memoryview(bytes(self._unread[9 : 9 + length])))
            del self._unread[: 9 + length]
            self.frames.append(one)
            self._note(one)

    def _note(self, one: Any) -> None:
        if isinstance(one, frames.HeadersFrame):
            self.fields[one.stream_id].update(self._decoder.decode(one.data))
        elif isinstance(one, frames.DataFrame):
            self.bytes[one.stream_id] += len(one.data)
        elif isinstance(one, frames.RstStreamFrame):
            self.resets[one.stream_id] = one.error_code
        elif isinstance(one, frames.WindowUpdateFrame):
            self._windows[one.stream_id] += one.window_increment
        elif isinstance(one, frames.SettingsFrame):
            self._first_window = one.settings.get(INITIAL_WINDOW, self._first_window)
        if isinstance(one, frames.SettingsFrame) and self.acks and "ACK" not in one.flags:
            self.push(raw(SETTINGS, ACK, 0))
        elif isinstance(one, frames.PingFrame) and self.answers_pings and "ACK" not in one.flags:
            self.push(raw(PING, ACK, 0, bytes(one.opaque_data)))
        if "END_STREAM" in one.flags:
            self.finished.add(one.stream_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class Honest(threading.Thread):
    """A consumer that asks one thing again and again, of which a front knows the answer; nothing is ever tried twice."""

    def __init__(self, broker: RunningBroker, credentials: grpc.ChannelCredentials | None = None) -> None:
        super().__init__(daemon=True)
        self._broker, self._credentials = broker, credentials
        self._stopped = threading.Event()
        self.tokens = TokenSource(CONSUMER, broker.key_file)
        self.asked = exchange_pb2.CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE)
        self.times: list[float] = []
        self.failures: list[str] = []
        self.upstream_calls = 0

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:  # the tests look at it
            self.failures.append(repr(error))

    async def _run(self) -> None:
        async with Register() as register:
            register.add(WHO, "张三", ZT="正常")
            await put(self._broker, register)
            async with self._channel() as channel:
                stub: Any = exchange_pb2_grpc.ExchangeServiceStub(channel)
                while not self._stopped.is_set():
                    await self._ask(stub)
                    self.upstream_calls = register.calls
                    await asyncio.sleep(0.005)

    def _channel(self) -> grpc.aio.Channel:
        options = [("grpc.enable_retries", 0)]
        if self._credentials is not None:
            return grpc.aio.secure_channel(self._broker.target, self._credentials, options)
        return grpc.aio.insecure_channel(self._broker.target, options)

    async def _ask(self, stub: Any) -> None:
        began = time.monotonic()
        try:
            await stub.Call(self.asked, timeout=PATIENCE_S, metadata=self.metadata())
        except grpc.RpcError as error:
            self.failures.append(str(error))
        self.times.append(time.monotonic() - began)

    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.tokens()}")]

    def stop(self) -> None:
        self._stopped.set()
        self.join(PATIENCE_S)


class Scene:
    """A broker that serves, with one front or none, and an honest consumer of it."""

    def __init__(self, directory: Path, credentials: grpc.ChannelCredentials | None = None, **settings: str) -> None:
        self.broker = RunningBroker(directory, **settings)
        self._credentials = credentials

    def __enter__(self) -> Self:
        self.broker.start()
        if self.broker.config.grpc.fronts:
            wait_until(self._fronts)
        self.honest = Honest(self.broker, self._credentials)
        self.honest.start()
        wait_until(lambda: len(self.honest.times) > _WARM_CALLS or self.honest.failures)
        assert not self.honest.failures, self.honest.failures
        return self

    def __exit__(self, *_: object) -> None:
        self.honest.stop()
        with contextlib.suppress(AssertionError):
            assert self.broker.stop() == 0
        self.broker.kill()

    def _fronts(self) -> list[int]:
        found = [pid for pid in self.broker.workers() if b"broker.serve.front" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return found if '"front serves"' in self.broker.log_file.read_text() else []

    @property
    def front(self) -> int:
        return self._fronts()[0]

    @property
    def core(self) -> int:
        return next(pid for pid in self.broker.workers() if pid not in self._fronts())

    def peer(self, *settings: tuple[int, int]) -> Peer:
        """Return a connection that has greeted."""
        return Peer(self.broker.target).greet(*settings)

    def call_fields(self, *more: tuple[str, str], **changes: str | None) -> list[Any]:
        """Return the fields of a call that is answered from the cache."""
        return fields_of(CALL, *self.honest.metadata(), *more, **changes)

    def call_body(self) -> bytes:
        return message(self.honest.asked.SerializeToString())

    def metric(self, name: str, but: str = "nothing") -> float:
        """Sum up a metric over its labels, those left out that are named."""
        lines = [line for line in self.broker.metrics().splitlines() if line.startswith(name) and but not in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def closed(self, *limits: str) -> float:
        """How many connections and streams these limits have ended."""
        return sum(self.metric(f'broker_front_closed_total{{limit="{limit}"}}') for limit in limits)

    def started(self) -> float:
        """How many calls have reached a handler, but for those that the honest one makes."""
        return self.metric("grpc_server_started_total{", but='grpc_method="Call"')

    @contextlib.contextmanager
    def attack(self, *limits: str, count: int = 1, mib: float = 8) -> Iterator[None]:
        """What every attack has in common: it is counted, costs little, leaves nothing, and the honest one does not notice."""
        pid, before = self.front, self.closed(*limits)
        self._settled()
        opened, asked = descriptors(pid), len(self.honest.times)
        failures, log_bytes = len(self.honest.failures), self.broker.log_file.stat().st_size
        rss = resident(pid, anew=True)
        yield
        grown = resident(pid, "VmHWM") - rss
        assert grown <= mib * MIB, f"{grown / MIB:.1f} MiB"
        if limits:
            wait_until(lambda: self.closed(*limits) >= before + count)
        wait_until(lambda: descriptors(pid) <= opened)
        wait_until(lambda: len(self.honest.times) > asked)
        assert self.honest.failures[failures:] == []
        assert max(self.honest.times[asked:]) < HONEST_S
        assert self.front == pid
        assert b"Traceback" not in self.broker.log_file.read_bytes()[log_bytes:]

    def _settled(self) -> None:
        """Only the honest one is connected."""
        wait_until(lambda: self.metric("broker_front_connections ") <= 1)


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int, name: str = "VmRSS", anew: bool = False) -> int:
    """Return how much memory a process has, or at most has had (VmHWM) since that was last begun `anew`."""
    if anew:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
