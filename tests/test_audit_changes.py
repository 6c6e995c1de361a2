"""Changes are put down before they are in force: the catalogue, grants, settings, keys, what operators do.

A log that cannot be written keeps no revocation from anybody, and lets nothing come into force that nobody wrote down. What
must not go in here: what is refused (test_audit_refusals.py), and what the control plane decides.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import os
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.audit.changes import FILE, Ledger, Thing
from broker.audit.streams import Stream, Writing, open_stream
from broker.audit.subject import SubjectKey
from broker.client import AsyncClient, CallFailed
from broker.errors import AuditUnavailable
from broker.model.change import Change
from broker.policy import workflow
from broker.policy.database import Database
from broker.policy.store import ControlPlane
from broker.policy.workflow import Decision, Verb
from broker.v1 import admin_pb2
from broker.v1.admin_pb2_grpc import AdminServiceStub
from broker.v1.audit_pb2 import AUDIT_KIND_CHANGE, AuditRecord
from tests import journal_kit as kit
from tests.grant_kit import Plane
from tests.support.calling import WHO, ask, put
from tests.support.catalogue import CONSUMER, INTERFACE, grant
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually, wait_until

DURABLE = {"BROKER__AUDIT__MODE": "durable"}
TERMS = ("--consumer", CONSUMER, "--interface", INTERFACE, "--purpose", "loan-check", "--field", "name")
WHY = "由于某人的原因"


def changes_in(folder: Path) -> list[AuditRecord]:
    found = (AuditRecord.FromString(one) for one in kit.records(folder))
    return [record for record in found if record.kind == AUDIT_KIND_CHANGE]


# --- in a broker that runs ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    broker = RunningBroker(tmp_path_factory.mktemp("c"), **DURABLE)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def client(audited: RunningBroker, register: Register) -> AsyncIterator[AsyncClient]:
    register.add(WHO, "张三")
    await put(audited, register, grants=(grant(id="declared"),))
    async with audited.client() as client:
        yield client


@asynccontextmanager
async def operators(broker: RunningBroker) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"unix:{broker.config.path(broker.config.admin.socket)}") as channel:
        yield AdminServiceStub(channel)


def changes(broker: RunningBroker) -> list[AuditRecord]:
    return changes_in(broker.directory / "data/audit/core")


def kept(broker: RunningBroker) -> list[Change]:
    """What the control plane says was changed."""
    control = ControlPlane(Database(f"sqlite:///{broker.directory}/data/control.db"))
    try:
        return control.told(0, 1 << 20)
    finally:
        control.close()


def of_rows(records: Sequence[AuditRecord]) -> list[tuple[int, int, str, str]]:
    return [(one.change, one.grant_version, one.target, one.outcome) for one in records if one.change]


async def test_what_is_in_force_was_put_down_before(audited: RunningBroker, client: AsyncClient) -> None:
    assert await ask(client)
    found = changes(audited)
    assert of_rows(found) == [(one.number, one.revision, one.target, one.outcome) for one in kept(audited)]
    by_target = {one.target: one for one in found}
    for target in (f"consumer/{CONSUMER}", f"interface/{INTERFACE}@1", "grant/declared", "provider/national.police"):
        assert by_target[target].consumer == "operator"
    async with operators(audited) as stub:
        status = await stub.GetStatus(admin_pb2.GetStatusRequest())
    snapshot = by_target["snapshot"]
    assert (snapshot.outcome, snapshot.snapshot_version) == ("IN_FORCE", status.snapshot_version)
    assert snapshot.answer_digest == status.snapshot_digest
    rows = [one for one in found if one.change and one.grant_version == status.snapshot_version]
    assert rows
    assert max(found.index(one) for one in rows) < found.index(snapshot), "the snapshot after all that is in it"


async def test_the_life_of_a_grant_is_put_down_without_what_was_said_of_it(audited: RunningBroker, client: AsyncClient) -> None:
    since = changes(audited)[-1].change
    asked = audited.run_here("grant", "request", *TERMS, "--until", "2090-01-01", "--actor", "李", "--json").stdout
    name = asked.split('"id":', 1)[1].split('"')[1]
    for verb in ("approve", "revoke"):
        assert audited.run_here("grant", verb, name, "--reason", WHY, "--actor", "王").returncode == 0

    def life() -> list[tuple[str, str, str, str]]:
        found = (one for one in changes(audited) if one.target == f"grant/{name}" and one.change > since)
        return [(one.outcome, one.consumer, one.operator, one.method) for one in found]

    wait_until(lambda: len(life()) == 3)
    assert life() == [
        ("REQUESTED", "operator", "李", "broker grant request"),
        ("APPROVED", "operator", "王", "broker grant approve"),
        ("REVOKED", "operator", "王", "broker grant revoke"),
    ]
    written = b"".join(file.read_bytes() for file in (audited.directory / "data/audit").rglob("*") if file.is_file())
    assert WHY.encode() not in written


async def test_what_operators_do_is_put_down(audited: RunningBroker, client: AsyncClient) -> None:
    await audited.purge(subject=WHO)
    await audited.purge(interface=INTERFACE)
    await audited.purge(provider=WHO)
    done = [(one.consumer, one.method.rpartition("/")[2], one.target) for one in changes(audited)[-3:]]
    assert done == [
        ("operator", "Purge", "cache/subject"),
        ("operator", "Purge", f"cache/interface/{INTERFACE}"),
        ("operator", "Purge", "cache/provider"),
    ]


@contextmanager
def unwritable(pid: int) -> Iterator[None]:
    """A disk that takes nothing more from one process."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def decide(broker: RunningBroker, verb: Verb, name: str) -> None:
    """As a command does, beside the broker."""
    database = Database(f"sqlite:///{broker.directory}/data/control.db")
    decision = Decision(verb, "operator/王", method="a test")
    workflow.act(database, name, decision, lambda _: None, dt.datetime.now(dt.UTC))
    database.close()


async def told(client: AsyncClient, **changes: Any) -> str:
    """The source of an answer, or why there is none."""
    try:
        return str((await ask(client, **changes)).provenance.source)
    except CallFailed as error:
        return error.reason


async def test_a_broken_log_keeps_a_revocation_from_nobody_and_gives_nothing(
    audited: RunningBroker, client: AsyncClient, register: Register
) -> None:
    """The front can still write its own stream, and would go on with what is cached."""
    await put(audited, register, grants=(grant(id="held"), grant(id="other", purposes=["loan-check"])))
    decide(audited, Verb.PAUSE, "other")

    async def cached() -> bool:
        return await told(client) == "CACHE" and kit.records(audited.directory / "data/audit/front-0") != []

    await eventually(cached)
    with unwritable(audited.core_pid()):
        decide(audited, Verb.REVOKE, "held")
        decide(audited, Verb.APPROVE, "other")

        async def refused() -> bool:
            return await told(client) == "AUDIT_UNAVAILABLE"

        await eventually(refused)
        asked = [told(client, **asking) for asking in ({}, {"purpose": "loan-check"}) for _ in range(20)]
        assert set(await asyncio.gather(*asked)) == {"AUDIT_UNAVAILABLE"}, "of what was taken and of what was given, nothing"
        assert not any(one.outcome == "REVOKED" and one.target == "grant/held" for one in changes(audited))

    async def back() -> bool:
        return (await told(client), await told(client, purpose="loan-check")) == ("GRANT_MISSING", "CACHE")

    await eventually(back)
    found = changes(audited)
    assert of_rows(found) == [(one.number, one.revision, one.target, one.outcome) for one in kept(audited)]
    assert found[-1].target == "snapshot"


async def test_a_core_that_is_killed_forgets_no_change(audited: RunningBroker, client: AsyncClient, register: Register) -> None:
    for number in range(20):
        decide(audited, Verb.PAUSE, "declared")
        decide(audited, Verb.APPROVE, "declared")
        if number == 10:
            os.kill(audited.core_pid(), signal.SIGKILL)
    audited.wait_ready()
    await put(audited, register, grants=(grant(id="declared"), grant(id="last")))
    found = changes(audited)
    assert sorted(set(of_rows(found))) == [(one.number, one.revision, one.target, one.outcome) for one in kept(audited)]
    started = [one for one in found if one.target in ("configuration", "key/audit-subjects", "key/checkpoints", "software")]
    assert len({one.target for one in started}) == len(started) == 4, "the same settings and keys are put down once"
    key = (audited.directory / "data/audit-subject.key").read_bytes()
    assert {one.target: one.answer_digest for one in started}["key/audit-subjects"] == hashlib.sha256(key).digest()[:16]
    assert kit.fault(audited.directory / "data/audit/core") is None


# --- the ledger alone ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def ledger(directory: Path) -> AsyncIterator[tuple[Ledger, Stream]]:
    small = Writing(segment_bytes=1 << 20, step_bytes=1 << 12, linger_us=0, retry_ms=5)
    async with open_stream(directory, "core", SubjectKey(b"k" * 32), small) as stream:
        yield Ledger(stream, directory), stream


@asynccontextmanager
async def unwritable_stream(stream: Stream, directory: Path) -> AsyncIterator[None]:
    """A stream that has to begin a segment and cannot: something else is in the way of its name."""
    in_the_way = directory / "core" / f"{stream.facts()['segment'] + 1:020}.audit.new"
    in_the_way.mkdir()
    stream.rotate()
    await eventually(_is(stream, is_open=False))
    yield
    in_the_way.rmdir()
    await eventually(_is(stream, is_open=True))


def _is(stream: Stream, *, is_open: bool) -> Callable[[], Awaitable[bool]]:
    async def seen() -> bool:
        return stream.is_open is is_open

    return seen


class Rows:
    """A control plane's changes."""

    def __init__(self, count: int, at: str = "2026-11-01T00:00:00") -> None:
        self.all = [self.row(number, at) for number in range(1, count + 1)]

    @staticmethod
    def row(number: int, at: str = "2026-11-01T00:00:00") -> Change:
        done = {"actor": "notary/wang", "method": "m", "target": f"grant/g{number}", "outcome": "APPROVED"}
        return Change(number=number, revision=number, at=at, **done)

    async def read(self, since: int, most: int) -> list[Change]:
        return [row for row in self.all if row.number >= since][:most]


def numbers(directory: Path) -> list[int]:
    return [one.change for one in changes_in(directory / "core") if one.change]


async def test_each_change_once_over_starts_and_pages(tmp_path: Path) -> None:
    rows = Rows(2500)
    for version in (1, 2):
        async with ledger(tmp_path) as (book, _):
            await book.put_down(rows.read, version, bytes([version]) * 32)
            assert numbers(tmp_path) == list(range(1, len(rows.all) + 1)), "durable before it returns"
            await book.put_down(rows.read, version, bytes([version]) * 32)
        rows.all.append(Rows.row(len(rows.all) + 1))
    assert numbers(tmp_path) == list(range(1, 2502))
    assert [one.snapshot_version for one in changes_in(tmp_path / "core") if one.target == "snapshot"] == [1, 2]


async def test_what_was_put_down_before_a_kill_may_stand_twice_and_never_not_at_all(tmp_path: Path) -> None:
    rows = Rows(3)
    async with ledger(tmp_path) as (book, _):
        await book.put_down(rows.read, 1)
        left = (tmp_path / FILE).read_bytes()
        rows.all.append(Rows.row(4))
        await book.put_down(rows.read, 2)
    for left_behind, expected in ((left, [1, 2, 3, 4, 4]), (b"", [1, 2, 3, 4, 4, 1, 2, 3, 4])):
        (tmp_path / FILE).write_bytes(left_behind)
        async with ledger(tmp_path) as (book, _):
            await book.put_down(rows.read, 2)
        assert numbers(tmp_path) == expected


async def test_another_control_plane_is_put_down_from_its_beginning(tmp_path: Path) -> None:
    async with ledger(tmp_path) as (book, _):
        await book.put_down(Rows(3).read, 1)
        for other in (Rows(5, at="2026-11-02T00:00:00"), Rows(2), Rows(0)):
            await book.put_down(other.read, 1)
    found = changes_in(tmp_path / "core")
    assert [one.change or one.outcome for one in found] == [1, 2, 3, "REPLACED", 1, 2, 3, 4, 5, "REPLACED", 1, 2, "REPLACED"]
    assert (found[0].consumer, found[0].operator, found[0].method) == ("notary", "wang", "m")


async def test_a_ledger_holds_until_the_log_is_back(tmp_path: Path) -> None:
    held: list[bool] = []
    async with ledger(tmp_path) as (book, stream):
        book.on_hold = held.append
        rows = Rows(2)
        async with unwritable_stream(stream, tmp_path):
            with pytest.raises(AuditUnavailable):
                await book.put_down(rows.read, 7, b"s" * 32)
            await book.operated(consumer="operator", method="x/Drain", target="broker")
            await book.in_force({"tls/client-crl": Thing(b"c" * 32)})
            assert held == [True]
        await book.settle()
        assert held == [True], "the snapshot is not in force yet"
        await book.put_down(rows.read, 7, b"s" * 32)
        book.came_into_force()
        assert held == [True, False]
    found = changes_in(tmp_path / "core")
    assert sorted(one.target for one in found) == ["broker", "grant/g1", "grant/g2", "snapshot", "tls/client-crl"]
    assert kit.fault(tmp_path / "core") is None


async def test_what_an_operator_does_or_a_key_that_is_as_it_was_holds_nothing_up(tmp_path: Path) -> None:
    held: list[bool] = []
    async with ledger(tmp_path) as (book, stream):
        book.on_hold = held.append
        await book.in_force({"key/a": Thing(b"a" * 16), "tls/client-crl": Thing(b"")})
        async with unwritable_stream(stream, tmp_path):
            await book.operated(consumer="operator", method="x/Purge", target="cache")
            await book.in_force({"key/a": Thing(b"a" * 16)})
        assert held == []
    told = [(one.target, one.outcome, one.answer_digest) for one in changes_in(tmp_path / "core")]
    assert told[:2] == [("key/a", "IN_FORCE", b"a" * 16), ("tls/client-crl", "OUT_OF_FORCE", b"")]


def test_a_control_plane_tells_every_change_once(tmp_path: Path) -> None:
    plane = Plane(f"sqlite:///{tmp_path}/control.db", grant(id="g1"), grant(id="g2"))
    begun = len(plane.control.told(0, 1000))
    asked = plane.request()
    plane.act("approve", asked.life.id)
    plane.act("revoke", "g1")
    plane.tries("approve", "g1")
    found = [(one.target, one.outcome, one.actor) for one in plane.control.told(0, 1000)[begun:]]
    assert found == [
        (f"grant/{asked.life.id}", "REQUESTED", "tax-hall/li"),
        (f"grant/{asked.life.id}", "APPROVED", "notary/wang"),
        ("grant/g1", "REVOKED", "notary/wang"),
    ]
