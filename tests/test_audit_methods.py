"""What is put down of methods that answer from record bases, of those that answer many questions at once, and of many looks.

What must not go in here: calls that a provider or the cache answers (test_audit_calls.py), what AuditService tells
(test_audit_service.py).
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.client import AsyncClient
from broker.v1 import audit_pb2
from broker.v1 import exchange_pb2 as pb
from broker.v1.audit_pb2 import AUDIT_KIND_LOOK, AUDIT_KIND_OUTCOME, AuditRecord
from broker.v1.audit_pb2_grpc import AuditServiceStub
from tests import journal_kit as kit
from tests.support import records
from tests.support.catalogue import PURPOSE
from tests.support.records import BASE, NOBODY, WHO
from tests.support.remembered_answers import streams
from tests.support.running import RunningBroker, eventually

SEARCHED = {"search": {"name": "name", "resident_id": "resident_id", "birth_date": "birth_date", "address": "address"}}
OPERATION = {"operation": {"connector": "records", "base": BASE, "search": True}}
ROWS = (f"{WHO},张伟明,1980-01-01,云鹤市松涛区建设路12号,正常,2099-12-31", *records.ROWS[1:])


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    settings = {"BROKER__AUDIT__MODE": "durable"}
    broker = RunningBroker(tmp_path_factory.mktemp("m"), **settings)
    catalogue = records.catalogue(
        broker.public_key,
        bases=(records.base(**SEARCHED),),
        interfaces=(records.interface(**OPERATION),),
        grants=(records.granted(embargo_class="inquiry"),),
    )
    broker.apply(catalogue)
    records.load(broker, *ROWS)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def client(audited: RunningBroker) -> AsyncIterator[AsyncClient]:
    async with audited.client() as client:
        yield client


def log_of(broker: RunningBroker) -> Path:
    return broker.directory / "data" / "audit"


def told(broker: RunningBroker) -> dict[str, AuditRecord]:
    """All that was put down, by identifier."""
    return {
        f"{folder.name}.{number}": AuditRecord.FromString(record)
        for folder in streams(log_of(broker))
        for number, record in enumerate(kit.records(folder))
    }


def subject(broker: RunningBroker, who: str) -> bytes:
    return hmac.digest((broker.directory / "data" / "audit-subject.key").read_bytes(), b"subject\0" + who.encode(), "sha256")


def compared(who: str = WHO, **asserted: str) -> pb.MatchRequest:
    return pb.MatchRequest(base=BASE, key={"resident_id": who}, asserted=asserted or {"name": "张伟明"}, purpose=PURPOSE)


async def test_front_and_core_put_down_the_same_of_a_record_base(audited: RunningBroker, client: AsyncClient) -> None:
    asked = pb.CallRequest(interface=BASE, arguments={"resident_id": WHO}, purpose=PURPOSE)
    seen: dict[str, AuditRecord] = {}

    async def by_both() -> bool:
        answer = await client.exchange.Call(asked, timeout=5)
        held = told(audited)[answer.audit_id]
        assert held.answer_digest == answer.provenance.digest
        seen[answer.audit_id.partition(".")[0]] = held
        return {"core", "front-0"} <= seen.keys()

    await eventually(by_both)
    for held in seen.values():
        assert (held.outcome, held.source, held.embargo) == ("FOUND", "RECORDS", "inquiry")
        assert held.subject == subject(audited, WHO)
        assert list(held.fields) == sorted(records.FIELDS)
        for name in ("at", "mono_ns", "took_us", "request_id"):
            held.ClearField(name)
    assert seen["core"] == seen["front-0"]


async def test_of_who_is_not_there_no_field_is_named(audited: RunningBroker, client: AsyncClient) -> None:
    answer = await client.exchange.Match(compared(NOBODY), timeout=5)
    held = told(audited)[answer.audit_id]
    assert (held.outcome, list(held.fields), held.subject) == ("NOT_FOUND", [], subject(audited, NOBODY))


async def test_a_search_puts_down_everybody_whom_it_shows(audited: RunningBroker, client: AsyncClient) -> None:
    known = {"resident_id": WHO, "name": "张伟明"}
    answer = await client.exchange.Search(pb.SearchRequest(base=BASE, known=known, purpose=PURPOSE), timeout=10)
    assert answer.candidates
    stream, _, first = answer.audit_id.partition(".")
    held = [told(audited)[f"{stream}.{int(first) + number}"] for number in range(len(answer.candidates))]
    assert {one.method for one in held} == {"broker.v1.ExchangeService/Search"}
    assert {(one.kind, one.outcome, one.source) for one in held} == {(AUDIT_KIND_OUTCOME, "FOUND", "RECORDS")}
    assert len({one.subject for one in held}) == len(held)
    assert held[0].subject == subject(audited, WHO)
    nobody = {"resident_id": NOBODY, "name": "甲乙丙"}
    answer = await client.exchange.Search(pb.SearchRequest(base=BASE, known=nobody, purpose=PURPOSE), timeout=10)
    assert not answer.candidates
    found = told(audited)[answer.audit_id]
    assert (found.outcome, found.subject, list(found.fields)) == ("NOT_FOUND", b"", [])


async def test_of_many_at_once_each_is_put_down_once_and_refusals_too(audited: RunningBroker, client: AsyncClient) -> None:
    before = set(told(audited))
    matches = [compared(), compared(NOBODY), compared(name="别人"), compared("not an id")] * 10
    batch = await client.exchange.BatchMatch(pb.BatchMatchRequest(matches=matches), timeout=20)
    asked = [pb.StreamMatchesRequest(correlation_id=f"{number}", match=match) for number, match in enumerate(matches)]
    streamed = [one.result async for one in client.exchange.StreamMatches(iter(asked), timeout=20)]
    now = {name: record for name, record in told(audited).items() if name not in before}
    for results, method in ((batch.results, "BatchMatch"), (streamed, "StreamMatches")):
        names = [one.response.audit_id for one in results if one.HasField("response")]
        assert len(names) == len(set(names)) == 30
        assert {(now[name].method, now[name].answer_digest) for name in names} <= {
            (f"broker.v1.ExchangeService/{known}", b"") for known in ("Match", method)
        }
    outcomes = Counter(record.outcome for record in now.values())
    assert (outcomes["FOUND"], outcomes["NOT_FOUND"], outcomes.total(), len(outcomes)) == (40, 20, 80, 3)


async def test_many_looks_at_once_are_each_put_down(audited: RunningBroker, client: AsyncClient) -> None:
    answer = await client.exchange.Match(compared(), timeout=5)
    asked = audit_pb2.FindUsageRequest(subject=WHO), audit_pb2.GetRecordRequest(audit_id=answer.audit_id)
    async with grpc.aio.insecure_channel(f"unix:{audited.config.path(audited.config.admin.socket)}") as channel:
        stub: Any = AuditServiceStub(channel)
        before = Counter(one.method for one in told(audited).values() if one.kind == AUDIT_KIND_LOOK)
        looks = [stub.FindUsage(asked[0], timeout=20) for _ in range(20)]
        looks += [stub.GetRecord(asked[1], timeout=20) for _ in range(20)]
        calls = [client.exchange.Match(compared(), timeout=20) for _ in range(40)]
        found = await asyncio.gather(*looks, *calls)
    after = Counter(one.method for one in told(audited).values() if one.kind == AUDIT_KIND_LOOK)
    assert after - before == {"broker.v1.AuditService/FindUsage": 20, "broker.v1.AuditService/GetRecord": 20}
    assert all(one.record.subject == subject(audited, WHO) for one in found[20:40])
    assert len({one.audit_id for one in found[40:]}) == 40
    for folder in streams(log_of(audited)):
        assert kit.fault(folder) is None
