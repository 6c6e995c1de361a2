"""Attacks on what gRPC is above HTTP/2, put to a front and to a core alone: both say the same (faults.md, GR-02 to GR-10).

Where they do not, the row has what the front says, then what the core does. What must not go in here: attacks by frames
(test_attacks_http2.py) or by waiting (test_attacks_slow.py).
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.attack_kit import CALL, CHECK, MIB, PROTOCOL_ERROR, Scene, fields_of, headers, message, request, resident

pytestmark = pytest.mark.xdist_group("attacks-grpc")  # what one row leaves in the connection to the core, others would find
FIRST_WINDOW = 65_535
LIMIT = MIB  # grpc.max_message_bytes
OK, INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED, INTERNAL = (f"200/{code}" for code in (0, 3, 4, 8, 12, 13))
REFUSED, RESET = f"RST {PROTOCOL_ERROR}", "RST 2"
METHODS = [CALL, CHECK]


class Pair(NamedTuple):
    """The same broker twice. All that is put to the first has the post-conditions of one attack."""

    front: Scene
    core: Scene


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with (
        Scene(tmp_path_factory.mktemp("f")) as front,
        Scene(tmp_path_factory.mktemp("c"), BROKER__GRPC__FRONTS="0") as core,
        front.attack(),
    ):
        yield Pair(front, core)


def fields_for(scene: Scene, path: str, *more: Any, **changes: Any) -> list[Any]:
    """Return the fields of a good call or check, but for the changes."""
    return fields_of(path, *(scene.honest.metadata() if path == CALL else ()), *more, **changes)


def body_for(scene: Scene, path: str) -> bytes:
    return scene.call_body() if path == CALL else message()


def told(scene: Scene, fields: Any, sent: bytes) -> str:
    """Return what becomes of a request, and see that its connection still serves."""
    with scene.peer() as peer:
        if len(sent) < FIRST_WINDOW:  # as one: grpcio never ends some calls whose bad message comes behind their headers
            peer.send(request(1, fields, sent))
        else:
            peer.send(headers(1, fields))
            peer.pour(1, sent)
        found = peer.outcome(1)
        peer.send(request(3))
        assert peer.outcome(3) == OK
        return found


def both(pair: Pair, fields: Callable[[Scene], Any], sent: Callable[[Scene], bytes]) -> tuple[str, str]:
    """Return what front and core say to the same."""
    front, core = (told(scene, fields(scene), sent(scene)) for scene in pair)
    return front, core


def pairwise(expected: str | tuple[str, str]) -> tuple[str, str]:
    return (expected, expected) if isinstance(expected, str) else expected


PATHS: dict[str, tuple[str, str]] = {
    # HTTP/2 itself lets no other path pass (RFC 9113 §8.3.1); the core alone does not look
    "no slash before it": (CALL[1:], REFUSED),
    "a URL": ("http://test" + CALL, REFUSED),
    "an asterisk": ("*", REFUSED),
    "two slashes before it": ("/" + CALL, UNIMPLEMENTED),
    "two slashes in it": (CALL.replace("/C", "//C"), UNIMPLEMENTED),
    "an escaped slash": (CALL.replace("/C", "%2FC"), UNIMPLEMENTED),
    "a slash behind it": (CALL + "/", UNIMPLEMENTED),
    "a query": (CALL + "?a=b", UNIMPLEMENTED),
    "a fragment": (CALL + "#a", UNIMPLEMENTED),
    "a way back": ("/broker.v1.ExchangeService/../broker.v1.ExchangeService/Call", UNIMPLEMENTED),
    "lower case": (CALL.lower(), UNIMPLEMENTED),
    "an escaped letter": (CALL.replace("C", "%43"), UNIMPLEMENTED),
    "a letter like it": (CALL.replace("Call", "\N{CYRILLIC CAPITAL LETTER ES}all"), UNIMPLEMENTED),
    "7 KB": ("/" + "a" * 7000, UNIMPLEMENTED),  # from 8 KB on the core refuses by chance, as gRPC does, beyond 16 always
    "a slash": ("/", UNIMPLEMENTED),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_is_not_exactly_a_method_is_no_method(pair: Pair, name: str) -> None:
    path, expected = PATHS[name]
    found = both(pair, lambda scene: fields_of(path, *scene.honest.metadata()), Scene.call_body)
    assert found == (expected, UNIMPLEMENTED)


@pytest.mark.parametrize("path", [CALL.encode() + b"\xff", b"/\xc3\x28", CHECK.encode() + "é".encode()])
def test_a_path_that_is_not_ascii_does_not_reach_the_core(pair: Pair, path: bytes) -> None:
    """One that is not UTF-8 ends the loop of grpcio's server, and with it the core: hence nothing of it is put to one alone."""
    relayed, core = pair.front.metric("broker_front_relayed_total"), pair.front.core
    with pair.front.attack():
        assert told(pair.front, fields_of(path), message()) == UNIMPLEMENTED
    assert pair.front.core == core
    assert pair.front.metric("broker_front_relayed_total") >= relayed


# --- GR-03: what says that it is gRPC ------------------------------------------------------------------------------

# grpcio asks for no content-type, only for `te: trailers` and POST
TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "no content-type": ({"content_type": None}, OK),
    "text/html": ({"content_type": "text/html"}, OK),
    "application/grpc+json": ({"content_type": "application/grpc+json"}, OK),
    "application/grpc+proto": ({"content_type": "application/grpc+proto"}, OK),
    "application/grpcx": ({"content_type": "application/grpcx"}, OK),
    "no te": ({"te": None}, RESET),
    "GET": ({"method": "GET"}, RESET),
    "PUT": ({"method": "PUT"}, RESET),
    "https": ({"scheme": "https"}, OK),
}


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("name", TYPES)
def test_what_does_not_look_like_grpc_is_judged_by_grpc(pair: Pair, name: str, path: str) -> None:
    changes, expected = TYPES[name]
    found = both(pair, lambda scene: fields_for(scene, path, **changes), lambda scene: body_for(scene, path))
    assert found == pairwise(expected)


# --- GR-04, GR-10: messages ----------------------------------------------------------------------------------------

BODIES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a message and trailing bytes": (lambda good: good + b"\0\0", OK),
    "two messages": (lambda good: good + good, OK),
    "a length of 4 GiB": (lambda good: message(good[5:], length=0xFFFFFFFF), EXHAUSTED),
    "one byte too large": (lambda good: message(bytes(LIMIT + 1)), EXHAUSTED),
    "1 without grpc-encoding": (lambda good: message(good[5:], flag=1), INTERNAL),
    **{f"{flag} before it": (lambda good, flag=flag: message(good[5:], flag=flag), INVALID) for flag in (2, 3, 128, 255)},
}


@pytest.mark.parametrize("name", BODIES)
def test_a_message_that_is_not_one_is_judged_by_grpc(pair: Pair, name: str) -> None:
    change, expected = BODIES[name]
    found = both(pair, lambda scene: fields_for(scene, CALL), lambda scene: change(scene.call_body()))
    assert found == pairwise(expected)


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("part", [0, 3, -1])
def test_a_call_whose_message_never_comes_begins_nothing_and_ends_by_its_deadline(pair: Pair, part: int, path: str) -> None:
    in_time = ("grpc-timeout", "300m")
    cut = slice(part) if part >= 0 else slice(4)
    found = both(pair, lambda scene: fields_for(scene, path, in_time), lambda scene: body_for(scene, path)[cut])
    assert found == pairwise(DEADLINE)


# --- GR-07: metadata -----------------------------------------------------------------------------------------------

METADATA: dict[str, tuple[list[Any], str | tuple[str, str]]] = {
    "20 KB": ([("x-a", "a" * 20_000)], EXHAUSTED),
    "60 KB": ([("x-a", "a" * 60_000)], EXHAUSTED),
    "1,000 keys": ([(f"x-{number}", "") for number in range(1000)], EXHAUSTED),
    "60 keys": ([(f"x-{number}", "") for number in range(50)], OK),
    "100 keys, more than front.header_fields": ([(f"x-{number}", "") for number in range(100)], (EXHAUSTED, OK)),
    "good base64": ([("x-a-bin", "YQ==")], OK),
    "reserved": ([("grpc-x", "1"), ("grpc-status", "0")], OK),
    "our own": ([("broker-relay-certificate-bin", "YQ")], OK),
    "not ASCII": ([("x-a", "é".encode())], OK),
    "not UTF-8": ([("x-a", b"\xff")], OK),
    "a tab": ([("x-a", "a\tb")], OK),
    "spaces around": ([("x-a", " a ")], OK),
    "a deadline twice": ([("grpc-timeout", "5S"), ("grpc-timeout", "6S")], OK),
    "a content-type twice": ([("content-type", "application/grpc")], OK),
    "te twice": ([("te", "trailers")], OK),
    "another host": ([("host", "other")], OK),
}


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("name", METADATA)
def test_metadata_are_judged_alike(pair: Pair, name: str, path: str) -> None:
    more, expected = METADATA[name]
    found = both(pair, lambda scene: fields_for(scene, path, *more), lambda scene: body_for(scene, path))
    assert found == pairwise(expected)


@pytest.mark.parametrize(("path", "expected"), [(CALL, (OK, INTERNAL)), (CHECK, (INTERNAL, INTERNAL))])
def test_bad_base64_is_an_error_to_who_decodes_it(pair: Pair, path: str, expected: tuple[str, str]) -> None:
    """A front that answers itself looks at no metadata that it does not need."""
    bad = ("x-a-bin", "a*b=")
    assert both(pair, lambda scene: fields_for(scene, path, bad), lambda scene: body_for(scene, path)) == expected


# --- GR-06: deadlines ----------------------------------------------------------------------------------------------

TIMEOUTS = {
    **dict.fromkeys(["99999999H", "100000000S", "5S ", " 5S"], OK),
    **dict.fromkeys(["0n", "0S"], DEADLINE),
    **dict.fromkeys(["-1S", "+1S", "15 seconds", "5", "S", "", "1.5S", "5s"], INTERNAL),
}


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_deadlines_are_read_as_grpc_reads_them(pair: Pair, timeout: str, path: str) -> None:
    found = both(pair, lambda scene: fields_for(scene, path, ("grpc-timeout", timeout)), lambda scene: body_for(scene, path))
    assert found == pairwise(TIMEOUTS[timeout])


# --- GR-05: compression --------------------------------------------------------------------------------------------

ENCODINGS = {
    "gzip, not compressed": ("gzip", 0, OK),
    "gzip, but it is not": ("gzip", 1, INTERNAL),
    "identity, but flagged": ("identity", 1, INTERNAL),
    "an unknown one": ("zstd", 1, INTERNAL),
    "an unknown one, not compressed": ("zstd", 0, INTERNAL),
    "an empty one": ("", 0, INTERNAL),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_compression_is_judged_by_grpc(pair: Pair, name: str) -> None:
    encoding, flag, expected = ENCODINGS[name]
    found = both(
        pair,
        lambda scene: fields_for(scene, CALL, ("grpc-encoding", encoding)),
        lambda scene: message(scene.call_body()[5:], flag=flag),
    )
    assert found == pairwise(expected)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A message of nearly 1 MiB that is 1 GB when it is inflated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(1000)) + packer.flush()
    assert len(packed) < LIMIT
    return message(packed, flag=1)


@pytest.mark.parametrize("path", METHODS)
@pytest.mark.parametrize("which", ["front", "core"])
def test_a_gzip_bomb_is_refused_before_it_is_large(pair: Pair, bomb: bytes, which: str, path: str) -> None:
    scene: Scene = getattr(pair, which)
    rss = resident(scene.core, anew=True)
    with scene.attack(mib=4) if which == "front" else contextlib.nullcontext():
        assert told(scene, fields_for(scene, path, ("grpc-encoding", "gzip")), bomb) == EXHAUSTED
    assert resident(scene.core, "VmHWM") - rss <= 16 * MIB


# --- one consumer and another --------------------------------------------------------------------------------------


def test_bad_metadata_of_one_consumer_do_not_spoil_those_of_another(pair: Pair) -> None:
    """gRPC keeps with a table's entry that it could not be read, and tells so of all that is said with the entry's name."""
    scene = pair.front
    assert told(scene, fields_for(scene, CHECK, ("grpc-timeout", "15 seconds")), message()) == INTERNAL
    assert told(scene, fields_for(scene, CHECK, ("grpc-timeout", "4321m")), message()) == OK
