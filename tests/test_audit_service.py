"""`AuditService`: who read the data of somebody, and proof of it; who may ask that, and that asking is put down too.

What must not go in here: the index and proofs themselves (test_audit_usage.py, test_audit_proofs.py).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import pytest

from broker.audit.notes import Keys, Verifier
from broker.audit.proofs import Proof
from broker.client import AsyncClient, TokenSource
from broker.v1 import audit_pb2 as pb
from broker.v1.audit_pb2_grpc import AuditServiceStub
from broker.v1.exchange_pb2 import CallRequest
from tests import journal_kit as kit
from tests.support.calling import NOBODY, WHO, ask, put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, consumer, grant
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually

AUDITOR = "audit-office"
QUESTION = CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE)
FULL_WIDTH = {ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    settings = {"BROKER__AUDIT__MODE": "durable"}
    broker = RunningBroker(tmp_path_factory.mktemp("s"), f'[audit]\nauditors = ["{AUDITOR}"]\n', **settings)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def client(audited: RunningBroker, register: Register) -> AsyncIterator[AsyncClient]:
    register.add(WHO, "张三")
    withheld = grant(id="withheld", purposes=["inquiry"], embargo_class="inquiry")
    consumers = consumer(audited.public_key), consumer(audited.public_key, id=AUDITOR)
    await put(audited, register, grants=(grant(id="plain"), withheld), consumers=consumers)
    async with audited.client() as client:
        yield client


@asynccontextmanager
async def operators(broker: RunningBroker) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"unix:{broker.config.path(broker.config.admin.socket)}") as channel:
        yield AuditServiceStub(channel)


def asked(purpose: str) -> dict[str, Any]:
    return {"interface": INTERFACE, "arguments": {"resident_id": WHO}, "purpose": purpose}


def token(broker: RunningBroker, consumer: str = CONSUMER) -> str:
    return TokenSource(consumer, broker.key_file)()


async def usage(broker: RunningBroker, **asked: Any) -> pb.FindUsageResponse:
    async with operators(broker) as stub:
        return await stub.FindUsage(pb.FindUsageRequest(**{"subject": WHO, **asked}), timeout=5)


async def test_who_read_somebodys_data_is_told_newest_first_and_without_what_is_withheld(
    audited: RunningBroker, client: AsyncClient
) -> None:
    before = (await usage(audited)).total_size
    for purpose in (PURPOSE, "inquiry", PURPOSE):
        await ask(client, purpose=purpose, operator="op-1")

    async def told() -> bool:
        return (await usage(audited)).total_size == before + 2

    await eventually(told)
    found = await usage(audited, subject=WHO.translate(FULL_WIDTH), page_size=1)
    (newest,) = found.records
    assert (newest.consumer, newest.operator, newest.purpose, newest.outcome) == (CONSUMER, "op-1", PURPOSE, "FOUND")
    assert list(newest.fields) == ["birth_date", "name", "status"]
    older = (await usage(audited, page_size=1, page_token=found.next_page_token)).records[0]
    assert older.at.ToNanoseconds() < newest.at.ToNanoseconds()
    assert (await usage(audited, subject=NOBODY)).total_size == 0


async def test_a_record_is_proved_to_who_has_nothing_but_the_public_key(audited: RunningBroker, client: AsyncClient) -> None:
    answer = await client.exchange.Call(QUESTION, timeout=5)
    log = audited.directory / "data" / "audit"
    async with operators(audited) as stub:

        async def proved() -> bool:
            try:
                await stub.GetInclusionProof(pb.GetInclusionProofRequest(audit_id=answer.audit_id), timeout=5)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.NOT_FOUND
                return False
            return True

        await eventually(proved)
        told = await stub.GetInclusionProof(pb.GetInclusionProofRequest(audit_id=answer.audit_id), timeout=5)
        record = await stub.GetRecord(pb.GetRecordRequest(audit_id=answer.audit_id), timeout=5)
        signed = await stub.GetCheckpoint(pb.GetCheckpointRequest(), timeout=5)
    keys = Keys([Verifier.parse((log / "checkpoint.vkey").read_text().strip())])
    assert pb.AuditRecord.FromString(Proof.from_message(told).check(keys)).consumer == CONSUMER == record.record.consumer
    assert "shared-data-broker/audit" in keys.open(signed.checkpoint)


async def test_a_record_under_an_embargo_is_shown_to_operators_and_not_to_auditors(
    audited: RunningBroker, client: AsyncClient
) -> None:
    hidden = (await client.exchange.Call(CallRequest(**asked("inquiry")), timeout=5)).audit_id
    shown = (await client.exchange.Call(CallRequest(**asked(PURPOSE)), timeout=5)).audit_id
    async with operators(audited) as stub, audited.client(AUDITOR) as auditor:
        reads: Any = AuditServiceStub(auditor._channel)

        async def proved() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.GetInclusionProof(pb.GetInclusionProofRequest(audit_id=hidden), timeout=5)
                return bool(await reads.GetInclusionProof(pb.GetInclusionProofRequest(audit_id=shown), timeout=5))
            return False

        await eventually(proved)
        told = (await stub.GetRecord(pb.GetRecordRequest(audit_id=hidden), timeout=5)).record
        assert (told.embargo, told.consumer) == ("inquiry", CONSUMER)
        assert (await reads.GetRecord(pb.GetRecordRequest(audit_id=shown), timeout=5)).record.purpose == PURPOSE
        texts = []
        for audit_id in hidden, "core.999999999":
            for ask_for in (
                reads.GetRecord(pb.GetRecordRequest(audit_id=audit_id), timeout=5),
                reads.GetInclusionProof(pb.GetInclusionProofRequest(audit_id=audit_id), timeout=5),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await ask_for
                assert refused.value.code() is grpc.StatusCode.NOT_FOUND
                texts.append(refused.value.details())
        assert texts[:2] == texts[2:], "nobody is told that there is something to be withheld"


async def test_who_read_somebodys_data_in_the_shape_of_the_estonian_tracker(
    audited: RunningBroker, client: AsyncClient
) -> None:
    began = dt.datetime.now(dt.UTC)
    for purpose in (PURPOSE, "inquiry", PURPOSE):
        await ask(client, purpose=purpose)
    url, since = f"http://{audited.admin}/aj/v2", began.isoformat()
    auditor = {"Authorization": f"Bearer {token(audited, AUDITOR)}", "X-Road-UserId": WHO, "request-id": "x-1"}
    async with aiohttp.ClientSession(headers=auditor) as session:

        async def find(status: int = 200, **wanted: Any) -> Any:
            async with session.post(f"{url}/findUsage", json={"userCode": WHO, "periodStart": since} | wanted) as answer:
                assert (answer.status, answer.headers["cache-control"]) == (status, "no-store")
                return await answer.json()

        async def told() -> bool:
            return bool((await find())["totalUsages"] == 2)

        await eventually(told)
        both = (await find())["usages"]
        assert [one["outcome"] for one in both] == ["FOUND", "FOUND"]
        assert both[0]["logtime"] > both[1]["logtime"] > since
        mine = {
            "action": f"人口基本信息, {PURPOSE}",
            "receiverCode": CONSUMER,
            "receiverName": "办税大厅",
            "receiverSystem": "办税大厅",
        }
        assert both[0].items() >= mine.items()
        assert (await find(offset=1, limit=1))["usages"] == both[1:]
        assert await find(offset=2) == {"totalUsages": 2, "usages": []}
        assert (await find(periodEnd=since))["totalUsages"] == 0
        for wrong in {"userCode": "\a"}, {"limit": 0}, {"limit": 1001}, {"offset": -1}, {"periodStart": "soon"}:
            assert WHO not in (await find(400, **wrong))["message"]
        async with session.get(f"{url}/usagePeriod") as period, session.get(f"{url}/heartbeat") as beat:
            assert (await period.json())["periodStart"] <= since
            assert await beat.json() == {"status": "OK"}
        async with session.get(f"{url}/findUsage", params={"userCode": "x"}) as get:
            assert get.status == 405
    for shown, status in (
        ({}, 401),
        ({"Authorization": "Bearer \u00e4"}, 401),
        ({"Authorization": f"Bearer {token(audited)}"}, 403),
    ):
        async with aiohttp.request("POST", f"{url}/findUsage", json={"userCode": WHO}, headers=shown) as answer:
            assert answer.status == status
    records = kit.records(audited.directory / "data" / "audit" / "core")
    looks = [look for look in map(pb.AuditRecord.FromString, records) if look.method == "aj/v2/findUsage"]
    let, refused = [look for look in looks if not look.outcome], [look for look in looks if look.outcome]
    assert {(look.kind, look.consumer, look.request_id) for look in let} == {(pb.AUDIT_KIND_LOOK, AUDITOR, "x-1")}
    assert all(look.subject for look in let)
    assert {(look.kind, look.subject) for look in refused} == {(pb.AUDIT_KIND_LOOK, b"")}
    assert [look.outcome for look in refused[-3:]] == ["TOKEN_REFUSED", "TOKEN_REFUSED", "NOT_ALLOWED"]
    assert WHO.encode() not in b"".join(records)


async def test_looking_is_put_down_and_only_auditors_may(audited: RunningBroker, client: AsyncClient) -> None:
    await usage(audited)
    looks = [pb.AuditRecord.FromString(one) for one in kit.records(audited.directory / "data" / "audit" / "core")]
    assert [(look.consumer, look.method) for look in looks if look.kind == pb.AUDIT_KIND_LOOK][-1] == (
        "operator",
        "broker.v1.AuditService/FindUsage",
    )
    stub: Any = AuditServiceStub(client._channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.FindUsage(pb.FindUsageRequest(subject=WHO), timeout=5)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
