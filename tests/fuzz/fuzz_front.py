"""Feeds frames, good and bad, to both sides of a front at once. Invariant: no crash, and nothing left when both sides are gone.

Run as `python tests/fuzz/fuzz_front.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. Consumers and
the core are played by this program, over transports in memory. What must not go in here: what an answer should be.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from pathlib import Path

from hpack import Encoder

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker._native.connection import Connection
from broker._native.front import Front, Handler
from broker._native.relay import Upstream
from broker._native.session import live_calls
from tests.front_kit import rules

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
METHOD, OTHER_METHOD = "/broker.v1.ExchangeService/Call", "/broker.v1.ExchangeService/Match"
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", METHOD),
    (":authority", "a"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
ODD = [
    (":path", "/x/y"),
    ("grpc-timeout", "1S"),
    ("authorization", "Bearer x"),
    ("broker-relay-certificate-bin", "AA"),
    ("x-bin", "AAA"),
]
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0"), ("broker-relay-proof-bin", "AAAA"), ("x", "y" * 300)]
LIMITS = dict.fromkeys(("frames", "resets", "pings", "settings", "priorities", "window_updates", "unknown_frames"), 1 << 20)


class Transport:
    """Where a session writes; forgotten at once."""

    def __init__(self) -> None:
        self.closed = False
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_extra_info(self, _name: str) -> None:
        return None

    def set_write_buffer_limits(self, _high: int) -> None:
        """Nothing is ever kept here."""

    def pause_reading(self) -> None:
        """Who feeds does not listen."""

    resume_reading = pause_reading


class Side:
    """One end that is fed: what a peer would have to keep in step with."""

    def __init__(self, session: Connection | Upstream, draw: random.Random) -> None:
        self.session, self.draw, self.encoder = session, draw, Encoder()
        self.transport = Transport()
        session.connection_made(self.transport)  # type: ignore[arg-type]  # what of a transport is used
        self.left = False

    def feed(self, data: bytes) -> None:
        while data and not self.left:
            size = self.draw.randint(1, len(data)) if self.draw.random() < 0.3 else len(data)
            self.session.data_received(data[:size])
            data = data[size:]

    def leave(self) -> None:
        if not self.left:
            self.left = True
            self.session.connection_lost(None)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def block(side: Side, fields: list[tuple[str, str]], stream: int, *, ends: bool) -> bytes:
    encoded = side.encoder.encode(fields)
    if side.draw.random() < 0.2:
        cut = side.draw.randint(0, len(encoded))
        return frame(HEADERS, int(ends), stream, encoded[:cut]) + frame(CONTINUATION, 4, stream, encoded[cut:])
    return frame(HEADERS, 4 | int(ends), stream, encoded)


def message(draw: random.Random) -> bytes:
    body = draw.randbytes(draw.choice([0, 1, 40, 17_000]))
    return bytes((draw.choice([0, 0, 0, 1]),)) + struct.pack(">I", len(body) + draw.choice([0, 0, 0, 1])) + body


def chunks(data: bytes, size: int = 16_384) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]


def body(draw: random.Random, stream: int, *, ends: bool) -> bytes:
    pieces = chunks(message(draw))
    last = len(pieces) - 1
    return b"".join(frame(DATA, int(ends and at == last), stream, piece) for at, piece in enumerate(pieces))


def other(draw: random.Random, stream: int) -> bytes:
    """A frame that is not of a message, good or bad."""
    number = struct.pack(">I", draw.choice([0, 1, 8, 1000, 0x7FFFFFFF]))
    return draw.choice(
        [
            frame(RST, 0, stream, number),
            frame(WINDOW, 0, draw.choice([0, stream]), number),
            frame(PING, draw.choice([0, 1]), 0, b"12345678"),
            frame(SETTINGS, 0, 0, struct.pack(">HI", draw.randint(1, 8), draw.choice([0, 1, 100, 65_535, 1 << 20]))),
            frame(SETTINGS, 1, 0, b""),
            frame(PRIORITY, 0, stream, struct.pack(">IB", draw.choice([0, stream]), 1)),
            frame(GOAWAY, 0, 0, struct.pack(">II", draw.choice([0, stream]), 0)),
            frame(draw.randrange(256), draw.randrange(256), draw.choice([0, stream]), draw.randbytes(draw.randint(0, 30))),
        ]
    )


def of_consumer(side: Side, streams: list[int]) -> bytes:
    draw = side.draw
    if draw.random() < 0.5:
        streams.append(streams[-1] + 2 if streams else 1)
        asked = [(name, draw.choice((METHOD, OTHER_METHOD)) if name == ":path" else value) for name, value in REQUEST]
        fields = [*asked, *draw.sample(ODD, draw.choice([0, 0, 1, 2]))]
        return block(side, fields, streams[-1], ends=False) + body(draw, streams[-1], ends=draw.random() < 0.8)
    stream = draw.choice(streams or [1])
    return body(draw, stream, ends=draw.random() < 0.5) if draw.random() < 0.3 else other(draw, stream)


def of_core(side: Side, most: int) -> bytes:
    draw = side.draw
    stream = 2 * draw.randint(0, max(most - 1, 0)) + 1
    match draw.randrange(5):
        case 0:
            return block(side, RESPONSE, stream, ends=False) + body(draw, stream, ends=False)
        case 1:
            return block(side, RESPONSE + TRAILERS, stream, ends=True)
        case 2:
            return body(draw, stream, ends=draw.random() < 0.3) + block(side, TRAILERS, stream, ends=True)
        case 3:
            return (
                block(side, RESPONSE, stream, ends=False)
                + body(draw, stream, ends=False)
                + block(side, TRAILERS, stream, ends=True)
            )
        case _:
            return other(draw, stream)


def damaged(data: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.97 or not data:
        return data
    changed = bytearray(data)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def run(draw: random.Random) -> int:
    """One front, one consumer, one core or none, some dozens of steps; returns how many bytes the front has sent."""
    front = Front(rules(**LIMITS), (METHOD, OTHER_METHOD), Handler(), b"AA", lambda _reason: None)
    core = Side(Upstream(front, lambda: None), draw) if draw.random() < 0.9 else None
    consumer, streams = Side(Connection(front), draw), list[int]()
    consumer.feed(PREFACE + frame(SETTINGS, 0, 0, b""))
    if core:
        core.feed(frame(SETTINGS, 0, 0, b""))
    for _ in range(draw.randint(1, 60)):
        step(front, consumer, core, streams)
    consumer.leave()
    if core:
        core.leave()
    if live_calls() or front.counters()["open"]:
        raise AssertionError(f"{live_calls()} calls are left")
    return consumer.transport.written


def step(front: Front, consumer: Side, core: Side | None, streams: list[int]) -> None:
    draw = consumer.draw
    match draw.randrange(40):
        case 0 if not consumer.left:
            consumer.session.pause_writing()
        case 1 if not consumer.left:
            consumer.session.resume_writing()
        case 2:
            front.tick()
        case 3:
            front.drain()
        case 4 if core:
            core.leave()
        case 5:
            consumer.leave()
        case number if number % 2 and core:
            core.feed(damaged(of_core(core, len(streams)), draw))
        case _:
            consumer.feed(damaged(of_consumer(consumer, streams), draw))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    seed, sent = options.seed, 0
    while time.monotonic() < end:
        try:
            sent += run(random.Random(seed))
        except BaseException as error:
            error.add_note(f"again: --seed {seed}")
            raise
        seed += 1
    sys.stdout.write(f"{seed - options.seed} sessions, {sent} bytes sent, no crash, nothing left\n")


if __name__ == "__main__":
    main()
