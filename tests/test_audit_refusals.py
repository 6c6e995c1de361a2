"""What is refused before it becomes a call, a look or a change is put down too; of callers that nobody knows not without end.

What must not go in here: calls that are refused on their path (test_audit_calls.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from broker.audit.accesses import Accesses
from broker.audit.strangers import Strangers
from broker.audit.streams import Writing, open_stream
from broker.audit.subject import SubjectKey
from broker.client import AsyncClient
from broker.errors import NotGranted, Unauthenticated
from broker.model.access import Access
from broker.model.call import Request
from broker.v1 import audit_pb2 as audit
from broker.v1 import exchange_pb2 as pb
from broker.v1 import grants_pb2
from broker.v1.audit_pb2 import AUDIT_KIND_CHANGE, AUDIT_KIND_LOOK, AUDIT_KIND_OUTCOME, AUDIT_KIND_TOLD, AuditRecord
from broker.v1.audit_pb2_grpc import AuditServiceStub
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from broker.v1.grants_pb2_grpc import GrantServiceStub
from tests import journal_kit as kit
from tests.support.calling import WHO, put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually

DURABLE = {"BROKER__AUDIT__MODE": "durable"}
ASKED = {"interface": INTERFACE, "arguments": {"resident_id": WHO}, "purpose": PURPOSE}
EXCHANGE, AUDIT, GRANTS = (f"broker.v1.{name}Service/" for name in ("Exchange", "Audit", "Grant"))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    broker = RunningBroker(tmp_path_factory.mktemp("r"), **DURABLE)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def client(audited: RunningBroker, register: Register) -> AsyncIterator[AsyncClient]:
    register.add(WHO, "张三")
    await put(audited, register)
    async with audited.client() as client:
        yield client


@asynccontextmanager
async def stranger(broker: RunningBroker) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(broker.target) as channel:
        yield channel


def records(broker: RunningBroker) -> list[AuditRecord]:
    return [AuditRecord.FromString(one) for one in kit.records(broker.directory / "data/audit/core")]


async def refused(broker: RunningBroker, call: Callable[[], Any]) -> tuple[str, AuditRecord]:
    """The code that a call is refused with, and the one record of it."""
    before = len(records(broker))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call()
    (record,) = (one for one in records(broker)[before:] if one.code)
    return refusal.value.code().name, record


async def _match_many(client: AsyncClient, count: int) -> Any:
    return await client.exchange.BatchMatch(pb.BatchMatchRequest(matches=[pb.MatchRequest()] * count), timeout=5)


WRONG: list[tuple[str, Callable[[AsyncClient], Any]]] = [
    (
        "Call",
        lambda client: client.exchange.Call(pb.CallRequest(**ASKED, operator="a"), timeout=5, metadata=(("operator-id", "b"),)),
    ),
    ("Call", lambda client: client.exchange.Call(pb.CallRequest(**ASKED, encoding=9), timeout=5)),  # type: ignore[arg-type]
    ("Call", lambda client: client.exchange.Call(pb.CallRequest(**ASKED, max_age=Duration(seconds=-1)), timeout=5)),
    ("Match", lambda client: client.exchange.Match(pb.MatchRequest(purpose=PURPOSE), timeout=5)),
    ("BatchMatch", lambda client: _match_many(client, 1001)),
    ("Search", lambda client: client.exchange.Search(pb.SearchRequest(purpose=PURPOSE), timeout=5)),
    ("Call", lambda client: client._channel.unary_unary(f"/{EXCHANGE}Call")(b"\xff\xff", timeout=5)),
]


@pytest.mark.parametrize("which", range(len(WRONG)))
async def test_what_is_refused_before_its_path_begins(audited: RunningBroker, client: AsyncClient, which: int) -> None:
    method, call = WRONG[which]
    code, record = await refused(audited, lambda: call(client))
    assert code == record.code == "INVALID_ARGUMENT"
    assert (record.kind, record.outcome, record.consumer) == (AUDIT_KIND_OUTCOME, "INVALID_REQUEST", CONSUMER)
    assert record.method == f"{EXCHANGE}{method}"
    assert record.interface in ("", INTERFACE)
    assert not record.subject


async def test_each_of_many_that_is_refused_is_put_down(audited: RunningBroker, client: AsyncClient) -> None:
    before = len(records(audited))
    found = await _match_many(client, 3)
    assert [one.failure.reason for one in found.results] == ["INVALID_REQUEST"] * 3
    assert [(one.outcome, one.consumer) for one in records(audited)[before:] if one.code] == [("INVALID_REQUEST", CONSUMER)] * 3


async def test_refused_looks_and_changes(audited: RunningBroker, client: AsyncClient) -> None:
    look: Any = AuditServiceStub(client._channel)
    code, record = await refused(audited, lambda: look.FindUsage(audit.FindUsageRequest(subject=WHO), timeout=5))
    assert (code, record.kind, record.consumer) == ("PERMISSION_DENIED", AUDIT_KIND_LOOK, CONSUMER)
    assert (record.method, record.outcome, record.subject) == (f"{AUDIT}FindUsage", "NOT_ALLOWED", b"")
    grants: Any = GrantServiceStub(client._channel)
    step = {"actor": "王", "reason": "因故"}
    code, record = await refused(audited, lambda: grants.RevokeGrant(grants_pb2.RevokeGrantRequest(id="g0", **step), timeout=5))
    assert (code, record.kind, record.target) == ("NOT_FOUND", AUDIT_KIND_CHANGE, "grant/g0")
    assert (record.consumer, record.method) == (CONSUMER, f"{GRANTS}RevokeGrant")
    _, record = await refused(
        audited, lambda: grants.ApproveGrant(grants_pb2.ApproveGrantRequest(id="张三", **step), timeout=5)
    )
    assert record.target == "grant", "what could be no identifier may be anything"


async def test_nothing_of_what_was_looked_for_is_put_down_as_it_is(audited: RunningBroker, client: AsyncClient) -> None:
    path = audited.config.path(audited.config.admin.socket)
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        look: Any = AuditServiceStub(channel)
        for wrong in (WHO, f"core.{WHO}x", "core.99999999"):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await look.GetRecord(audit.GetRecordRequest(audit_id=wrong), timeout=5)
            assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError):
            await look.FindUsage(audit.FindUsageRequest(subject=f"{WHO}/x", page_token=WHO), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError):
            await look.FindUsage(audit.FindUsageRequest(subject=WHO, page_token=WHO), timeout=5)
    assert {"core.99999999", ""} <= {one.target for one in records(audited) if one.kind == AUDIT_KIND_LOOK}
    written = b"".join(file.read_bytes() for file in (audited.directory / "data/audit").rglob("*") if file.is_file())
    assert WHO.encode() not in written + audited.log_file.read_bytes()


async def test_a_request_is_not_refused_for_what_it_is_called(audited: RunningBroker, client: AsyncClient) -> None:
    """By a front and by the core alike: the first of several, and of a long one so much as is kept."""
    for said, kept in ((["r-1", "r-2"], "r-1"), (["x" * 300], "x" * 128), (["", "r-2"], "")):
        metadata = tuple(("request-id", one) for one in said)
        streams = set()

        async def both(metadata: Any = metadata, kept: str = kept, streams: set[str] = streams) -> bool:
            full = WHO.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})
            for who in (WHO, full):  # the second is for the core
                asked = ASKED | {"arguments": {"resident_id": who}}
                answer = await client.exchange.Call(pb.CallRequest(**asked), timeout=5, metadata=metadata)  # type: ignore[arg-type]
                stream, _, sequence = answer.audit_id.rpartition(".")
                held = kit.records(audited.directory / "data/audit" / stream)[int(sequence)]
                assert AuditRecord.FromString(held).request_id == kept
                streams.add(stream)
            return streams == {"core", "front-0"}

        await eventually(both)


async def test_a_flood_of_unknown_callers_is_counted(audited: RunningBroker, client: AsyncClient) -> None:
    before = len(records(audited))
    async with stranger(audited) as channel:
        exchange, look = ExchangeServiceStub(channel), AuditServiceStub(channel)

        async def knock(number: int) -> None:
            call: Any = exchange.Call(pb.CallRequest(**ASKED)) if number % 2 else look.FindUsage(audit.FindUsageRequest())
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await call
            assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED

        began = time.monotonic()
        await asyncio.gather(*(knock(number) for number in range(600)))
        took = time.monotonic() - began

    def told() -> tuple[int, int]:
        found = [one for one in records(audited)[before:] if one.outcome == "TOKEN_REFUSED"]
        counted = [one for one in found if one.kind == AUDIT_KIND_TOLD]
        assert all(one.target == "unknown-callers" and not one.consumer for one in counted)
        return len(found) - len(counted), sum(one.count for one in counted)

    async def all_told() -> bool:
        return sum(told()) == 600

    await eventually(all_told)
    assert told()[0] <= 100 + 10 * took + 1


def test_so_many_at_once_and_so_many_a_second() -> None:
    strangers = Strangers(per_second=10, burst=3)
    assert [strangers.admits("A", 50.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert [strangers.admits("B", 50.1), strangers.admits("B", 50.1)] == [True, False]
    assert strangers.counted() == {"A": 2, "B": 1}
    strangers.told("A", 2)
    assert strangers.counted() == {"B": 1}
    assert sum(strangers.admits("A", 1000.0) for _ in range(9)) == 3, "what is not used does not add up"


async def test_one_who_is_known_does_not_fill_the_disk_by_being_refused(tmp_path: Path) -> None:
    stream = open_stream(tmp_path, "core", SubjectKey(b"k" * 32), Writing(step_bytes=1 << 12, linger_us=0))
    async with stream:
        accesses = Accesses(stream, SubjectKey(b"k" * 32), "buffered")
        for _ in range(1500):
            await accesses.refused(NotGranted(), consumer="known", kind=AUDIT_KIND_OUTCOME)
        await accesses.refused(NotGranted(), consumer="another", kind=AUDIT_KIND_OUTCOME)
        await accesses.refused(Unauthenticated(), interface="x" * 1000, kind=AUDIT_KIND_OUTCOME)
        accesses.tell_counted()
    found = [AuditRecord.FromString(one) for one in kit.records(tmp_path / "core")]
    alone = sum(one.consumer == "known" and not one.count for one in found)
    assert 1000 <= alone < 1500
    assert [one.count for one in found if one.consumer == "known" and one.count] == [1500 - alone]
    assert sum(one.consumer == "another" for one in found) == 1
    assert [len(one.interface) for one in found if one.interface] == [64]


async def test_who_is_known_is_put_down_and_counts_outlive_the_process(tmp_path: Path) -> None:
    stream = open_stream(tmp_path, "core", SubjectKey(b"k" * 32), Writing(step_bytes=1 << 12, linger_us=0))
    async with stream:
        accesses = Accesses(stream, SubjectKey(b"k" * 32))
        for _ in range(150):
            await accesses.failed(
                Access(request=Request(interface="x", arguments={}, purpose="p"), began_ns=0), Unauthenticated()
            )
            await accesses.refused(NotGranted(), consumer="known", kind=AUDIT_KIND_OUTCOME)
        accesses.tell_counted()
    found = [AuditRecord.FromString(one) for one in kit.records(tmp_path / "core")]
    assert sum(one.consumer == "known" for one in found) == 150
    alone = sum(one.outcome == "TOKEN_REFUSED" and one.kind == AUDIT_KIND_OUTCOME for one in found)
    assert 100 <= alone < 150
    assert [one.count for one in found if one.outcome == "TOKEN_REFUSED" and one.count] == [150 - alone]
