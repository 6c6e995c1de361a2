"""What a front writes of its own, against protobuf and the services; and how it reads a cached body, against what wrote it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from broker._native import reply
from broker.model import body
from broker.model.call import Answer, Comparison, Encoding, FieldVerdict, Matched, Record, Source, SubjectStatus, Verdict
from broker.model.catalogue import Level, Provider
from broker.model.payload import encoded
from broker.services import match_messages
from broker.v1 import exchange_pb2 as pb
from tests.support.catalogue import interface

MOMENTS = st.integers(0, 2**41) | st.sampled_from([0, 1, 999, 1000, 2**53 - 1])
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=64)
IDENTIFIERS = st.text("abcdefghijklmnopqrstuvwxyz.-0123456789", max_size=95).map("i{}".format)
VERDICTS = st.dictionaries(
    NAMES,
    st.sampled_from([FieldVerdict(one) for one in Verdict if one is not Verdict.CLOSE])
    | st.floats(0, 1, exclude_min=True, exclude_max=True).map(lambda score: FieldVerdict(Verdict.CLOSE, score)),
    max_size=32,
)
TEXT = 'ab"\\\n张三·\U00020000'
SOURCES = st.sampled_from([Source.CACHE, Source.RECORDS])


def provider(level: Level, name: str) -> Provider:
    return Provider(id=name, name="x", level=level)


def origin_of(level: Level, provider_id: str, interface_id: str, version: int) -> bytes:
    return reply.origin(reply.LEVELS[level], provider_id.encode(), interface_id.encode(), version)


def answer(encoded_body: bytes, source: Source, age_ms: int, *, found: bool, level: Level = Level.CITY) -> Answer:
    return Answer(body=encoded_body, source=source, age_ms=age_ms, stale=False, found=found, interface=interface(), level=level)


def test_the_numbers_are_those_of_the_contract():
    assert {pb.Level.Name(number): number for number in reply.LEVELS.values()} == {
        f"LEVEL_{name}": number for name, number in reply.LEVELS.items()
    }
    assert set(reply.LEVELS) == set(Level)
    assert (int(Source.CACHE), int(Source.RECORDS)) == (pb.SOURCE_CACHE, pb.SOURCE_RECORDS) == (2, 3)


@given(
    fields=st.none()
    | st.dictionaries(NAMES, st.none() | st.text(TEXT, max_size=300) | st.integers(-(2**53), 2**53), max_size=5),
    level=st.sampled_from(list(Level)),
    names=st.tuples(IDENTIFIERS, IDENTIFIERS),
    version=st.integers(1, 1_000_000),
    at_ms=MOMENTS,
    encoding=st.sampled_from(list(Encoding)),
)
@example(fields={"a": "名" * 5000}, level=Level.CITY, names=("p" * 96, "i" * 96), version=1, at_ms=0, encoding=Encoding.JSON)
def test_a_call_on_a_base_is_what_the_core_would_have_written(fields, level, names, version, at_ms, encoding):
    asked, shown = interface(id=names[1], version=version), tuple(sorted(fields or {}))
    written = body.body(asked, provider(level, names[0]), Record(fields=fields, fetched_at_ms=at_ms), shown, encoding)
    oracle = pb.CallResponse.FromString(body.wire(answer(written, Source.RECORDS, 0, found=fields is not None)))
    payload = encoded(fields, shown, encoding)
    digest = hashlib.sha256(payload).digest()
    told = reply.call_reply(fields is not None, payload, origin_of(level, *names, version), digest, 3, at_ms, 0)
    assert pb.CallResponse.FromString(told) == oracle


@given(
    verdicts=st.none() | VERDICTS,
    status=st.sampled_from(list(SubjectStatus)),
    overall=st.sampled_from(list(Verdict)),
    source=SOURCES,
    times=st.tuples(MOMENTS, MOMENTS),
)
@example(
    verdicts={f"{n:064}": FieldVerdict(Verdict.CLOSE, 0.999) for n in range(32)},
    status=SubjectStatus.EXPIRED,
    overall=Verdict.NOT_HELD,
    source=Source.CACHE,
    times=(2**53 - 1, 2**53 - 1),
)
def test_a_comparison_is_what_the_core_would_have_written(verdicts, status, overall, source, times):
    """Of a cached answer, the provenance is copied out of its body; of a base it is written anew."""
    found, (at_ms, age_ms) = verdicts is not None, times
    fields = {"name": "张三"} if found else None
    record = Record(fields=fields, fetched_at_ms=at_ms)
    written = body.body(interface(version=7), provider(Level.PROVINCIAL, "p" * 96), record, ("name",), Encoding.JSON)
    said = Comparison(verdicts, status, overall) if verdicts is not None else Comparison({}, SubjectStatus.UNKNOWN, None)
    oracle = match_messages.response(Matched(answer=answer(written, source, age_ms, found=found), comparison=said))
    view = reply.read_body(written)
    assert view is not None
    for origin, moment in ((view[2], None), (origin_of(Level.PROVINCIAL, "p" * 96, interface().id, 7), at_ms)):
        told = reply.match_reply(found, dict(said.verdicts), said.status, said.overall or 0, origin, source, moment, age_ms)
        assert pb.MatchResponse.FromString(told) == oracle


@given(data=st.binary(max_size=80), at=st.integers(0, 200))
def test_a_body_is_read_as_protobuf_reads_it_or_not_at_all(data, at):
    record = Record(fields={"name": "张三"}, fetched_at_ms=1_700_000_000_123)
    good = body.body(interface(), provider(Level.CITY, "p"), record, ("name",), Encoding.JSON)
    for mixed in (data, good[:at] + data + good[at:], good[:at] + data, good[:at] + data + good[at + len(data) :]):
        agrees(mixed)
    assert agrees(good)


def agrees(data: bytes) -> bool:
    """Whether a body was read; then protobuf reads the same."""
    view = reply.read_body(data)
    if view is None:
        return False
    found, payload, origin = view
    message = pb.CallResponse.FromString(data)
    assert (found, payload) == (message.outcome == pb.OUTCOME_FOUND, message.payload)
    message.provenance.ClearField("digest")
    try:
        assert pb.Provenance.FromString(origin) == message.provenance
    except DecodeError:  # texts that are no UTF-8: protobuf refuses the whole as well
        pytest.fail("what protobuf reads whole it does not read in part")
    return True


@pytest.mark.parametrize(
    "wrong",
    [
        {"payload": b"x", "outcome": pb.OUTCOME_NOT_FOUND},
        {"payload": b"", "outcome": pb.OUTCOME_FOUND},
        {"outcome": 0},
        {"audit_id": "x"},
        {"provenance": pb.Provenance(level=3, provider="p")},
        {"provenance": pb.Provenance(level=3, provider="p", digest=b"d" * 31)},
        {"provenance": pb.Provenance(digest=b"d" * 32, stale=True)},
    ],
    ids=[
        "a payload of nobody",
        "no payload",
        "no outcome",
        "an unknown field",
        "no digest",
        "a short digest",
        "about one call",
    ],
)
def test_an_unusual_body_is_for_the_core(wrong: dict[str, Any]):
    usual = {"outcome": pb.OUTCOME_FOUND, "payload": b"{}", "provenance": pb.Provenance(provider="p", digest=b"d" * 32)}
    assert reply.read_body(pb.CallResponse(**usual).SerializeToString()) == (True, b"{}", b"\x1a\x01p")
    assert reply.read_body(pb.CallResponse(**(usual | wrong)).SerializeToString()) is None


def test_what_is_longer_than_any_is_not_written():
    with pytest.raises(ValueError, match="name"):
        reply.match_reply(True, {"n" * 65: (1, 0.0)}, 0, 1, b"", 3, 0, 0)
    with pytest.raises(ValueError, match="origin"):
        reply.call_reply(True, b"{}", b"\x1a" * 513, None, 3, 0, 0)
    with pytest.raises(ValueError, match="verdicts"):
        reply.match_reply(True, {f"n{number}": (1, 0.0) for number in range(33)}, 0, 1, b"", 3, 0, 0)
    with pytest.raises(ValueError, match="catalogue"):
        reply.origin(1, b"p" * 400, b"i" * 100, 1)
    for changes in ({"source": 1}, {"fetched_at_ms": -1}, {"age_ms": 2**53}, {"digest": b"short"}):
        values: dict[str, Any] = {"digest": None, "source": 3, "fetched_at_ms": 0, "age_ms": 0}
        with pytest.raises(ValueError, match=r"source|digest"):
            reply.call_reply(True, b"{}", b"", *(values | changes).values())
