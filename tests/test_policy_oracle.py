"""The native decision against its oracle: random catalogues, random questions, and not one difference.

`POLICY_EXAMPLES` says how many catalogues are drawn, of `QUESTIONS` questions each; `make oracle` draws enough for a million.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import zoneinfo

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from broker._native.counters import Counters, Questions, decide_and_spend
from broker.model.catalogue import Catalogue, Consumer, Grant, Group, Interface
from broker.model.snapshot import Snapshot
from broker.policy.authorise import Verdict
from broker.policy.compiler import Compiler, compile_snapshot
from broker.policy.store import Changes, Revision, encode
from tests.oracle import policy as oracle
from tests.support.catalogue import interface, provider

EXAMPLES = int(os.environ.get("POLICY_EXAMPLES", "150"))
QUESTIONS = 200
SEEDS = st.integers(0, 2**64)  # of the draws, which are far too many for Hypothesis to make each
ZONES = ("Asia/Shanghai", "UTC", "America/St_Johns", "Australia/Lord_Howe")
CONSUMERS = ("a", "b", "c.d", "civil-affairs")
GROUPS = ("halls", "street.offices")
INTERFACES = (("i", 1), ("i", 2), ("j", 7), ("national.person.basic", 1))
CODES = ("P1", "P2", "p/3.1", "a")  # purposes, matters and units share texts, and one is a consumer's id as well
FIELDS = ("name", "birth_date", "status", "address")
HOURS = ("mon-fri 08:30-17:30", "daily 00:00-24:00", "sat 09:00-12:00", "fri-mon 22:00-23:59", "sun-tue 00:00-00:01")
NOW = dt.datetime(2026, 3, 29, 0, 30, tzinfo=dt.UTC)
STEPS_H = (-40, -1, 0, 1, 6, 13, 24, 100)


def _some(draw: random.Random, texts: tuple[str, ...], least: int = 0) -> tuple[str, ...]:
    return tuple(draw.sample(texts, draw.randint(least, min(3, len(texts)))))


def _grant(draw: random.Random, number: int) -> Grant:
    begins = NOW + dt.timedelta(hours=draw.choice(STEPS_H), milliseconds=draw.choice((0, 0, 1, 999)))
    return Grant(
        id=f"g{draw.randrange(100)}.{number}",
        consumer=draw.choice(CONSUMERS + GROUPS),
        interface=draw.choice(INTERFACES)[0],
        purposes=_some(draw, CODES, 1),
        matters=_some(draw, CODES),
        caller_units=_some(draw, CODES),
        fields=_some(draw, FIELDS, 1),
        hours=_some(draw, HOURS) if draw.random() < 0.4 else (),
        valid_from=begins,
        valid_until=begins + dt.timedelta(hours=draw.choice((1, 30, 200))),
        disclosure=draw.choice(("DATA", "DATA", "VERDICT_ONLY")),  # type: ignore[arg-type]
        operator_required=draw.random() < 0.2,
        device_required=draw.random() < 0.2,
    )


def _interface(draw: random.Random, name: str, version: int) -> Interface:
    answer = {"resident_id": {"type": "resident_id"}} | {f: {"type": "text"} for f in _some(draw, FIELDS)}
    return interface(id=name, version=version, answer=answer)


def draw_catalogue(draw: random.Random) -> Catalogue:
    return Catalogue(
        providers=(provider("http://x"),),
        interfaces=tuple(_interface(draw, *named) for named in INTERFACES if draw.random() < 0.9),
        consumers=tuple(Consumer(id=name, name=name) for name in CONSUMERS),
        groups=tuple(Group(id=name, name=name, members=_some(draw, CONSUMERS)) for name in GROUPS),
        grants=tuple(_grant(draw, number) for number in range(draw.randrange(25))),
    )


def draw_question(draw: random.Random, earliest_ms: int, latest_ms: int) -> oracle.Asked:
    name, version = draw.choice(INTERFACES)
    return oracle.Asked(
        consumer=draw.choice((*CONSUMERS, None)) if draw.random() < 0.9 else "nobody",
        interface=name if draw.random() < 0.95 else "unknown",
        version=draw.choice((0, version, 3)),
        purpose=draw.choice((*CODES, "other")),
        matter=draw.choice(("", *CODES, "other")),
        unit=draw.choice(("", *CODES, "other")),
        operator=draw.random() < 0.5,
        device=draw.random() < 0.5,
        verdict=draw.random() < 0.3,
        earliest_ms=earliest_ms,
        latest_ms=latest_ms,
    )


def _native_one(snapshot: Snapshot, asked: oracle.Asked) -> oracle.Decision:
    number = snapshot.numbers.get(asked.consumer) if asked.consumer else None
    says = asked.operator | asked.device << 1 | asked.verdict << 2
    verdict, ref = snapshot.image.decide(
        number,
        asked.interface,
        asked.version,
        asked.purpose,
        asked.matter,
        asked.unit,
        says,
        asked.earliest_ms,
        asked.latest_ms,
    )
    if ref is None:
        return oracle.Decision(Verdict(verdict).name)
    authority = snapshot.authority(ref)
    return oracle.Decision(Verdict(verdict).name, authority.grant, authority.fields)


def _native_all(snapshot: Snapshot, asked: list[oracle.Asked]) -> list[str]:
    """The same by the way that a front goes: no Python objects, all at once. Rates are spent on the way, and high enough."""
    questions = Questions(
        [
            (
                snapshot.numbers.get(one.consumer) if one.consumer else None,
                one.interface.encode(),
                one.version,
                one.purpose.encode(),
                one.matter.encode(),
                one.unit.encode(),
                one.operator | one.device << 1 | one.verdict << 2,
            )
            for one in asked
        ]
    )
    verdicts = bytearray(len(asked))
    counters = Counters(bytearray(64 * 64))
    decide_and_spend(snapshot.image, counters, questions, asked[0].earliest_ms, asked[0].latest_ms, 10**9, verdicts)
    return [Verdict(verdict).name for verdict in verdicts]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(SEEDS, st.sampled_from(ZONES))
def test_no_decision_differs_from_the_truth_table(seed: int, zone: str) -> None:
    draw = random.Random(seed)
    drawn = draw_catalogue(draw)
    catalogue = msgspec.structs.replace(
        drawn, grants=tuple(msgspec.structs.replace(g, rate_per_second=1e6, burst=1_000_000) for g in drawn.grants)
    )
    snapshot = compile_snapshot(catalogue, 1, zone)
    earliest = int(NOW.timestamp() * 1000) + draw.choice(STEPS_H) * 3_600_000 + draw.choice((0, 1, 999, 59_999))
    latest = earliest + draw.choice((0, 0, 0, 1, 86_400_000))
    asked = [draw_question(draw, earliest, latest) for _ in range(QUESTIONS)]
    expected = [oracle.decide(catalogue, zoneinfo.ZoneInfo(zone), one) for one in asked]
    assert [_native_one(snapshot, one) for one in asked] == expected
    assert _native_all(snapshot, asked) == [one.verdict for one in expected]


@settings(max_examples=max(20, EXAMPLES // 5), deadline=None, suppress_health_check=list(HealthCheck))
@given(SEEDS)
def test_what_was_changed_step_by_step_decides_as_what_was_compiled_whole(seed: int) -> None:
    draw = random.Random(seed)
    compiler, held = Compiler(), {}
    for version in range(1, 6):
        catalogue = draw_catalogue(draw)
        wanted = encode(catalogue)
        written = {place: document for place, document in wanted.items() if held.get(place) != document}
        snapshot = compiler.update(
            Changes(Revision(version, ""), written, tuple(held.keys() - wanted.keys()), whole=version == 1)
        )[1]
        held = wanted
        at_ms = int(NOW.timestamp() * 1000)
        asked = [draw_question(draw, at_ms, at_ms) for _ in range(50)]
        zone = zoneinfo.ZoneInfo("Asia/Shanghai")
        assert [_native_one(snapshot, one) for one in asked] == [oracle.decide(catalogue, zone, one) for one in asked]
        assert snapshot.grants == len(
            {g.id for g in catalogue.grants if any(i.id == g.interface for i in catalogue.interfaces)}
        )


@pytest.mark.parametrize(
    ("consumer", "expected"), [("a", {"g.a", "g.halls"}), ("b", {"g.halls"}), ("c.d", set()), ("nobody", set())]
)
def test_what_a_consumer_holds_reads_back_as_it_was_granted(consumer: str, expected: set[str]) -> None:
    common = {
        "interface": "i",
        "purposes": ("P1",),
        "fields": ("name", "status"),
        "valid_from": NOW,
        "valid_until": NOW + dt.timedelta(days=3, milliseconds=5),
        "hours": ("mon 08:30-17:30", "tue 08:30-24:00"),
        "legal_basis": "《条例》第一条",
        "quota_per_day": 7,
        "cache_max_age_s": 0,
        "stale_allowed": False,
        "embargo_class": "investigation",
    }
    grants = (Grant(id="g.a", consumer="a", **common), Grant(id="g.halls", consumer="halls", **common))  # type: ignore[arg-type]
    catalogue = Catalogue(
        providers=(provider("http://x"),),
        interfaces=(interface(id="i"),),
        consumers=tuple(Consumer(id=name, name=name) for name in CONSUMERS),
        groups=(Group(id="halls", name="大厅", members=("a", "b")),),
        grants=grants,
    )
    snapshot = compile_snapshot(catalogue, 1)
    held = [snapshot.grant(holding) for holding in snapshot.held_by(consumer)]
    assert {grant.id for grant in held} == expected
    assert all(grant in grants for grant in held)
