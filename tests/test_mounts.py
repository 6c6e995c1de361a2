"""Which resources have a working interface: states and their beginnings, providers that go and return, changed schemas."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from broker.client import CallFailed
from broker.model.catalogue import Catalogue, Endpoint, GrpcEndpoint, HttpEndpoint, Resource, ShareType, SqlEndpoint
from broker.model.mounts import Finding, Mount, MountState, advance, recall, state_of
from broker.policy.database import Database
from broker.policy.mounts import MountStates
from broker.serve.probes import next_s
from broker.upstream.reach import Place, place_of, reachable
from broker.v1 import catalogue_pb2 as pb
from broker.v1.catalogue_pb2_grpc import CatalogueServiceStub
from tests.support.calling import NOBODY, WHO, ask
from tests.support.catalogue import catalogue, interface, provider
from tests.support.ports import free_port
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually, wait_until

WORKS, BROKEN, SILENT = Finding(True, True), Finding(True, False), Finding(False, True)
MOUNTED, NONE, UNREACHABLE, CHANGED = (
    MountState.MOUNTED,
    MountState.NO_INTERFACE,
    MountState.UNREACHABLE,
    MountState.SCHEMA_CHANGED,
)


# --- states, purely -----------------------------------------------------------------------------------------------------


def test_of_several_interfaces_the_best_counts() -> None:
    best = {(): NONE, (WORKS,): MOUNTED, (BROKEN,): CHANGED, (SILENT,): UNREACHABLE, (None,): None}
    for pair in itertools.product((WORKS, BROKEN, SILENT, None), repeat=2):
        order = [finding for finding in (WORKS, BROKEN, None, SILENT) if finding in pair]
        best[pair] = best[(order[0],)]  # type: ignore[assignment]
    for findings, state in best.items():
        assert state_of(findings) is state, findings


STATES = st.sampled_from([*MountState, None])


@given(st.lists(STATES, min_size=1, max_size=8))
def test_since_changes_only_when_the_state_does(history: list[MountState | None]) -> None:
    mounts: dict[str, Mount] = {}
    began, last = 0, None
    for now_ms, state in enumerate(history, 1):
        mounts = advance(mounts, {"r": state}, now_ms)
        if state is None:
            last = None if last is NONE else last
        elif state is not last:
            began, last = now_ms, state
        assert mounts.get("r") == (None if last is None else Mount(last, began))


def test_what_was_kept_is_recalled_late_and_what_has_changed_meanwhile_stays_so() -> None:
    kept = {"same": Mount(UNREACHABLE, 1), "other": Mount(MOUNTED, 1), "unprobed": Mount(CHANGED, 1)}
    now = {"same": Mount(UNREACHABLE, 9), "other": Mount(UNREACHABLE, 9), "new": Mount(NONE, 9)}
    assert recall(kept, now) == {
        "same": Mount(UNREACHABLE, 1),
        "other": Mount(UNREACHABLE, 9),
        "unprobed": Mount(CHANGED, 1),
        "new": Mount(NONE, 9),
    }


def test_a_resource_that_has_gone_is_forgotten() -> None:
    assert advance({"old": Mount(MOUNTED, 1)}, {"new": NONE}, 2) == {"new": Mount(NONE, 2)}


@given(st.binary(min_size=16, max_size=16), st.floats(0, 1e6), st.integers(1, 600))
def test_each_is_probed_once_a_period_in_its_own_moment(key: bytes, now_s: float, period_s: int) -> None:
    following = next_s(key, now_s, period_s)
    assert now_s < following <= now_s + period_s
    assert next_s(key, following, period_s) == pytest.approx(following + period_s, abs=1e-3)


def test_states_are_kept_to_the_millisecond(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/control.db")
    kept = MountStates(database)
    kept.write({"a": Mount(MOUNTED, 1_700_000_000_123), "b": Mount(NONE, 5)}, (), 9)
    kept.write({"a": Mount(UNREACHABLE, 1_800_000_000_999)}, ("b",), 9)
    kept.write({}, ("c",), 9)
    assert kept.read() == {"a": Mount(UNREACHABLE, 1_800_000_000_999)}
    database.close()


# --- whether somebody listens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        (HttpEndpoint(base_url="http://city.example"), Place("city.example", 80)),
        (HttpEndpoint(base_url="https://city.example"), Place("city.example", 443)),
        (HttpEndpoint(base_url="https://[::1]:8443"), Place("::1", 8443)),
        (GrpcEndpoint(target="city.example:50051"), Place("city.example", 50051)),
        (GrpcEndpoint(target="dns:///city.example:50051"), Place("city.example", 50051)),
        (GrpcEndpoint(target="ipv6:[::1]:50051"), Place("::1", 50051)),
        (GrpcEndpoint(target="city.example"), Place("city.example", 443)),
        (GrpcEndpoint(target="unix:///run/a.sock"), Place(path="/run/a.sock")),
        (GrpcEndpoint(target="unix:/run/a.sock"), Place(path="/run/a.sock")),
        (SqlEndpoint(url="sqlite+aiosqlite:////data/city.db"), Place(path="/data/city.db", socket=False)),
        (SqlEndpoint(url="postgresql+psycopg://broker@db/city"), Place("db", 5432)),
        (SqlEndpoint(url="postgresql+psycopg://broker@db:6543/city"), Place("db", 6543)),
        (SqlEndpoint(url="postgresql+psycopg://broker@/city?host=/run/pg"), Place(path="/run/pg/.s.PGSQL.5432")),
    ],
)
def test_where_a_provider_listens(endpoint: Endpoint, place: Place) -> None:
    assert place_of(endpoint) == place


async def test_who_listens_is_reachable_and_who_does_not_is_not(register: Register, tmp_path: Path) -> None:
    address = register.base_url.removeprefix("http://")
    socket = tmp_path / "s.sock"
    (tmp_path / "city.db").touch()
    async with await asyncio.start_unix_server(lambda _, writer: writer.close(), socket):
        for endpoint in (
            HttpEndpoint(base_url=register.base_url),
            GrpcEndpoint(target=address),
            GrpcEndpoint(target=f"unix:{socket}"),
            SqlEndpoint(url=f"sqlite+aiosqlite:///{tmp_path}/city.db"),
            SqlEndpoint(url=f"postgresql+psycopg://broker@{address}/city"),
        ):
            assert await reachable(endpoint, 5), endpoint
    for gone in (
        HttpEndpoint(base_url=f"http://127.0.0.1:{free_port()}"),
        GrpcEndpoint(target="a..b:1"),
        GrpcEndpoint(target="127.0.0.1:99999"),
        SqlEndpoint(url=f"sqlite+aiosqlite:///{tmp_path}/other.db"),
        SqlEndpoint(url=f"sqlite+aiosqlite:///{tmp_path}"),
    ):
        assert not await reachable(gone, 5), gone
    assert register.calls == 0


# --- a broker that probes -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    running = RunningBroker(tmp_path_factory.mktemp("m"), BROKER__MOUNTS__PROBE_S="1")
    running.start()
    yield running
    running.kill()


@pytest.fixture
async def stub(broker: RunningBroker) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"unix:{broker.directory}/admin.sock") as channel:
        yield CatalogueServiceStub(channel)


def _resource(code: str = "990000/000001", owner: str = "national.police", **more: Any) -> Resource:
    return Resource(code=code, name=f"资源 {code}", provider=owner, **more)


def _mounted(register: Register, broker: RunningBroker, *more: Resource, **changes: Any) -> Catalogue:
    """One resource with an interface, and others without."""
    own = interface(resource="990000/000001", **changes)
    plain = catalogue(register.base_url, broker.public_key, interfaces=(own,))
    return msgspec.structs.replace(plain, resources=(_resource(), *more))


async def _reported(stub: Any, provider: str = "") -> pb.GetMountReportResponse:
    return await stub.GetMountReport(pb.GetMountReportRequest(provider=provider))


async def _state(stub: Any) -> str:
    """State of the mounted resource: the reason why it does not work, or MOUNTED, or nothing yet."""
    answer = await _reported(stub)
    reasons = [line.reason for line in answer.unmounted if line.code == "990000/000001"]
    return reasons[0] if reasons else ("MOUNTED" if answer.reachable else "")


async def _becomes(stub: Any, state: str) -> pb.UnmountedResource:
    async def is_so() -> bool:
        return await _state(stub) == state

    await eventually(is_so)
    lines = [line for line in (await _reported(stub)).unmounted if line.code == "990000/000001"]
    return lines[0] if lines else pb.UnmountedResource()


async def _probed_again(broker: RunningBroker) -> None:
    """Wait for two more probes: the first may have begun before."""

    async def probes() -> float:
        text = await asyncio.to_thread(broker.metrics)
        return sum(map(float, re.findall(r"^broker_mount_probes_total\{.*?\} (\S+)$", text, re.MULTILINE)))

    before = await probes()

    async def is_so() -> bool:
        return await probes() >= before + 2

    await eventually(is_so)


PROBE = {"resident_id": NOBODY}


async def test_a_probe_asks_and_no_record_is_an_answer(broker: RunningBroker, stub: Any, register: Register) -> None:
    await broker.put(_mounted(register, broker, probe=PROBE))
    await _becomes(stub, "MOUNTED")
    assert register.asked[NOBODY] >= 1
    answer = await _reported(stub)
    assert (answer.resources, answer.mounted, answer.reachable, answer.schema_matching, answer.rate) == (1, 1, 1, 1, 1.0)
    assert answer.HasField("probed_at")


async def test_a_provider_goes_down_and_comes_back_and_since_is_kept(
    broker: RunningBroker, stub: Any, register: Register
) -> None:
    await broker.put(_mounted(register, broker, probe=PROBE))
    await _becomes(stub, "MOUNTED")

    async def out_of_order(_: Register, __: str) -> web.StreamResponse:
        return web.Response(status=503)

    register.behaviour = out_of_order
    down = await _becomes(stub, "UNREACHABLE")
    assert (down.code, down.provider, down.name) == ("990000/000001", "national.police", "资源 990000/000001")
    await _probed_again(broker)
    assert (await _becomes(stub, "UNREACHABLE")).since == down.since, "since is when it began, not when it was looked at"
    answer = await _reported(stub)
    assert (answer.mounted, answer.reachable, answer.rate) == (1, 0, 1.0)
    broker.stop()
    broker.start()
    assert (await _becomes(stub, "UNREACHABLE")).since == down.since, "kept across restarts"
    await _probed_again(broker)
    assert (await _becomes(stub, "UNREACHABLE")).since == down.since
    register.behaviour = None
    await _becomes(stub, "MOUNTED")
    register.behaviour = out_of_order
    again = await _becomes(stub, "UNREACHABLE")
    assert again.since.ToNanoseconds() > down.since.ToNanoseconds()


@pytest.mark.parametrize(
    "answer",
    [{"code": "4001", "message": "此人不可查询"}, {"code": "5003", "message": "超出配额"}, {"code": "0", "data": {"XM": 1}}],
    ids=["refused", "overloaded", "nonsense"],
)
async def test_whatever_a_provider_answers_it_is_reachable(
    broker: RunningBroker, stub: Any, register: Register, answer: dict[str, Any]
) -> None:
    async def says_so(_: Register, __: str) -> web.StreamResponse:
        return web.json_response(answer)

    register.behaviour = says_so
    await broker.put(_mounted(register, broker, probe=PROBE))
    await _becomes(stub, "MOUNTED" if answer["code"] != "0" else "SCHEMA_CHANGED")
    assert (await _reported(stub)).reachable == 1


@pytest.mark.parametrize(("status", "state"), [(429, "MOUNTED"), (503, "UNREACHABLE")])
async def test_a_provider_that_asks_to_be_left_alone_is_judged_by_what_it_said_then(
    broker: RunningBroker, stub: Any, register: Register, status: int, state: str
) -> None:
    async def later(_: Register, __: str) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": "60"})

    register.behaviour = later
    await broker.put(_mounted(register, broker, probe=PROBE))
    await _becomes(stub, state)
    await _probed_again(broker)
    assert await _state(stub) == state
    assert register.calls == 1, "and is left alone"


async def test_a_fault_of_ours_is_not_held_against_the_provider(broker: RunningBroker, stub: Any, register: Register) -> None:
    signed = {"connector": "http", "base_url": register.base_url, "dialect": "gjgxjhpt", "requester_id": "R1"}
    keyless = provider("", endpoint={**signed, "app_key_file": "missing.key", "secret_path": "/secret"})
    await broker.put(catalogue(register.base_url, broker.public_key))
    assert (await _reported(stub)).resources == 0, "forgotten, with what other tests found"
    await broker.put(msgspec.structs.replace(_mounted(register, broker, probe=PROBE), providers=(keyless,)))
    await _probed_again(broker)
    assert "a probe could not be sent" in broker.log_file.read_text()
    assert await _state(stub) != "UNREACHABLE"
    assert not (await _reported(stub)).HasField("probed_at"), "nothing was found out"


async def test_another_probe_is_sent_at_once(broker: RunningBroker, stub: Any, register: Register) -> None:
    for who in (NOBODY, WHO):
        await broker.put(_mounted(register, broker, probe={"resident_id": who}))
        await asyncio.to_thread(wait_until, lambda person=who: register.asked[person] > 0)


async def test_an_answer_against_the_schema_is_a_changed_schema(broker: RunningBroker, stub: Any, register: Register) -> None:
    register.add(WHO, "张三")
    await broker.put(_mounted(register, broker, probe={"resident_id": WHO}))
    await _becomes(stub, "MOUNTED")
    register.people[WHO] = {"GMSFHM": WHO, "XINGMING": "张三"}
    await _becomes(stub, "SCHEMA_CHANGED")
    answer = await _reported(stub)
    assert (answer.reachable, answer.schema_matching) == (1, 0)
    register.add(WHO, "张三")
    await _becomes(stub, "MOUNTED")


async def test_without_a_probe_nothing_is_asked_and_real_calls_tell_the_schema(
    broker: RunningBroker, stub: Any, register: Register
) -> None:
    register.add(WHO, "张三")
    await broker.put(_mounted(register, broker))
    await _becomes(stub, "MOUNTED")
    await _probed_again(broker)
    assert register.calls == 0
    register.people[WHO] = {"GMSFHM": WHO}
    async with broker.client() as client:
        with contextlib.suppress(CallFailed):
            await ask(client, max_age_s=0)
        await _becomes(stub, "SCHEMA_CHANGED")
        register.add(WHO, "张三")
        assert (await ask(client, max_age_s=0)).found
        await _becomes(stub, "MOUNTED")


async def test_without_a_probe_the_address_is_tried(broker: RunningBroker, stub: Any, register: Register) -> None:
    port = free_port()
    elsewhere = provider(f"http://127.0.0.1:{port}")
    await broker.put(msgspec.structs.replace(_mounted(register, broker), providers=(elsewhere,)))
    down = await _becomes(stub, "UNREACHABLE")
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
        await _becomes(stub, "MOUNTED")
    assert (await _becomes(stub, "UNREACHABLE")).since.ToNanoseconds() > down.since.ToNanoseconds()


async def test_the_report_counts_by_provider_and_leaves_out_what_is_not_shared(
    broker: RunningBroker, stub: Any, register: Register
) -> None:
    quiet = provider("", id="city.quiet", name="云鹤市某局", level="CITY", endpoint=None)
    more = (
        _resource("990000/000002"),
        _resource("990000/000003", share_type=ShareType.NOT_SHARED),
        _resource("990001/000001", "city.quiet"),
    )
    whole = _mounted(register, broker, *more, probe=PROBE)
    await broker.put(msgspec.structs.replace(whole, providers=(*whole.providers, quiet)))
    await _becomes(stub, "MOUNTED")
    answer = await _reported(stub)
    assert (answer.resources, answer.mounted, answer.reachable, answer.rate) == (3, 1, 1, pytest.approx(1 / 3))
    assert [(one.provider, one.name, one.resources, one.mounted, one.reachable) for one in answer.providers] == [
        ("city.quiet", "云鹤市某局", 1, 0, 0),
        ("national.police", "公安部", 2, 1, 1),
    ]
    assert [(one.code, one.reason) for one in answer.unmounted] == [
        ("990001/000001", "NO_INTERFACE"),
        ("990000/000002", "NO_INTERFACE"),
    ]
    assert all(one.HasField("since") for one in answer.unmounted)
    own = await _reported(stub, "city.quiet")
    assert (own.resources, len(own.providers), len(own.unmounted)) == (1, 1, 1)


async def test_metrics_and_command_tell_the_same(broker: RunningBroker, stub: Any, register: Register) -> None:
    await broker.put(_mounted(register, broker, _resource("990000/000002"), probe=PROBE))
    await _becomes(stub, "MOUNTED")
    for expected in (
        "broker_mount_resources 2.0",
        "broker_mount_mounted 1.0",
        "broker_mount_reachable 1.0",
        "broker_mount_rate 0.5",
        'broker_mount_provider_resources{provider="national.police",state="MOUNTED"} 1.0',
    ):

        async def is_told(line: str = expected) -> bool:
            return line in (await asyncio.to_thread(broker.metrics)).splitlines()

        await eventually(is_told)
    assert "city.quiet" not in broker.metrics(), "who has left the catalogue has left the metrics"
    shown = json.loads((await asyncio.to_thread(broker.run, "catalogue", "mounts", "--json")).stdout)
    assert (shown["resources"], shown["mounted"], shown["rate"]) == (2, 1, 0.5)
    listed = (await asyncio.to_thread(broker.run, "catalogue", "mounts", "--unmounted", COLUMNS="200")).stdout
    assert "1 of 2 resources mounted (50.0%), 1 reachable" in listed
    assert "990000/000002" in listed
    assert "NO_INTERFACE" in listed
    narrow = (await asyncio.to_thread(broker.run, "catalogue", "mounts", "--unmounted", COLUMNS="40")).stdout
    assert "990000/000002" in narrow, "a code that is cut is none"
    other = await asyncio.to_thread(broker.run, "catalogue", "mounts", "--provider", "nobody")
    assert (other.returncode, other.stderr.count("\n")) == (3, 1)


async def test_an_interface_that_is_taken_away_unmounts_at_once(broker: RunningBroker, stub: Any, register: Register) -> None:
    whole = _mounted(register, broker, probe=PROBE)
    await broker.put(whole)
    await _becomes(stub, "MOUNTED")
    await broker.put(msgspec.structs.replace(whole, interfaces=(), grants=()))
    assert await _state(stub) == "NO_INTERFACE"
    await broker.put(whole)
    assert (await _reported(stub)).mounted == 1
    await _becomes(stub, "MOUNTED")


def test_without_a_broker_the_command_says_so(tmp_path: Path) -> None:
    done = RunningBroker(tmp_path).run("catalogue", "mounts")
    assert (done.returncode, done.stderr.count("\n")) == (9, 1)
