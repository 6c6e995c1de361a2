"""The native wire of a comparison against protobuf and the service, as test_wire.py has it of a call."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from broker._native import wire
from broker.errors import InvalidRequest
from broker.services import match_messages
from broker.v1 import exchange_pb2 as pb
from tests.support.people import resident_id
from tests.test_wire import NOWHERE, TEXT_FIELDS, TEXTS, _by_bytes, delimited, varint


def match_oracle(data: bytes) -> dict[str, Any] | None:
    """The same of a comparison."""
    try:
        request = match_messages.request(pb.MatchRequest.FromString(data), NOWHERE)  # type: ignore[arg-type]
    except DecodeError:
        return None
    except InvalidRequest:
        return {"interface": ""}
    said = {field: getattr(request, field) for field in TEXT_FIELDS}
    return said | {name: _by_bytes(getattr(request, name) or {}) for name in ("arguments", "asserted")}


def match_agrees(data: bytes) -> bool:
    """The same of a comparison. Which one lacks a target is the service's to say."""
    read = wire.parse_match_request(data)
    oracle = match_oracle(data) if read is not None else None
    assert read is None or read == oracle or (oracle == {"interface": ""} and read["interface"] == ""), data.hex()
    return read is not None


MAPS = st.dictionaries(TEXTS, TEXTS, max_size=32)
MAP_NAMES = ("key", "asserted")
MATCH_TEXTS = ("purpose", "matter", "operator", "case_id")
COMPARISON = pb.MatchRequest(
    base="population",
    key={"resident_id": resident_id(7)},
    asserted={"name": "张三", "birth_date": "1980-01-01"},
    purpose="restaurant-licence",
    operator="clerk-17",
)


def test_an_everyday_comparison_is_read_whole():
    assert wire.parse_match_request(COMPARISON.SerializeToString()) == {
        "interface": "population",
        "purpose": "restaurant-licence",
        "matter": "",
        "operator": "clerk-17",
        "case_id": "",
        "arguments": (("resident_id", resident_id(7)),),
        "asserted": (("birth_date", "1980-01-01"), ("name", "张三")),
    }


@given(
    target=st.one_of(TEXTS.map(lambda text: {"base": text}), TEXTS.map(lambda text: {"interface": text}), st.just({})),
    key=MAPS,
    asserted=MAPS,
    said=st.fixed_dictionaries(dict.fromkeys(MATCH_TEXTS, TEXTS)),
)
def test_every_proper_comparison_is_read(target, key, asserted, said):
    assert match_agrees(pb.MatchRequest(**target, key=key, asserted=asserted, **said).SerializeToString())


@given(
    st.lists(
        st.one_of(
            [TEXTS.map(lambda text, name=name: pb.MatchRequest(**{name: text})) for name in (*MATCH_TEXTS, "base", "interface")]
            + [
                st.dictionaries(TEXTS, TEXTS, max_size=1).map(lambda pair, name=n: pb.MatchRequest(**{name: pair}))
                for n in MAP_NAMES
            ]
        ).map(pb.MatchRequest.SerializeToString),
        max_size=20,
    )
)
def test_fields_of_a_comparison_are_read_in_any_order_and_the_last_target_counts(chunks):
    match_agrees(b"".join(chunks))


@pytest.mark.parametrize(
    "data",
    [
        delimited(1, b"a") + delimited(2, b""),
        delimited(2, b"a") + delimited(1, b"b"),
        delimited(2, b"a") + delimited(1, b""),
        b"",
    ],
)
def test_of_two_targets_the_last_one_counts(data):
    assert match_agrees(data)


def test_what_is_unusual_in_a_comparison_is_for_the_core():
    good = COMPARISON.SerializeToString()
    twice = pb.MatchRequest(asserted={"name": "x"}).SerializeToString()
    many = pb.MatchRequest(asserted={str(number): "x" for number in range(33)}).SerializeToString()
    for wrong in (good + twice, many, good[:-1], good + varint(1, 1), good + delimited(9, b""), good + delimited(5, b"\xff")):
        assert wire.parse_match_request(wrong) is None
        match_agrees(wrong)
    with pytest.raises(TypeError):
        wire.parse_match_request("x")  # type: ignore[arg-type]


@given(at=st.integers(0, 200), size=st.integers(0, 3), junk=st.binary(max_size=4))
def test_a_damaged_comparison_is_read_as_protobuf_reads_it_or_not_at_all(at, size, junk):
    good = COMPARISON.SerializeToString()
    match_agrees(good[:at] + junk + good[at + size :])
