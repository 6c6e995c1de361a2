"""The native wire against protobuf and the service: what it reads is what they read, and what it declines nobody needs fast."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker._native import wire
from broker.errors import InvalidRequest
from broker.model import body
from broker.model.call import Answer, Encoding, Source
from broker.model.catalogue import Level
from broker.services import exchange_service
from broker.v1 import exchange_pb2 as pb
from tests.support.people import resident_id

NOWHERE = SimpleNamespace(invocation_metadata=lambda: ())  # the context of a call whose metadata say nothing
TEXT_FIELDS = ("interface", "purpose", "matter", "operator", "case_id")
MOST_SECONDS, MOST_NANOS = 315_576_000_000, 999_999_999
TEXTS = st.text(max_size=12) | st.text(alphabet="ab.张三·\U00020000", max_size=30)
EVERYDAY = pb.CallRequest(
    interface="national.person.basic",
    arguments={"resident_id": resident_id(7), "name": "张三", "born": "1980-01-01"},
    purpose="restaurant-licence",
    matter="440100-0131",
    operator="clerk-17",
    case_id="2026-000123",
    max_age=Duration(seconds=600),
    encoding=pb.ENCODING_MSGPACK,
    version=3,
)


def oracle(data: bytes) -> dict[str, Any] | None:
    """What protobuf and the service make of the bytes; None where they refuse them."""
    try:
        message = pb.CallRequest.FromString(data)
        request = exchange_service._request(message, NOWHERE)  # type: ignore[arg-type]
    except (DecodeError, InvalidRequest):
        return None
    said = {field: getattr(request, field) for field in (*TEXT_FIELDS, "version", "encoding", "max_age_ms")}
    return said | {"arguments": _by_bytes(request.arguments)}


def _by_bytes(pairs: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pairs.items(), key=lambda pair: pair[0].encode()))


def agrees(data: bytes) -> bool:
    """Whether the bytes were read; what was read is as the oracle has it."""
    read = wire.parse_call_request(data)
    assert read is None or read == oracle(data), data.hex()
    return read is not None


def number(value: int) -> bytes:
    """A varint in its shortest form."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def delimited(field: int, content: bytes) -> bytes:
    return number(field << 3 | 2) + number(len(content)) + content


def varint(field: int, value: int) -> bytes:
    return number(field << 3) + number(value)


def age_of(seconds: int, nanos: int) -> bytes:
    return pb.CallRequest(max_age=Duration(seconds=seconds, nanos=nanos)).SerializeToString()


ages = st.tuples(st.just("max_age"), st.builds(age_of, st.integers(0, MOST_SECONDS), st.integers(0, MOST_NANOS)))
single_fields = st.one_of(
    [st.tuples(st.just(name), TEXTS.map(lambda text, name=name: pb.CallRequest(**{name: text}))) for name in TEXT_FIELDS]
    + [
        st.tuples(st.just("encoding"), st.integers(0, 2).map(lambda value: pb.CallRequest(encoding=value))),
        st.tuples(st.just("version"), st.integers(0, 2**32 - 1).map(lambda value: pb.CallRequest(version=value))),
    ]
).map(lambda field: (field[0], field[1].SerializeToString()))
arguments = st.tuples(TEXTS, TEXTS).map(lambda pair: ("=" + pair[0], argument(*pair)))
requests = st.builds(
    pb.CallRequest,
    **dict.fromkeys(TEXT_FIELDS, TEXTS),
    arguments=st.dictionaries(TEXTS, TEXTS, max_size=32),
    max_age=st.none() | st.builds(Duration, seconds=st.integers(0, MOST_SECONDS), nanos=st.integers(0, MOST_NANOS)),
    encoding=st.integers(0, 2),
    version=st.integers(0, 2**32 - 1),
)


def argument(name: str, value: str) -> bytes:
    return pb.CallRequest(arguments={name: value}).SerializeToString()


# --- read as protobuf reads it ----------------------------------------------------------------------------------------


def test_an_everyday_call_is_read_whole():
    assert wire.parse_call_request(EVERYDAY.SerializeToString()) == {
        "interface": "national.person.basic",
        "purpose": "restaurant-licence",
        "matter": "440100-0131",
        "operator": "clerk-17",
        "case_id": "2026-000123",
        "version": 3,
        "encoding": 2,
        "max_age_ms": 600_000,
        "arguments": (("born", "1980-01-01"), ("name", "张三"), ("resident_id", resident_id(7))),
    }


@given(message=requests)
@example(message=pb.CallRequest())
@example(message=pb.CallRequest(max_age=Duration()))
@example(message=pb.CallRequest(arguments={"": ""}))
@example(message=pb.CallRequest(arguments={f"{n:02}": "中" * n for n in range(32)}))
@example(message=pb.CallRequest(interface="i" * 100_000))
def test_every_proper_call_is_read(message):
    assert agrees(message.SerializeToString())
    assert agrees(message.SerializeToString(deterministic=True))


@given(fields=st.lists(single_fields | arguments, max_size=30, unique_by=lambda field: field[0]), age=st.none() | ages)
def test_fields_are_read_in_any_order(fields, age):
    assert agrees(b"".join(chunk for _, chunk in [*fields[:5], *([age] if age else []), *fields[5:]]))


@given(fields=st.lists(single_fields, max_size=12))
def test_of_a_field_that_stands_twice_the_last_counts(fields):
    assert agrees(b"".join(chunk for _, chunk in fields))


def test_a_later_zero_or_empty_text_counts_too():
    data = delimited(1, b"person") + delimited(1, b"") + varint(8, 2) + varint(8, 0) + varint(9, 7) + varint(9, 0)
    assert agrees(data)
    read = wire.parse_call_request(data)
    assert read is not None
    assert (read["interface"], read["encoding"], read["version"]) == ("", 1, 0)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        delimited(1, b"n"),
        delimited(2, b"v"),
        delimited(2, b"v") + delimited(1, b"n"),
        delimited(1, b"") + delimited(2, b""),
    ],
)
def test_an_entry_without_name_or_value_has_empty_ones(entry):
    assert agrees(delimited(2, entry))


@given(names=st.permutations([*"zyxab", "", "a\0", "ab", "é", "￿", "\U00010000"]), count=st.integers(0, 11))
def test_arguments_rise_by_the_bytes_of_their_names(names, count):
    assert agrees(b"".join(argument(name, name + "!") for name in names[:count]))


@pytest.mark.parametrize("seconds", [0, 1, MOST_SECONDS])
@pytest.mark.parametrize("nanos", [0, 1, 999_999, 1_000_000, MOST_NANOS])
def test_a_greatest_age_is_read_to_the_millisecond(seconds, nanos):
    assert agrees(age_of(seconds, nanos))
    assert agrees(delimited(7, varint(2, nanos) + varint(1, 5) + varint(1, seconds)))


# --- declined ---------------------------------------------------------------------------------------------------------

SHORT = delimited(1, b"i")
DECLINED = {
    "unknown field": SHORT + varint(10, 1),
    "unknown field of bytes": SHORT + delimited(15, b"x"),
    "unknown field beyond one byte": SHORT + varint(16, 1),
    "field 0": SHORT + b"\x02\x00",
    "tag in two bytes": b"\x8a\x00\x01i",
    "group": SHORT + b"\x0b\x0c",
    "text as a number": varint(1, 1),
    "text as 64 bits": b"\x09" + bytes(8),
    "number as 32 bits": b"\x45" + bytes(4),
    "number as bytes": delimited(8, b"\x01"),
    "age as a number": varint(7, 1),
    "argument as a number": varint(2, 1),
    "encoding that is none": varint(8, 3),
    "encoding below zero": varint(8, 2**64 - 1),
    "encoding that wraps to one": varint(8, 2**32 + 1),
    "version that wraps": varint(9, 2**32),
    "version of 70 bits": b"\x48" + b"\xff" * 9 + b"\x01",
    "varint that does not end": b"\x48" + b"\x80" * 11 + b"\x01",
    "longer form of one": b"\x48\x81\x00",
    "longer form of zero": b"\x48\x80\x00",
    "longer form of a length": b"\x0a\x81\x00i",
    "longer form of a length in ten bytes": b"\x0a\x81" + b"\x80" * 8 + b"\x00i",
    "length below zero": b"\x0a" + number(2**64 - 1),
    "length of 32 bits": b"\x0a" + number(2**32 - 1) + b"i",
    "length that wraps": b"\x0a" + number(2**64 - 2**63) + b"i",
    "same name twice": argument("n", "a") + argument("n", "b"),
    "same name twice, empty": argument("", "a") + argument("a", "") + argument("", "b"),
    "33 arguments": b"".join(argument(f"{n}", "v") for n in range(33)),
    "name twice in an entry": delimited(2, delimited(1, b"a") + delimited(1, b"b")),
    "value twice in an entry": delimited(2, delimited(1, b"a") + delimited(2, b"b") + delimited(2, b"b")),
    "unknown field in an entry": delimited(2, delimited(1, b"a") + varint(3, 1)),
    "number for a name": delimited(2, varint(1, 1)),
    "entry beyond its end": b"\x12\x03\x0a\x05aaaaaaaa",
    "age stated twice": age_of(1, 0) + age_of(1, 0),
    "age stated twice, once empty": age_of(0, 0) + age_of(1, 0),
    "age below zero": age_of(-1, 0),
    "age below zero by its nanos": age_of(5, -1),
    "age that wraps": delimited(7, varint(1, 2**64 - 1)),
    "age beyond a Duration": age_of(MOST_SECONDS + 1, 0),
    "nanos beyond a Duration": age_of(0, MOST_NANOS + 1),
    "unknown field in an age": delimited(7, varint(3, 1)),
    "bytes in an age": delimited(7, delimited(1, b"")),
    "age beyond its end": b"\x3a\x01\x08\x01",
}


@pytest.mark.parametrize("data", DECLINED.values(), ids=DECLINED)
def test_what_is_unusual_is_declined(data):
    assert not agrees(data)


@pytest.mark.parametrize("behind", [b"\0", b"\x0a", b"\x0a\x05i", b"\x12\x01", b"\x80"])
def test_an_everyday_call_with_something_behind_it_is_declined(behind):
    assert not agrees(EVERYDAY.SerializeToString() + behind)


def test_only_bytes_are_read():
    for wrong in (None, "text", bytearray(b"")):
        with pytest.raises(TypeError):
            wire.parse_call_request(wrong)  # type: ignore[arg-type]


# --- UTF-8 ------------------------------------------------------------------------------------------------------------


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("place", ["field", "name", "value", "superseded"])
def test_a_text_that_is_not_utf8_is_declined_wherever_it_stands(place):
    bad = b"abc\xff"
    data = {
        "field": delimited(3, bad),
        "name": delimited(2, delimited(1, bad)),
        "value": delimited(2, delimited(2, bad)),
        "superseded": delimited(3, bad) + delimited(3, b"good"),
    }
    assert not agrees(data[place])


@pytest.mark.parametrize("padding", [0, 5, 7, 8])
def test_every_two_bytes_and_every_lead_of_more_are_judged_as_python_judges_them(padding):
    """All pairs of bytes, and behind each the continuations and their neighbours, at every side of the fast path's border."""
    tails = [b"", b"\x80", b"\xbf", b"\x80\x80", b"\xbf\xbf", b"\x80\x7f", b"\xbf\xc0", b"a"]
    for pair in range(0x10000):
        for tail in tails if pair >= 0xE000 else tails[:1]:
            text = b"a" * padding + struct.pack(">H", pair) + tail
            assert (wire.parse_call_request(delimited(1, text)) is not None) == is_text(text), text.hex()


@given(text=st.binary(max_size=24) | st.text(max_size=12).map(str.encode) | st.text(max_size=6).map(lambda t: t.encode()[1:]))
def test_any_bytes_are_text_where_python_reads_them_so(text):
    assert agrees(delimited(5, text)) == is_text(text)


# --- damage -----------------------------------------------------------------------------------------------------------


def test_an_everyday_call_that_was_cut_or_has_a_wrong_bit_is_read_as_protobuf_reads_it_or_not_at_all():
    whole = EVERYDAY.SerializeToString()
    borders = sum(agrees(whole[:cut]) for cut in range(len(whole)))
    assert 1 < borders < 13  # cut between fields it is a whole call of fewer
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        agrees(bytes(damaged))


@given(message=requests, seed=st.integers(0, 2**32))
@settings(max_examples=200)
def test_damaged_calls_are_read_as_protobuf_reads_them_or_not_at_all(message, seed):
    whole, draw = message.SerializeToString(), random.Random(seed)
    for _ in range(20):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            at = draw.randint(0, len(damaged))
            damaged[at : at + draw.randint(0, 2)] = draw.randbytes(draw.randint(0, 2))
        agrees(bytes(damaged))


@given(
    data=st.binary(max_size=64)
    | st.lists(st.sampled_from(b"\x00\x01\x02\x03\x0a\x12\x1a\x3a\x40\x48\x08\x10ab\x80")).map(bytes)
)
@settings(max_examples=500)
def test_any_bytes_are_read_as_protobuf_reads_them_or_not_at_all(data):
    agrees(data)


# --- the tail ---------------------------------------------------------------------------------------------------------


def tail_by_python(age_ms: int) -> bytes:
    interface: Any = None  # says nothing of the tail
    answer = Answer(
        body=b"", source=Source.CACHE, age_ms=age_ms, stale=False, found=True, interface=interface, level=Level.CITY
    )
    return body.wire(answer)


@given(age_ms=st.integers(0, 2**53 - 1) | st.integers(0, 100_000))
@example(age_ms=0)
@example(age_ms=1)
@example(age_ms=999)
@example(age_ms=1000)
@example(age_ms=2**53 - 1)
def test_a_tail_is_what_python_writes(age_ms):
    assert wire.call_tail(age_ms) == tail_by_python(age_ms)


def test_a_tail_is_right_at_every_length_of_its_numbers():
    edges = {2**bits * 1000 + off + ms for bits in range(43) for off in (-1, 0, 1) for ms in (0, 1, 268, 269, 999)}
    tails = [wire.call_tail(age_ms) for age_ms in sorted(edges)]
    assert tails == [tail_by_python(age_ms) for age_ms in sorted(edges)]
    assert max(map(len, tails)) == 20


@pytest.mark.parametrize("age_ms", [-1, 2**53, 2**64, 2**80])
def test_an_age_that_no_clock_can_tell_is_refused(age_ms):
    with pytest.raises(ValueError, match="age_ms"):
        wire.call_tail(age_ms)


def test_the_numbers_of_encodings_and_the_source_are_those_of_the_contract():
    assert [int(encoding) for encoding in Encoding] == [pb.ENCODING_JSON, pb.ENCODING_MSGPACK] == [1, 2]
    assert Source.CACHE == pb.SOURCE_CACHE == 2
