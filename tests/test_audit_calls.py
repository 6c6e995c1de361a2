"""What is put down of calls: by the core before it asks and answers, by a front before it answers; the same words by both.

What must not go in here: how records are written (test_audit_streams.py), and what proves that they are whole.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.client import AsyncClient, NotGranted
from broker.v1 import exchange_pb2 as pb
from broker.v1.audit_pb2 import AUDIT_KIND_INTENT, AUDIT_KIND_OUTCOME, AuditRecord
from tests import journal_kit as kit
from tests.conftest import register
from tests.support.answered import counts, grown
from tests.support.calling import NOBODY, WHO, ask, put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, grant
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually

__all__ = ["register"]  # a fixture, for those who run without conftest.py
DURABLE = {"BROKER__AUDIT__MODE": "durable"}
SAID = {"operator": "op-7", "case_id": "case-9"}
FULL_WIDTH = {ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}
TIMES = ("at", "mono_ns", "took_us", "provider_us", "intent", "audit_id")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    broker = RunningBroker(tmp_path_factory.mktemp("a"), **DURABLE)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def client(audited: RunningBroker, register: Register) -> AsyncIterator[AsyncClient]:
    register.add(WHO, "张三")
    await put(audited, register, grants=(grant(id="audited", embargo_class="inquiry"),))
    async with audited.client() as client:
        yield client


def log_of(broker: RunningBroker) -> Path:
    return broker.directory / "data" / "audit"


def held(broker: RunningBroker, audit_id: str) -> AuditRecord:
    """The record of that name; it is on the disk by the time that its name is told."""
    stream, _, sequence = audit_id.rpartition(".")
    return AuditRecord.FromString(kit.records(log_of(broker) / stream)[int(sequence)])


def last(broker: RunningBroker, stream: str = "core") -> AuditRecord:
    return AuditRecord.FromString(kit.records(log_of(broker) / stream)[-1])


async def call(client: AsyncClient, who: str = WHO, **changes: Any) -> pb.CallResponse:
    asked = {"interface": INTERFACE, "arguments": {"resident_id": who}, "purpose": PURPOSE, **SAID, **changes}
    return await client.exchange.Call(
        pb.CallRequest(**asked), timeout=5, metadata=(("device-id", "d-3"), ("request-id", "r-1"))
    )


async def natively(broker: RunningBroker, client: AsyncClient) -> pb.CallResponse:
    """An answer of the front's own."""
    answer: list[pb.CallResponse] = []

    async def answered() -> bool:
        before = counts(broker)
        answer[:] = [await call(client)]
        return grown(broker, before).get(("natively",)) == 1

    await eventually(answered)
    return answer[0]


def digest(broker: RunningBroker, purpose: bytes, value: bytes) -> bytes:
    return hmac.digest((broker.directory / "data" / "audit-subject.key").read_bytes(), purpose + b"\0" + value, "sha256")


async def test_what_is_asked_of_a_provider_is_put_down_before_and_after(audited: RunningBroker, client: AsyncClient) -> None:
    answer = await call(client)
    outcome = held(audited, answer.audit_id)
    intent = held(audited, outcome.intent)
    assert (intent.kind, outcome.kind) == (AUDIT_KIND_INTENT, AUDIT_KIND_OUTCOME)
    assert intent.mono_ns < outcome.mono_ns
    assert (outcome.outcome, outcome.source, outcome.answer_digest) == ("FOUND", "UPSTREAM", answer.provenance.digest)
    assert outcome.subject == intent.subject == digest(audited, b"subject", WHO.encode())
    assert (outcome.consumer, outcome.grant, outcome.embargo) == (CONSUMER, "audited", "inquiry")
    assert list(outcome.fields) == ["birth_date", "name", "status"]
    assert 0 < outcome.provider_us < outcome.took_us
    assert not intent.outcome


async def test_front_and_core_put_the_same_down_of_the_same_call(audited: RunningBroker, client: AsyncClient) -> None:
    own = held(audited, (await natively(audited, client)).audit_id)
    answer = await call(client, WHO.translate(FULL_WIDTH))  # which a front leaves to the core
    assert answer.audit_id.startswith("core.")
    relayed = held(audited, answer.audit_id)
    assert (own.source, own.device, own.request_id, own.operator) == ("CACHE", "d-3", "r-1", "op-7")
    for record in (own, relayed):
        for name in TIMES:
            record.ClearField(name)
    assert own == relayed


async def test_no_record_a_refusal_and_a_failure_are_put_down_too(
    audited: RunningBroker, client: AsyncClient, register: Register
) -> None:
    nothing = held(audited, (await call(client, NOBODY)).audit_id)
    assert (nothing.outcome, list(nothing.fields)) == ("NOT_FOUND", [])
    with pytest.raises(NotGranted):
        await ask(client, purpose="another")
    refused = last(audited)
    assert (refused.outcome, refused.code, refused.consumer) == ("GRANT_MISSING", "PERMISSION_DENIED", CONSUMER)
    assert (refused.purpose, refused.grant, refused.subject) == ("another", "", b"")


async def test_a_comparison_names_what_was_asserted_and_no_digest_of_the_record(
    audited: RunningBroker, client: AsyncClient
) -> None:
    asked = pb.MatchRequest(interface=INTERFACE, key={"resident_id": WHO}, asserted={"name": "张三"}, purpose=PURPOSE)
    answers = [await client.exchange.Match(asked, timeout=5) for _ in range(3)]
    for answer in answers:
        record = held(audited, answer.audit_id)
        assert (record.outcome, list(record.fields), record.answer_digest) == ("FOUND", ["name"], b"")
        assert record.method == "broker.v1.ExchangeService/Match"


async def test_nothing_that_was_asked_or_answered_stands_in_the_log(audited: RunningBroker, client: AsyncClient) -> None:
    await natively(audited, client)
    written = b"".join(path.read_bytes() for path in log_of(audited).rglob("*") if path.is_file())
    assert CONSUMER.encode() in written
    assert WHO.encode() not in written
    assert "张三".encode() not in written


async def test_a_log_of_calls_is_verified_by_who_knows_nothing_of_us(audited: RunningBroker, client: AsyncClient) -> None:
    await natively(audited, client)
    for stream in ("core", "front-0"):
        assert kit.fault(log_of(audited) / stream) is None


async def test_many_at_once_are_put_down_once_each(audited: RunningBroker, client: AsyncClient) -> None:
    await natively(audited, client)
    answers = await asyncio.gather(*(call(client) for _ in range(300)))
    names = [answer.audit_id for answer in answers]
    assert len(set(names)) == 300
    assert all(held(audited, name).outcome == "FOUND" for name in names[::50])
