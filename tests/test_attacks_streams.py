"""Streams and header fields that must not be, put to a front: ended or refused, never routed (faults.md, H2-10 to H2-12).

What must not go in here: floods (test_attacks_http2.py), waiting (test_attacks_slow.py), what gRPC is (test_attacks_grpc.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from tests.attack_kit import (
    CHECK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    Scene,
    fields_of,
    headers,
    literal,
    message,
    raw,
    request,
)
from tests.support.running import wait_until

OPEN = literal(*fields_of())
RESET = struct.pack("!I", 8)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("a")) as scene:
        yield scene


def serves(peer: Peer, stream: int) -> bool:
    """Whether the connection still does what it is for."""
    peer.send(request(stream))
    return peer.outcome(stream) == "200/0"


# --- H2-10 to H2-12: streams and headers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(headers(2, fields_of()), PROTOCOL_ERROR, id="an even stream"),
        pytest.param(headers(0, fields_of()), PROTOCOL_ERROR, id="stream 0"),
        pytest.param(raw(DATA, 0, 5, b"x"), PROTOCOL_ERROR, id="data on an idle stream"),
        pytest.param(raw(RST_STREAM, 0, 5, RESET), PROTOCOL_ERROR, id="reset of an idle stream"),
        pytest.param(raw(WINDOW_UPDATE, 0, 5, struct.pack("!I", 1)), PROTOCOL_ERROR, id="window of an idle stream"),
        pytest.param(raw(CONTINUATION, END_HEADERS, 1, OPEN), PROTOCOL_ERROR, id="continuation of nothing"),
        pytest.param(raw(HEADERS, 0, 1, OPEN) + raw(PING, 0, 0, bytes(8)), PROTOCOL_ERROR, id="a ping within headers"),
        pytest.param(raw(5, END_HEADERS, 1, bytes(4) + OPEN), PROTOCOL_ERROR, id="a push by a client"),
    ],
)
def test_frames_on_wrong_streams_end_the_connection(scene: Scene, sent: bytes, code: int) -> None:
    with scene.attack("protocol"), scene.peer() as peer:
        peer.send(sent)
        assert peer.ends() == code


@pytest.mark.parametrize("stream", [1, 3])
def test_a_stream_that_is_over_or_was_left_out_is_not_served(scene: Scene, stream: int) -> None:
    started = scene.started()
    with scene.attack(), scene.peer() as peer:
        assert serves(peer, 1)
        assert serves(peer, 5)
        peer.send(request(stream))
        peer.wait(lambda: peer.is_over, 0.2)
        served = 2 if peer.is_over else 2 + serves(peer, 7)
    assert scene.started() - started == served


def test_the_last_stream_there_can_be_is_served_and_a_new_connection_is_let_in(scene: Scene) -> None:
    with scene.attack(), scene.peer() as peer:
        assert serves(peer, 0x7FFFFFFF)
    with scene.peer() as peer:
        assert serves(peer, 1)


PSEUDO = [(":method", "POST"), (":scheme", "http"), (":path", CHECK), (":authority", "test")]
PLAIN = [("te", "trailers"), ("content-type", "application/grpc")]
MALFORMED = {
    "no method": [*PSEUDO[1:], *PLAIN],
    "no path": [*PSEUDO[:2], *PLAIN],
    "no scheme": [PSEUDO[0], *PSEUDO[2:], *PLAIN],
    "two paths": [*PSEUDO, PSEUDO[2], *PLAIN],
    "two methods": [PSEUDO[0], *PSEUDO, *PLAIN],
    "an empty path": [*PSEUDO[:2], (":path", ""), PSEUDO[3], *PLAIN],
    "a path behind the others": [*PSEUDO[:2], *PLAIN, PSEUDO[2]],
    "an unknown one": [*PSEUDO, (":x", "1"), *PLAIN],
    "that of a response": [(":status", "200"), *PSEUDO, *PLAIN],
    "NUL in the path": [*PSEUDO[:2], (":path", CHECK + "\0"), *PLAIN],
    "upper case": [*PSEUDO, *PLAIN, ("X-A", "1")],
    "no name": [*PSEUDO, *PLAIN, ("", "1")],
    "a space in the name": [*PSEUDO, *PLAIN, ("x a", "1")],
    "te is not trailers": [*PSEUDO, ("te", "gzip"), PLAIN[1]],
    **{f"{name} of HTTP/1.1": [*PSEUDO, *PLAIN, (name, "close")] for name in ("connection", "keep-alive", "upgrade")},
    **{f"{name} of hop by hop": [*PSEUDO, *PLAIN, (name, "a")] for name in ("transfer-encoding", "proxy-connection")},
    **{f"{ord(one):02x} in a value": [*PSEUDO, *PLAIN, ("x-a", f"a{one}b")] for one in "\r\n\0\x7f"},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_headers_are_reset_and_never_routed(scene: Scene, name: str) -> None:
    started = scene.started()
    with scene.attack(), scene.peer() as peer:
        peer.send(headers(1, MALFORMED[name]) + raw(DATA, END_STREAM, 1, message()))
        assert peer.outcome(1) == f"RST {PROTOCOL_ERROR}"
        assert serves(peer, 3)
    assert scene.started() - started == 1


def test_trailers_of_a_request_are_not_taken_for_what_it_began_with(scene: Scene) -> None:
    """gRPC knows no trailers of a request: a token that comes so must count for nothing."""
    fields = [field for field in scene.call_fields() if field[0] != "authorization"]
    with scene.attack(), scene.peer() as peer:
        peer.send(headers(1, fields) + raw(DATA, 0, 1, scene.call_body()) + headers(1, scene.honest.metadata(), ends=True))
        assert peer.outcome(1) == "200/16"
        peer.send(headers(3, scene.call_fields()) + raw(DATA, 0, 3, scene.call_body()) + headers(3, [("x-a", "")], ends=True))
        assert peer.outcome(3) == "200/0"


def test_trailers_that_come_when_the_core_has_answered_begin_no_second_call(scene: Scene) -> None:
    started = scene.started()
    with scene.attack(), scene.peer((INITIAL_WINDOW, 0)) as peer:
        peer.send(headers(1, fields_of()) + raw(DATA, 0, 1, message()))
        assert peer.wait(lambda: ":status" in peer.fields[1]), "answered, and none of the body may be sent yet"
        wait_until(lambda: scene.started() > started)
        peer.wait(lambda: False, 0.2)  # until the core's stream is over
        peer.send(headers(1, [("x-a", "")], ends=True))
        peer.wait(lambda: False, 0.2)
        assert peer.bytes[1] == 0
        peer.send(raw(WINDOW_UPDATE, 0, 1, struct.pack("!I", 1 << 16)))
        assert peer.outcome(1) == "200/0"
        assert peer.bytes[1] == len(message(b"\x08\x01"))
    assert scene.started() - started == 1


def test_streams_beyond_a_hundred_are_refused_and_the_others_are_served(scene: Scene) -> None:
    """Who has not acknowledged how many there may be is told so for each stream."""
    with scene.attack(), Peer(scene.broker.target) as peer:
        peer.acks = False
        peer.send(PREFACE + raw(SETTINGS, 0, 0) + b"".join(headers(stream, fields_of()) for stream in range(1, 203, 2)))
        assert peer.outcome(201) == f"RST {REFUSED_STREAM}"
        for stream in (1, 199):
            peer.send(raw(DATA, END_STREAM, stream, message()))
            assert peer.outcome(stream) == "200/0"
        assert set(peer.resets) == {201}
        assert serves(peer, 203)


def test_who_has_acknowledged_how_many_streams_there_may_be_and_opens_more_is_closed(scene: Scene) -> None:
    with scene.attack("protocol"), scene.peer() as peer:
        assert serves(peer, 1)  # the acknowledgement has been read
        peer.send(b"".join(headers(stream, fields_of()) for stream in range(3, 205, 2)))
        assert peer.ends() == PROTOCOL_ERROR
