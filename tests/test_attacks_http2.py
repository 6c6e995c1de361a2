"""Attacks by HTTP/2 frames on a front: floods, resets, header blocks, crumbs (faults.md, H2-02 to H2-07).

Each has its post-conditions from the scene, and beside it what is just let pass. What must not go in here: attacks by waiting
(test_attacks_slow.py), streams and fields that must not be (test_attacks_streams.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from collections.abc import Iterator

import pytest

from tests.attack_kit import (
    CHECK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    MIB,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Peer,
    Scene,
    fields_of,
    headers,
    literal,
    message,
    number,
    raw,
    request,
)

OPEN = literal(*fields_of())
RESET = struct.pack("!I", 8)
DEPENDS_ON_ITSELF = struct.pack("!IB", 1, 16)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("a")) as scene:
        yield scene


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does not run, and does so again afterwards whatever happens."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def serves(peer: Peer, stream: int) -> bool:
    """Whether the connection still does what it is for."""
    peer.send(request(stream))
    return peer.outcome(stream) == "200/0"


# --- H2-02, H2-03: resets, ours and theirs -------------------------------------------------------------------------


def bursts(path: str | None, count: int) -> bytes:
    block = literal(*fields_of(path or CHECK))
    return b"".join(
        raw(HEADERS, END_HEADERS, stream, block) + raw(RST_STREAM, 0, stream, RESET) for stream in range(1, 2 * count, 2)
    )


@pytest.mark.parametrize("path", [CHECK, "/broker.v1.ExchangeService/Call", "/no/such"])
def test_rapid_resets_end_the_connection_before_the_core_has_begun_anything_of_note(scene: Scene, path: str) -> None:
    started, asked = scene.started(), scene.honest.upstream_calls
    with scene.attack("resets"), scene.peer() as peer:
        peer.send(bursts(path, 1100))
        assert peer.ends() == ENHANCE_YOUR_CALM
    assert scene.started() - started <= 300
    assert scene.honest.upstream_calls == asked


def test_as_many_resets_as_are_allowed_are_let_pass(scene: Scene) -> None:
    with scene.attack(), scene.peer() as peer:
        peer.send(bursts(CHECK, 200))
        assert serves(peer, 401)


def test_streams_that_we_reset_spend_the_same_budget(scene: Scene) -> None:
    """MadeYouReset: the consumer resets nothing, it has us do so."""
    overflow = struct.pack("!I", 0x7FFFFFFF)
    with scene.attack("resets"), scene.peer() as peer:
        for first in range(1, 1001, 50):  # few enough at once that it is not their number which ends it
            for stream in range(first, first + 50, 2):
                peer.send(raw(HEADERS, END_HEADERS, stream, OPEN) + raw(WINDOW_UPDATE, 0, stream, overflow))
            peer.wait(lambda needed=first // 2 + 25: len(peer.resets) >= needed)
        assert peer.ends() == ENHANCE_YOUR_CALM
        assert set(peer.resets.values()) == {FLOW_CONTROL_ERROR}
        assert 200 <= len(peer.resets) <= 300


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(raw(WINDOW_UPDATE, 0, 1, bytes(4)), PROTOCOL_ERROR, id="window update by nothing"),
        pytest.param(raw(DATA, END_STREAM, 1, message()) + raw(DATA, 0, 1, b"x"), STREAM_CLOSED, id="data after the end"),
        pytest.param(raw(PRIORITY, 0, 1, DEPENDS_ON_ITSELF), PROTOCOL_ERROR, id="depends on itself"),
    ],
)
def test_what_no_client_does_by_mistake_ends_the_connection_at_once(scene: Scene, frame: bytes, code: int) -> None:
    with scene.attack("protocol"), scene.peer() as peer:
        peer.send(raw(HEADERS, END_HEADERS, 1, OPEN) + frame)
        assert peer.ends() == code


def test_a_window_that_overflows_costs_the_stream_only(scene: Scene) -> None:
    with scene.attack(), scene.peer() as peer:
        peer.send(raw(HEADERS, END_HEADERS, 1, OPEN) + raw(WINDOW_UPDATE, 0, 1, struct.pack("!I", 0x7FFFFFFF)))
        assert peer.outcome(1) == f"RST {FLOW_CONTROL_ERROR}"
        assert serves(peer, 3)


# --- H2-04: continuations ------------------------------------------------------------------------------------------


def continued(count: int, piece: bytes, ends: bool) -> bytes:
    frames = [raw(CONTINUATION, 0, 1, piece)] * (count - 1) + [raw(CONTINUATION, END_HEADERS if ends else 0, 1, piece)]
    return raw(HEADERS, END_STREAM, 1, OPEN) + b"".join(frames)


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("size", [1, 7000, 16_000])
def test_the_ninth_continuation_ends_the_connection(scene: Scene, ends: bool, size: int) -> None:
    piece = literal(("x-a", "a" * (size - 6))) if size > 6 else literal()
    with scene.attack("continuations", "header_block", "empty_frames"), scene.peer() as peer:
        peer.send(continued(9, piece, ends))
        assert peer.ends() == ENHANCE_YOUR_CALM


def test_eight_continuations_are_let_pass(scene: Scene) -> None:
    block, pieces = literal(*fields_of(), ("x-a", "a" * 90)), 8
    first, rest = block[: len(block) - 80], block[-80:]
    sent = raw(HEADERS, 0, 1, first) + b"".join(
        raw(CONTINUATION, END_HEADERS if at == pieces - 1 else 0, 1, rest[at * 10 : at * 10 + 10]) for at in range(pieces)
    )
    with scene.attack(), scene.peer() as peer:
        peer.send(sent + raw(DATA, END_STREAM, 1, message()))
        assert peer.outcome(1) == "200/0"


def test_empty_continuations_end_the_connection(scene: Scene) -> None:
    with scene.attack("empty_frames"), scene.peer() as peer:
        peer.send(raw(HEADERS, END_STREAM, 1, OPEN) + raw(CONTINUATION, 0, 1) * 2)
        assert peer.ends() == ENHANCE_YOUR_CALM


# --- H2-05: compressed headers -------------------------------------------------------------------------------------

INDEXED_FIRST = number(62, 7, 0x80)  # the first entry of the dynamic table


def bomb(stream: int) -> bytes:
    """A field of nearly 4 KB that is put in the table (incremental indexing), then referred to 3,000 times."""
    entry = b"\x40" + number(3, 7) + b"x-a" + number(3900, 7) + b"a" * 3900
    return raw(HEADERS, END_HEADERS | END_STREAM, stream, OPEN + entry + INDEXED_FIRST * 3000)


def test_one_header_bomb_is_refused_and_both_tables_stay_the_same(scene: Scene) -> None:
    with scene.attack(), scene.peer() as peer:
        peer.send(bomb(1))
        assert peer.outcome(1) == "200/8"
        peer.send(raw(HEADERS, END_HEADERS, 3, OPEN + INDEXED_FIRST) + raw(DATA, END_STREAM, 3, message()))
        assert peer.outcome(3) == "200/0"


def test_two_header_bombs_with_a_good_request_between_them_and_two_more_are_refused_only(scene: Scene) -> None:
    with scene.attack(), scene.peer() as peer:
        for stream in (1, 3, 7, 9):
            peer.send(bomb(stream))
            assert peer.outcome(stream) == "200/8"
            assert stream != 3 or serves(peer, 5)
        assert serves(peer, 11)


def test_three_header_bombs_in_a_row_end_the_connection(scene: Scene) -> None:
    with scene.attack("large_headers"), scene.peer() as peer:
        peer.send(bomb(1) + bomb(3) + bomb(5))
        assert peer.ends() == ENHANCE_YOUR_CALM


def test_many_small_fields_are_refused_as_one_large_one_is(scene: Scene) -> None:
    with scene.attack(), scene.peer() as peer:
        peer.send(raw(HEADERS, END_HEADERS | END_STREAM, 1, OPEN + literal(*((f"x-{n}", "") for n in range(1000)))))
        assert peer.outcome(1) == "200/8"
        assert serves(peer, 3)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\0\x84\xff\xff\xff\xff\x01a", id="the end-of-string symbol in Huffman"),
        pytest.param(b"\0\x82\x1f\xff\x01a", id="more than 7 bits of padding"),
        pytest.param(number(4097, 5, 0x20), id="a larger table than allowed"),
        pytest.param(number(1 << 30, 5, 0x20), id="a far larger table"),
        pytest.param(number(200, 7, 0x80), id="an entry that is not there"),
        pytest.param(b"\x80", id="entry 0"),
        pytest.param(b"\xff" + b"\xff" * 20, id="a number without an end"),
        pytest.param(b"\0\x7f\xff\xff\xff\x7fa", id="a length beyond the block"),
    ],
)
def test_a_header_block_that_cannot_be_decoded_ends_the_connection(scene: Scene, block: bytes) -> None:
    with scene.attack("protocol"), scene.peer() as peer:
        peer.send(raw(HEADERS, END_HEADERS, 1, block + OPEN))
        assert peer.ends() == COMPRESSION_ERROR


def test_table_sizes_that_change_thrice_leave_the_connection_in_step_or_end_it(scene: Scene) -> None:
    sizes = b"".join(number(size, 5, 0x20) for size in (0, 4096, 100))
    with scene.attack(), scene.peer() as peer:
        peer.send(raw(HEADERS, END_HEADERS, 1, sizes + OPEN) + raw(DATA, END_STREAM, 1, message()))
        found = peer.outcome(1)
        assert found == f"GOAWAY {COMPRESSION_ERROR}" or (found == "200/0" and serves(peer, 3))


# --- H2-06: floods -------------------------------------------------------------------------------------------------

FLOODS = [
    pytest.param(raw(SETTINGS, 0, 0), 18, "settings", id="SETTINGS"),  # the first one and our acknowledgement are two
    pytest.param(raw(SETTINGS, 0, 0, struct.pack("!HI", 4, 65_535)), 18, "settings", id="SETTINGS with a window"),
    pytest.param(raw(PRIORITY, 0, 3, struct.pack("!IB", 0, 16)), 100, "priorities", id="PRIORITY"),
    pytest.param(raw(WINDOW_UPDATE, 0, 0, struct.pack("!I", 1)), 1000, "window_updates", id="WINDOW_UPDATE"),
    pytest.param(raw(0xBE, 0, 0, b"grease"), 20, "unknown_frames", id="a type that nobody knows"),
    pytest.param(raw(PING, 0, 0, bytes(8)), 3, "too_many_pings pings", id="PING"),
    pytest.param(raw(RST_STREAM, 0, 1, RESET), 200, "resets", id="RST_STREAM of a stream that is over"),
]


@pytest.mark.parametrize(("frame", "allowed", "limit"), FLOODS)
def test_a_flood_of_small_frames_ends_the_connection(scene: Scene, frame: bytes, allowed: int, limit: str) -> None:
    with scene.attack(*limit.split()), scene.peer() as peer:
        assert serves(peer, 1)
        peer.send(frame * (2 * allowed + 300))
        assert peer.ends() == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(("frame", "allowed", "limit"), FLOODS)
def test_as_many_as_are_allowed_are_let_pass(scene: Scene, frame: bytes, allowed: int, limit: str) -> None:
    with scene.attack(), scene.peer() as peer:
        assert serves(peer, 1)
        peer.send(frame * allowed)
        assert serves(peer, 3)


def test_two_million_tiny_frames_end_the_connection(scene: Scene) -> None:
    """Frames of one byte that are padding only: no budget of their own, so that of all frames has to do."""
    with scene.attack("frames", "empty_frames"), scene.peer() as peer:
        peer.send(headers(1, fields_of()))
        padding = raw(DATA, PADDED, 1, b"\0") * 10_000
        for _ in range(200):
            peer.send(padding)
        assert peer.ends() == ENHANCE_YOUR_CALM


# --- H2-07: messages in crumbs -------------------------------------------------------------------------------------


def test_a_second_empty_piece_of_a_message_ends_the_connection(scene: Scene) -> None:
    with scene.attack("empty_frames"), scene.peer() as peer:
        peer.send(headers(1, fields_of()) + raw(DATA, 0, 1) * 2)
        assert peer.ends() == ENHANCE_YOUR_CALM


def test_one_empty_piece_is_let_pass(scene: Scene) -> None:
    with scene.attack(), scene.peer() as peer:
        peer.send(headers(1, fields_of()) + raw(DATA, 0, 1) + raw(DATA, END_STREAM, 1, message()))
        assert peer.outcome(1) == "200/0"


def crumbs(peer: Peer, stream: int, body: bytes, pad: int = 0) -> None:
    """Send a body byte by byte, as far as the windows go."""
    prefix, suffix = (bytes([pad]), bytes(pad)) if pad else (b"", b"")
    cost, used = len(prefix) + 1 + len(suffix), 0
    step = 30_000 // cost
    for at in range(0, len(body), step):
        piece = body[at : at + step]
        used += cost * len(piece)
        if not peer.wait(lambda needed=used: peer.room(stream) >= needed):
            return
        peer.send(b"".join(raw(DATA, PADDED if pad else 0, stream, prefix + bytes([one]) + suffix) for one in piece))


@pytest.mark.parametrize("path", ["/broker.v1.ExchangeService/Call", CHECK])
def test_a_message_byte_by_byte_is_held_once(scene: Scene, path: str) -> None:
    """150 KB are fewer frames than the budget of all frames has."""
    with scene.attack(mib=1), scene.peer() as peer:
        peer.send(headers(1, fields_of(path)))
        crumbs(peer, 1, message(bytes(150_000)))
        peer.send(raw(DATA, END_STREAM, 1))
        assert peer.outcome(1).startswith("200/")
        assert serves(peer, 3)


def test_a_megabyte_byte_by_byte_costs_no_more_than_twice_as_much(scene: Scene) -> None:
    with scene.attack(mib=2), scene.peer() as peer:
        peer.send(headers(1, fields_of()))
        crumbs(peer, 1, message(bytes(MIB - 5)))
        peer.send(raw(DATA, END_STREAM, 1))
        assert peer.outcome(1).startswith(("200/", "GOAWAY"))


def test_padding_counts_for_the_window_and_is_given_back(scene: Scene) -> None:
    """Nothing but the windows that we are given lets this many bytes pass: 5 for the message, 512 KB of padding."""
    with scene.attack(mib=1), scene.peer() as peer:
        peer.send(headers(1, fields_of()))
        crumbs(peer, 1, message(bytes(2043)), pad=255)
        peer.send(raw(DATA, END_STREAM, 1))
        assert peer.outcome(1).startswith("200/")


def test_more_than_the_window_is_a_flow_control_error(scene: Scene) -> None:
    """All of it is there before the front reads: one that keeps up gives the window back, and nothing is exceeded."""
    call = headers(1, fields_of("/broker.v1.ExchangeService/Call"))
    with scene.attack(), scene.peer() as peer, stopped(scene.front):
        peer.push(call + raw(DATA, PADDED, 1, bytes([255, 1]) + bytes(255)) * 1100)
        os.kill(scene.front, signal.SIGCONT)
        assert peer.outcome(1) in {f"RST {FLOW_CONTROL_ERROR}", f"GOAWAY {FLOW_CONTROL_ERROR}"}
