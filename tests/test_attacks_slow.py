"""Attacks on a front by waiting, by many connections, and by what is not HTTP/2 (faults.md, H2-08, H2-09, H2-13, H2-14).

Also how a connection ends of itself, by age or idleness: without a loss. What must not go in here: attacks by frames
(test_attacks_http2.py) and by what gRPC is (test_attacks_grpc.py).
"""

from __future__ import annotations

import contextlib
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attack_kit import (
    DATA,
    ENHANCE_YOUR_CALM,
    HEADERS,
    INITIAL_WINDOW,
    NO_ERROR,
    PATIENCE_S,
    PREFACE,
    PROTOCOL_ERROR,
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
from tests.support.certificates import LOOPBACK, SERVERS, Authority, replace
from tests.support.running import wait_until

TIMEOUT_S, LATER_S = 0.3, 1.0  # what is configured, and by when after that a connection is closed
CONNECTIONS = 50
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SHORT = {
    **{f"BROKER__FRONT__{name}_TIMEOUT_MS": "300" for name in ("PREFACE", "SETTINGS", "HEADER", "STALLED_STREAM", "STALLED")},
    "BROKER__FRONT__OUTBOUND_BYTES": "65536",
    "BROKER__FRONT__CONNECTIONS": str(CONNECTIONS),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("a"), **SHORT) as scene:
        yield scene


# --- H2-09: who says little ----------------------------------------------------------------------------------------

HEAD = raw(HEADERS, 4, 1, literal(*fields_of()))
SLOW = {
    "nothing": (b"", "preface_timeout"),
    "half a preface": (PREFACE[:12], "preface_timeout"),
    "a preface and nothing more": (PREFACE, "preface_timeout"),
    "a preface and half of its settings": (PREFACE + raw(SETTINGS, 0, 0, bytes(6))[:12], "preface_timeout"),
}


@pytest.mark.parametrize("name", SLOW)
def test_who_does_not_greet_is_closed(scene: Scene, name: str) -> None:
    sent, limit = SLOW[name]
    with scene.attack(limit), Peer(scene.broker.target) as peer:
        peer.acks = False
        peer.send(sent)
        assert not peer.wait(lambda: peer.is_over, TIMEOUT_S / 2)
        assert peer.ends(TIMEOUT_S + LATER_S) == NO_ERROR


def test_who_never_acknowledges_our_settings_is_closed_whatever_else_it_says(scene: Scene) -> None:
    with scene.attack("settings_timeout"), Peer(scene.broker.target) as peer:
        peer.acks = False
        peer.greet().send(request(1))
        assert peer.outcome(1) == "200/0"
        assert peer.ends(TIMEOUT_S + LATER_S) == NO_ERROR


@pytest.mark.parametrize("rest", [HEAD[:4], HEAD[:9], HEAD[:20], raw(HEADERS, 0, 1, literal(*fields_of()))])
def test_half_a_frame_and_half_a_header_block_are_not_waited_for(scene: Scene, rest: bytes) -> None:
    with scene.attack("header_timeout"), scene.peer() as peer:
        peer.send(rest)
        assert peer.ends(TIMEOUT_S + LATER_S) == ENHANCE_YOUR_CALM


def test_headers_byte_by_byte_are_not_waited_for(scene: Scene) -> None:
    with scene.attack("header_timeout"), scene.peer() as peer:
        until = time.monotonic() + TIMEOUT_S + LATER_S
        for at in range(len(HEAD) - 1):
            peer.send(HEAD[at : at + 1])
            if peer.wait(lambda: peer.is_over, 0.05):
                break
        assert peer.is_over
        assert time.monotonic() < until


def test_half_a_message_is_not_waited_for_forever(scene: Scene) -> None:
    with scene.attack("stalled_stream"), scene.peer() as peer:
        frame = raw(DATA, 1, 1, message())
        peer.send(headers(1, fields_of()) + frame[:12])
        assert peer.wait(lambda: 1 in peer.resets, TIMEOUT_S + LATER_S)
        peer.send(frame[12:] + request(3))
        assert peer.outcome(3) == "200/0", "the connection is as good as before"


def test_a_message_that_comes_slowly_is_waited_for(scene: Scene) -> None:
    with scene.attack(), scene.peer() as peer:
        frame = raw(DATA, 1, 1, message())
        peer.send(headers(1, fields_of()) + frame[:9])
        for at in range(9, len(frame)):
            peer.wait(lambda: peer.is_over or peer.resets, TIMEOUT_S / 2)
            peer.send(frame[at : at + 1])
        assert peer.outcome(1) == "200/0"


# --- H2-08: who does not listen ------------------------------------------------------------------------------------


def test_streams_whose_answers_are_not_taken_are_reset(scene: Scene) -> None:
    with scene.attack("stalled_stream", count=100), scene.peer((INITIAL_WINDOW, 0)) as peer:
        block, body = scene.call_fields(), scene.call_body()
        peer.send(b"".join(request(stream, block, body) for stream in range(1, 201, 2)))
        assert peer.wait(lambda: len(peer.resets) == 100, TIMEOUT_S + LATER_S)
        peer.send(request(201))  # has a window of nothing too
        assert peer.wait(lambda: 201 in peer.resets, TIMEOUT_S + LATER_S)
        peer.send(raw(SETTINGS, 0, 0, struct.pack("!HI", INITIAL_WINDOW, 65_535)) + request(203))
        assert peer.outcome(203) == "200/0"


def test_answers_that_are_taken_byte_by_byte_arrive(scene: Scene) -> None:
    """Who takes a byte at a time is slow, and not dead; what it holds is bounded."""
    with scene.attack(mib=1), scene.peer((INITIAL_WINDOW, 0)) as peer:
        peer.send(request(1))
        for _ in range(7):
            peer.send(raw(WINDOW_UPDATE, 0, 1, struct.pack("!I", 1)))
            peer.wait(lambda: False, 0.02)
        assert peer.outcome(1) == "200/0"


def test_a_connection_that_takes_nothing_is_closed(scene: Scene) -> None:
    """It asks for descriptions, each a hundred times as long as the question, and reads none."""
    asked = message(ServerReflectionRequest(file_containing_symbol="broker.v1.ExchangeService").SerializeToString())
    with scene.attack("stalled"), Peer(scene.broker.target, receive_bytes=4096) as peer:
        peer.greet((INITIAL_WINDOW, (1 << 31) - 1))
        peer.is_deaf = True
        peer.send(raw(WINDOW_UPDATE, 0, 0, struct.pack("!I", (1 << 31) - 65_536)))
        peer.send(headers(1, fields_of(REFLECTION)))
        for _ in range(20):
            peer.send(raw(DATA, 0, 1, asked * 90))
        before = scene.closed("stalled")
        wait_until(lambda: scene.closed("stalled") > before)
        peer.is_deaf = False
        peer.ends(LATER_S)
        assert peer.bytes[1] > 1 << 16


# --- H2-13: many connections ---------------------------------------------------------------------------------------


def test_connections_beyond_what_a_front_takes_are_closed_and_the_others_stay(scene: Scene) -> None:
    beyond = 10
    with scene.attack("connections", count=beyond), contextlib.ExitStack() as stack:
        peers = [stack.enter_context(scene.peer()) for _ in range(CONNECTIONS - 1)]  # and the honest one
        for _ in range(beyond):
            stack.enter_context(Peer(scene.broker.target)).ends()
        peers[-1].send(request(1))
        assert peers[-1].outcome(1) == "200/0"
        peers[0].__exit__()
        wait_until(lambda: scene.metric("broker_front_connections ") == CONNECTIONS - 1)
        again = stack.enter_context(scene.peer())
        again.send(request(1))
        assert again.outcome(1) == "200/0"


class Identities:
    """An authority, and files of certificates signed by it."""

    def __init__(self, directory: Path) -> None:
        self.ca = Authority(directory / "ca")
        self.server = self.ca.issue("server", usage=(SERVERS,), addresses=LOOPBACK)
        self.clients = [self.ca.issue(name) for name in ("honest", "greedy")]
        self.settings = {
            "BROKER__GRPC__TLS__CERTIFICATE_FILE": str(self.server.file),
            "BROKER__GRPC__TLS__KEY_FILE": str(self.server.key_file),
            "BROKER__GRPC__TLS__CLIENT_CA_FILE": str(replace(directory / "clients.pem", self.ca.own.pem)),
        }

    def credentials(self) -> grpc.ChannelCredentials:
        honest = self.clients[0]
        return grpc.ssl_channel_credentials(self.ca.own.pem, honest.key_pem, honest.pem)

    def context(self, which: int) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(cadata=self.ca.own.pem.decode())
        made.load_cert_chain(self.clients[which].file, self.clients[which].key_file)
        made.set_alpn_protocols(["h2"])
        return made


def test_connections_of_one_certificate_are_bounded_and_others_get_in(tmp_path: Path) -> None:
    people = Identities(tmp_path)
    limit = {"BROKER__FRONT__CONNECTIONS_OF_IDENTITY": "3"}
    with contextlib.ExitStack() as stack:
        scene = stack.enter_context(Scene(tmp_path, people.credentials(), **people.settings, **limit))
        stack.enter_context(scene.attack("connections_of_identity"))
        mine = [stack.enter_context(Peer(scene.broker.target, people.context(1)).greet()) for _ in range(3)]
        stack.enter_context(Peer(scene.broker.target, people.context(1))).ends()
        for peer in (mine[-1], stack.enter_context(Peer(scene.broker.target, people.context(0)).greet())):
            peer.send(request(1))
            assert peer.outcome(1) == "200/0"


# --- H2-14: what is not HTTP/2 -------------------------------------------------------------------------------------

HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(189))
NOT_HTTP2 = {
    "HTTP/1.1": b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    "an upgrade": b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "TLS": HELLO,
    "a PROXY header": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + PREFACE,
    "a PROXY header, version 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + PREFACE,
    "almost a preface": PREFACE[:-1] + b"\r" + raw(SETTINGS, 0, 0),
}


@pytest.mark.parametrize("name", NOT_HTTP2)
def test_what_is_not_http2_is_closed_at_once(scene: Scene, name: str) -> None:
    with scene.attack("not_http2"), Peer(scene.broker.target) as peer:
        peer.send(NOT_HTTP2[name])
        peer.ends()


def test_a_preface_without_settings_behind_it_is_closed_at_once(scene: Scene) -> None:
    with scene.attack("not_http2", "protocol"), Peer(scene.broker.target) as peer:
        peer.send(PREFACE + headers(1, fields_of()))
        assert peer.ends() == PROTOCOL_ERROR


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=24, max_size=300).filter(lambda sent: sent[:24] != PREFACE))
def test_random_bytes_are_closed_at_once(scene: Scene, sent: bytes) -> None:
    with Peer(scene.broker.target) as peer:
        peer.send(sent)
        peer.ends()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=60)), max_size=20))
def test_random_frames_leave_a_front_that_serves(scene: Scene, sent: list[tuple[int, int, int, bytes]]) -> None:
    pid = scene.front
    with scene.peer() as peer:
        peer.send(b"".join(raw(*one) for one in sent))
        peer.wait(lambda: False, 0.01)
    with scene.peer() as peer:
        peer.send(request(1))
        assert peer.outcome(1) == "200/0"
    assert scene.front == pid


# --- ends without a loss -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ageing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    limits = {"BROKER__FRONT__IDLE_TIMEOUT_MS": "300", "BROKER__FRONT__MAX_AGE_MS": "1000"}
    with Scene(tmp_path_factory.mktemp("o"), **limits) as scene:
        yield scene


def last_streams(peer: Peer) -> list[int]:
    return [one.last_stream_id for one in peer.frames if type(one).__name__ == "GoAwayFrame"]


@pytest.mark.parametrize(("limit", "calls"), [("idle", False), ("age", True)])
def test_a_connection_that_ends_is_told_twice_and_loses_nothing(ageing: Scene, limit: str, calls: bool) -> None:
    with ageing.attack(limit), ageing.peer() as peer:
        stream = 1
        until = time.monotonic() + PATIENCE_S
        while not peer.goaways and time.monotonic() < until:
            if calls:
                peer.send(request(stream))
                assert peer.outcome(stream) == "200/0"
                stream += 2
            peer.wait(lambda: peer.goaways, 0.05)
        peer.ends()
        assert peer.goaways == [NO_ERROR, NO_ERROR]
        assert last_streams(peer) == [(1 << 31) - 1, max(0, stream - 2)]


def test_a_call_that_comes_between_the_notice_and_the_end_is_answered(ageing: Scene) -> None:
    with ageing.attack("age", "idle"), ageing.peer() as peer:
        peer.answers_pings = False
        assert peer.wait(lambda: peer.goaways)
        peer.send(request(1))
        assert peer.outcome(1) == "200/0"
        peer.send(raw(6, 1, 0, bytes(8)))
        peer.ends()
        assert last_streams(peer) == [(1 << 31) - 1, 1]
