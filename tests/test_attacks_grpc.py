"""Attacks on what gRPC is above HTTP/2, put to a front and to a core alone: they must say the same (faults.md, GR-02 to GR-07, GR-10).

Where they do not, the row says both. What must not go in here: attacks by frames (test_attacks_http2.py) or by waiting
(test_attacks_slow.py).
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.attack_kit import (
    CALL,
    CHECK,
    DATA,
    END_STREAM,
    HEADERS,
    MIB,
    Peer,
    Scene,
    fields_of,
    headers,
    literal,
    message,
    raw,
    request,
)
from tests.attack_kit import resident

LIMIT = MIB  # grpc.max_message_bytes
OK, CANCELLED, INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED, INTERNAL = (f"200/{code}" for code in (0, 1, 3, 4, 8, 12, 13))


class Pair(NamedTuple):
    """The same broker twice."""

    front: Scene
    core: Scene


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with (
        Scene(tmp_path_factory.mktemp("f")) as front,
        Scene(tmp_path_factory.mktemp("c"), BROKER__GRPC__FRONTS="0") as core,
    ):
        yield Pair(front, core)


def fields_for(scene: Scene, path: str | bytes, *more: Any, **changes: Any) -> list[Any]:
    """Return the fields of a good call or check, but for the changes."""
    return fields_of(path, *(scene.honest.metadata() if path == CALL else ()), *more, **changes)


def body_for(scene: Scene, path: str | bytes) -> bytes:
    return scene.call_body() if path == CALL else message()


def told(scene: Scene, fields: Any, sent: bytes) -> str:
    """Return what becomes of a request, and see that the connection still serves."""
    with scene.peer() as peer:
        peer.send(request(1, fields, sent))
        found = peer.outcome(1)
        if "GOAWAY" in found or found == "closed":
            return found
        peer.send(request(3))
        assert peer.outcome(3) == OK
        return found


PATHS: dict[str, Any] = {
    "no slash before it": CALL[1:],
    "two slashes before it": "/" + CALL,
    "two slashes in it": CALL.replace("/C", "//C"),
    "an escaped slash": CALL.replace("/C", "%2FC"),
    "a slash behind it": CALL + "/",
    "a query": CALL + "?a=b",
    "a fragment": CALL + "#a",
    "a way back": "/broker.v1.ExchangeService/../broker.v1.ExchangeService/Call",
    "lower case": CALL.lower(),
    "an escaped letter": CALL.replace("C", "%43"),
    "a letter like it": CALL.replace("C", "С").encode(),
    "not UTF-8": CALL.encode() + b"\xff",
    "a URL": "http://test" + CALL,
    "8 KB": "/" + "a" * 8190,
    "a slash": "/",
    "an asterisk": "*",
}
TYPES: dict[str, Any] = {
    "no content-type": {"content_type": None},
    "text/html": {"content_type": "text/html"},
    "application/grpc+json": {"content_type": "application/grpc+json"},
    "application/grpc+proto": {"content_type": "application/grpc+proto"},
    "application/grpc;charset=utf-8": {"content_type": "application/grpc;charset=utf-8"},
    "application/grpcx": {"content_type": "application/grpcx"},
    "application/grpc-web": {"content_type": "application/grpc-web"},
    "no te": {"te": None},
    "GET": {"method": "GET"},
    "PUT": {"method": "PUT"},
    "https": {"scheme": "https"},
}
BODIES: dict[str, Any] = {
    "no message": lambda good: b"",
    "half a prefix": lambda good: good[:3],
    "less than it says": lambda good: message(good[5:], length=len(good) + 100),
    "more than it says": lambda good: message(good[5:] + b"x"),
    "a message and trailing bytes": lambda good: good + b"\0\0",
    "two messages": lambda good: good + good,
    "a length of 4 GiB": lambda good: message(good[5:], length=0xFFFFFFFF),
    "one byte too large": lambda good: message(bytes(LIMIT + 1)),
    "1 without grpc-encoding": lambda good: message(good[5:], flag=1),
    **{f"{flag} before it": lambda good, flag=flag: message(good[5:], flag=flag) for flag in (2, 3, 128, 255)},
}
TIMEOUTS = [
    "0n",
    "1n",
    "0S",
    "-1S",
    "+1S",
    "100000000S",
    "123456789S",
    "15 seconds",
    "5",
    "S",
    "",
    "1.5S",
    "5s",
    " 5S",
    "5S ",
    "99999999H",
]
METADATA: dict[str, Any] = {
    "20 KB": [("x-a", "a" * 20_000)],
    "64 KB": [("x-a", "a" * 64_000)],
    "1,000 keys": [(f"x-{number}", "") for number in range(1000)],
    "100 small keys": [(f"x-{number}", "") for number in range(100)],
    "bad base64": [("x-a-bin", "a*b=")],
    "half of base64": [("x-a-bin", "a")],
    "good base64": [("x-a-bin", "YQ==")],
    "reserved": [("grpc-x", "1"), ("grpc-status", "0")],
    "a message type": [("grpc-message-type", "x")],
    "our own": [("broker-relay-certificate-bin", "YQ")],
    "not ASCII": [("x-a", "é".encode())],
    "not UTF-8": [("x-a", b"\xff")],
    "a tab": [("x-a", "a\tb")],
    "spaces around": [("x-a", " a ")],
    "two tokens": [("authorization", "Bearer x")],
    "a timeout again": [("grpc-timeout", "5S"), ("grpc-timeout", "6S")],
    "a content-type again": [("content-type", "application/grpc")],
    "te again": [("te", "trailers")],
    "two hosts": [("host", "other")],
}
ENCODINGS: dict[str, Any] = {
    "an unknown one, compressed": ("zstd", 1),
    "an unknown one, not compressed": ("zstd", 0),
    "gzip, not compressed": ("gzip", 0),
    "gzip, but it is not": ("gzip", 1),
    "identity, but flagged": ("identity", 1),
    "an empty one": ("", 0),
}
