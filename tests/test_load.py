"""The load scenarios' own rules: an answer that breaks an invariant is seen, the mix is what it says, the day has its shape."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration

from broker.demo.city import build_city
from broker.demo.consumers import RIGHTS
from broker.demo.interfaces import QUESTIONS
from broker.v1 import exchange_pb2 as pb
from loadtests import day, summary
from loadtests.invariants import INVARIANTS, broken
from loadtests.mix import Asked, Mix, Zipf, interface_weights, rights_by_interface
from loadtests.settings import Settings
from loadtests.tally import Result, Tally, percentiles

NOW = dt.datetime(2026, 3, 2, 10, 0, tzinfo=dt.UTC)
RECORD = {
    "resident_id": "000000199001010016",
    "name": "某甲",
    "sex": "女",
    "ethnicity": "汉",
    "birth_date": "1990-01-01",
    "address": "无名路1号",
    "status": "VALID",
    "death_date": None,
}
LIVE = {"resident_id": RECORD["resident_id"], "list_type": "红名单", "listed_on": None, "reason_code": None}
RECORDS: dict[str, dict[str, Any]] = {"national.person.basic": RECORD, "national.credit.person": LIVE}


def _asked(interface: str = "national.person.basic", consumer: str = "notary-office", found: bool = True) -> Asked:
    right = next(right for right in RIGHTS[consumer] if right.interface == interface)
    arguments = {"resident_id": str(RECORD["resident_id"])}
    return Asked(consumer, right, QUESTIONS[interface], arguments, RECORDS[interface] if found else None)


def _answer(asked: Asked, age_s: int = 0, stale: bool = False, **changed: Any) -> pb.CallResponse:
    fields = {word: asked.record[word] for word in asked.granted} | changed if asked.record else changed
    payload = msgspec.json.encode(fields) if fields else b""
    said = pb.Provenance(
        source=pb.SOURCE_CACHE if age_s else pb.SOURCE_UPSTREAM,
        level=pb.LEVEL_NATIONAL,
        provider=asked.question.department,
        interface=asked.question.id,
        version=1,
        age=Duration(seconds=age_s),
        stale=stale,
        digest=hashlib.sha256(payload).digest(),
    )
    said.fetched_at.FromDatetime(NOW - dt.timedelta(seconds=age_s))
    outcome = pb.OUTCOME_FOUND if asked.record else pb.OUTCOME_NOT_FOUND
    return pb.CallResponse(outcome=outcome, payload=payload, provenance=said)


def _provenance(**changed: Any) -> Callable[[], tuple[Asked, pb.CallResponse]]:
    def make() -> tuple[Asked, pb.CallResponse]:
        asked = _asked()
        answer = _answer(asked)
        answer.provenance.MergeFrom(pb.Provenance(**changed))
        return asked, answer

    return make


def _pair(asked: Asked, **changed: Any) -> Callable[[], tuple[Asked, pb.CallResponse]]:
    return lambda: (asked, _answer(asked, **changed))


def _swapped(asked: Asked, other: Asked) -> Callable[[], tuple[Asked, pb.CallResponse]]:
    """What `other` should have got is given to `asked`."""
    return lambda: (asked, _answer(other))


ALL = "load-test"
GOOD = {
    "from the provider": _pair(_asked()),
    "from the cache": _pair(_asked(), age_s=600),
    "all fields, to whom they are granted": _pair(_asked(consumer=ALL)),
    "stale, where allowed": _pair(_asked(), age_s=3600 * 5, stale=True),
    "no record": _pair(_asked(found=False)),
    "live": _pair(_asked("national.credit.person", ALL)),
}
# What is wrong with an answer, and the invariant that must say so.
BAD: dict[str, tuple[Callable[[], tuple[Asked, pb.CallResponse]], str]] = {
    "the wider mask of another": (_swapped(_asked(), _asked(consumer=ALL)), "no field outside the grant"),
    "a field of another": (_pair(_asked(), sex="女"), "no field outside the grant"),
    "the narrower mask of another": (_swapped(_asked(consumer=ALL), _asked()), "every granted field"),
    "another person": (_pair(_asked(consumer=ALL), resident_id="000000199001010032"), "about the subject asked"),
    "another person, masked": (_pair(_asked(), name="某乙"), "values are the register's"),
    "a record of nobody": (_swapped(_asked(found=False), _asked()), "outcome is the register's"),
    "nobody instead of a record": (_swapped(_asked(), _asked(found=False)), "outcome is the register's"),
    "no record, but fields": (_pair(_asked(found=False), name="某乙"), "no record, no payload"),
    "another interface": (_provenance(interface="national.person.verify"), "provenance names the interface asked"),
    "another provider": (_provenance(provider="national.taxation"), "provenance names the interface asked"),
    "another level": (_provenance(level=pb.LEVEL_CITY), "provenance names the interface asked"),
    "another digest": (_provenance(digest=bytes(32)), "digest is the payload's"),
    "a negative age": (_provenance(source=pb.SOURCE_CACHE, age=Duration(seconds=-1)), "age is coherent"),
    "older than its fetching": (_provenance(source=pb.SOURCE_CACHE, age=Duration(seconds=60)), "age is coherent"),
    "fresh, but aged": (_provenance(age=Duration(seconds=1)), "source is allowed"),
    "from nowhere": (_provenance(source=pb.SOURCE_RECORDS), "source is allowed"),
    "live, from the cache": (_pair(_asked("national.credit.person", ALL), age_s=1), "source is allowed"),
    "live and stale": (_pair(_asked("national.credit.person", ALL), age_s=1, stale=True), "stale only where allowed"),
    "older than allowed": (_pair(_asked(), age_s=3 * 86_400, stale=True), "stale only where allowed"),
    "old, not marked": (_pair(_asked(), age_s=3600 * 2), "stale only where allowed"),
    "marked though fresh": (_pair(_asked(), age_s=60, stale=True), "stale only where allowed"),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_a_good_answer_breaks_nothing(make: Callable[[], tuple[Asked, pb.CallResponse]]) -> None:
    assert broken(*make(), NOW) == {}


@pytest.mark.parametrize(("make", "invariant"), BAD.values(), ids=BAD)
def test_a_broken_answer_is_seen(make: Callable[[], tuple[Asked, pb.CallResponse]], invariant: str) -> None:
    assert invariant in broken(*make(), NOW)


def test_every_invariant_has_a_control_that_breaks_it() -> None:
    assert {invariant for _, invariant in BAD.values()} == INVARIANTS.keys()


def test_no_value_stands_in_what_is_said() -> None:
    said = " ".join(text for make, _ in BAD.values() for text in broken(*make(), NOW).values())
    assert not any(str(value) in said for record in RECORDS.values() for value in record.values() if value)


def test_a_payload_that_is_no_json_is_seen() -> None:
    asked = _asked()
    answer = _answer(asked)
    answer.payload = b"\xff"
    assert broken(asked, answer, NOW)


# --- the mix ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("city") / "city.db"
    build_city(path, seed=7, persons=2_000, companies=400, licences=1_000)
    return path


def test_the_weights_cover_all_interfaces_and_give_the_nation_its_share() -> None:
    weights = interface_weights(0.83)
    assert weights.keys() == QUESTIONS.keys()
    assert sum(weights.values()) == pytest.approx(1)
    assert sum(weight for name, weight in weights.items() if name.startswith("national.")) == pytest.approx(0.83)
    assert min(weights.values()) > 0


def test_consumers_with_different_fields_ask_about_the_same_subjects(city: Path) -> None:
    mix = Mix(city, national_share=0.83, absent_share=0.0)
    masks: dict[tuple[str, str], set[frozenset[str]]] = {}
    for asked in (mix.next() for _ in range(3000)):
        masks.setdefault((asked.question.id, repr(asked.arguments)), set()).add(asked.granted)
    assert sum(len(seen) > 1 for seen in masks.values()) > 20
    assert any(consumer == "notary-office" for consumer, _ in rights_by_interface()["national.person.basic"])


def test_absent_subjects_are_absent_and_all_others_are_there(city: Path) -> None:
    present, absent = Mix(city, 0.83, absent_share=0.0), Mix(city, 0.83, absent_share=1.0)
    assert all(present.next().record for _ in range(300))
    assert not any(absent.next().record for _ in range(300))


def test_the_same_seed_asks_the_same(city: Path) -> None:
    first, second, other = (Mix(city, 0.83, 0.05, seed) for seed in (1, 1, 2))
    questions = [[mix.next() for _ in range(50)] for mix in (first, second, other)]
    assert questions[0] == questions[1] != questions[2]


def test_zipf_draws_every_rank_within_bounds_and_the_first_most() -> None:
    zipf = Zipf(50, random.Random(1))
    drawn = Counter(zipf.rank() for _ in range(20_000))
    assert drawn.keys() == set(range(50))
    assert drawn.most_common(3) == sorted(drawn.items())[:3]


# --- the day ------------------------------------------------------------------------------------------------------------


def test_the_mean_of_office_hours_is_one_and_the_night_is_quiet() -> None:
    office = [
        day.course(hour + minute / 60) for start, end in day.OFFICE_HOURS for hour in range(start, end) for minute in range(60)
    ]
    assert sum(office) / len(office) == pytest.approx(1)
    assert max(office) == pytest.approx(day.PEAK)
    assert all(day.course(hour) < 0.1 for hour in (0, 2, 4, 22, 23.9))
    assert day.course(13) < 0.5, "noon lies between two humps"
    assert min(day.course(10), day.course(16)) > 1


def test_a_compressed_day_calls_as_often_as_a_whole_one() -> None:
    whole, short = day.CompressedDay(86_400, 0.2), day.CompressedDay(40, 0.2)
    assert short.factor == 2160
    assert short.calls == pytest.approx(whole.calls)
    assert short.users(40, 100) is None
    users = [short.users(second, 100) or 0 for second in range(40)]
    assert short.users(40 * 10 / 24, 100) == 100, "all are there at ten"
    assert max(users) <= 100
    assert min(users) >= 1
    assert users.index(max(users)) in range(15, 19), "the morning's peak is at ten"


# --- the verdict --------------------------------------------------------------------------------------------------------


def _tally(wrong: dict[str, str] | None = None) -> Tally:
    tally = Tally()
    for ms in (1.0, 2.0, 3.0):
        tally.answered("national.person.basic", "tax-hall", "NATIONAL", "FOUND", "CACHE", ms)
        tally.judged("national.person.basic", wrong or {}, len(INVARIANTS))
    return tally


RUN = {"seconds": 40.0, "factor": 2160.0, "office_rate": 432.0, "users": 10.0, "client_cpu_ratio": 0.3, "due": 3.0}


def _result(tally: Tally) -> Result:
    written = msgspec.json.encode(tally.result(RUN))
    return msgspec.json.decode(written, type=Result)


def test_a_good_run_has_no_problems_and_being_over_the_rate_is_none() -> None:
    tally = _tally()
    tally.refused_for_rate()
    result = _result(tally)
    assert result.problems() == []
    assert (result.answered, result.over_rate, result.checked) == (3, 1, 3 * len(INVARIANTS))
    assert result.percentiles_ms["CACHE"]["p50"] == result.percentiles_ms["all"]["p50"] == 2.0


def test_one_broken_invariant_spoils_the_run() -> None:
    result = _result(_tally({"digest is the payload's": "it is not"}))
    assert result.problems() == ["3 answers broke an invariant: digest is the payload's"]
    assert result.examples[0] == "national.person.basic: digest is the payload's: it is not"


def test_failures_and_an_idle_run_spoil_it_too() -> None:
    tally = _tally()
    tally.failed("UNAVAILABLE")
    assert "25.00% of the calls failed" in _result(tally).problems()[0]
    assert _result(Tally()).problems() == ["nothing was answered, so nothing was checked"]


@pytest.mark.parametrize(("asked", "spared"), [(1, "2 were spared"), (None, "3 were spared"), (7, "0 were spared")])
def test_what_was_spared_is_told_in_the_words_of_the_field(asked: int | None, spared: str) -> None:
    said = summary.in_the_words_of_the_field(_result(_tally()), asked)
    assert said.startswith("3 data services provided, national interfaces called 3 times")
    assert spared in said


def test_percentiles() -> None:
    assert percentiles([float(ms) for ms in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles([1.0]) == {}


def test_settings_travel_through_the_environment() -> None:
    settings = Settings("127.0.0.1:1", "city.db", "keys", 40.0, 10, "result.json")
    assert Settings.from_environment(settings.to_environment()) == settings


def test_judging_needs_no_locust() -> None:
    """Locust patches the standard library: importing it here would change every test that runs after."""
    assert "loadtests.invariants" in sys.modules
    assert "locust" not in sys.modules
