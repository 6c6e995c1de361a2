"""The terms of a grant as a consumer meets them at a running broker: limits, hours, who asks, and what changes meanwhile."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import grpc
import pytest
from aiohttp import web
from google.rpc.error_details_pb2 import QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status
from msgspec.structs import replace

from broker.client import AsyncClient, CallFailed, NotGranted, OverRate, decode, generate_key
from broker.model.catalogue import Group
from broker.v1 import exchange_pb2 as pb
from tests.support.calling import WHO, ask, put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue, consumer, grant, interface
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually

VERSION = "broker-snapshot-version"


async def _raw(client: AsyncClient, who: str = WHO, **metadata: str) -> tuple[pb.CallResponse, dict[str, str]]:
    """Ask with metadata of the caller's own; returns the answer and the trailing metadata."""
    request = pb.CallRequest(interface=INTERFACE, arguments={"resident_id": who}, purpose=PURPOSE)
    call = client.exchange.Call(request, metadata=tuple((k.replace("_", "-"), v) for k, v in metadata.items()))
    try:
        return await call, {key: str(value) for key, value in await call.trailing_metadata()}
    except grpc.aio.AioRpcError as error:
        raise decode(error) from None


async def _refused(client: AsyncClient, who: str = WHO, **metadata: str) -> CallFailed:
    with pytest.raises(CallFailed) as refusal:
        await _raw(client, who, **metadata)
    return refusal.value


async def test_every_answer_tells_the_snapshot_and_what_is_left(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    await put(broker, register, grants=(grant(id="left", quota_per_day=10, quota_total=500, burst=5, rate_per_second=0.001),))
    told = [(await _raw(client))[1] for _ in range(3)]
    assert [one["broker-remaining-quota-day"] for one in told] == ["9", "8", "7"]
    assert [one["broker-remaining-quota-total"] for one in told] == ["499", "498", "497"]
    assert [one["broker-remaining-burst"] for one in told] == ["4", "3", "2"]
    assert f"broker_policy_snapshot_version {float(told[0][VERSION])}" in broker.metrics()
    await put(broker, register)
    assert int((await _raw(client))[1][VERSION]) > int(told[0][VERSION])
    assert "broker-remaining-quota-day" not in (await _raw(client))[1]


async def test_refusals_tell_the_snapshot_too(broker: RunningBroker, client: AsyncClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.exchange.Call(pb.CallRequest(interface="unknown", purpose=PURPOSE))
    trailing = dict(refusal.value.trailing_metadata() or ())
    assert f"broker_policy_snapshot_version {float(str(trailing[VERSION]))}" in broker.metrics()


@pytest.mark.parametrize(
    ("limits", "limit", "waits"),
    [({"quota_per_day": 7}, "quota_per_day", True), ({"quota_total": 5}, "quota_total", False)],
)
async def test_a_quota_ends_exactly(
    broker: RunningBroker, register: Register, client: AsyncClient, limits: dict[str, int], limit: str, waits: bool
) -> None:
    await put(broker, register, grants=(grant(id=f"exactly.{limit}", **limits),))
    results = await asyncio.gather(*(ask(client) for _ in range(30)), return_exceptions=True)
    refusals = [result for result in results if isinstance(result, OverRate)]
    assert len(results) - len(refusals) == limits[limit]
    assert {(r.reason, r.metadata["limit"]) for r in refusals} == {("QUOTA_EXCEEDED", limit)}
    assert all((r.retry_after_s is not None) == waits and (r.retry_after_s or 1) <= 86_400 for r in refusals)


async def test_a_used_up_limit_comes_as_quota_failure_and_retry_info(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    await put(broker, register, grants=(grant(id="used-up", quota_per_day=1),))
    await ask(client)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.exchange.Call(pb.CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE))
    trailing = dict(refusal.value.trailing_metadata() or ())
    details = {any_.TypeName(): any_ for any_ in Status.FromString(bytes(trailing["grpc-status-details-bin"])).details}  # type: ignore[arg-type]
    failure, retry = QuotaFailure(), RetryInfo()
    assert details["google.rpc.QuotaFailure"].Unpack(failure)
    assert details["google.rpc.RetryInfo"].Unpack(retry)
    assert [(v.subject, v.description) for v in failure.violations] == [("grants/used-up", "quota_per_day")]
    assert 0 < retry.retry_delay.ToTimedelta().total_seconds() <= 86_400


async def test_a_quota_outlives_the_core(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    await put(broker, register, grants=(grant(id="outlives", quota_per_day=5),))
    assert [await ask(client) for _ in range(3)]
    broker.stop()
    (broker.directory / "data" / "counters").unlink()  # as after a power cut: what was reserved and not spent is lost
    broker.start()
    left = [result for result in [await _outcome(client) for _ in range(6)] if result == "FOUND"]
    assert len(left) <= 2


async def _outcome(client: AsyncClient) -> str:
    try:
        await ask(client)
    except CallFailed as failure:
        return failure.reason
    return "FOUND"


async def test_distinct_subjects_are_counted_once_each(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    await put(broker, register, grants=(grant(id="subjects", subjects_per_day=2),))
    one, other, third = (resident_id(n) for n in (11, 12, 13))
    for who in (one, other, one, other, one):
        await ask(client, who)
    refusal = await _refused(client, third)
    assert (refusal.reason, refusal.metadata["limit"]) == ("QUOTA_EXCEEDED", "subjects_per_day")
    broker.stop()
    broker.start()
    assert (await _refused(client, third)).reason == "QUOTA_EXCEEDED"
    assert not (await ask(client, one)).found
    database = (broker.directory / "data" / "control.db").read_bytes()
    assert one.encode() not in database


async def test_operator_device_and_unit_where_the_grant_wants_them(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    await put(broker, register, grants=(grant(operator_required=True, device_required=True, caller_units=["U1"]),))
    assert (await _refused(client)).reason == "GRANT_MISSING"
    assert (await _refused(client, operator_unit="U2")).reason == "GRANT_MISSING"
    lacking = await _refused(client, operator_unit="U1")
    assert lacking.violations == {"operator": "is required by the grant"}  # type: ignore[attr-defined]
    assert "device-id" in (await _refused(client, operator_unit="U1", operator_id="clerk-7")).violations
    answer, _ = await _raw(client, operator_unit="U1", operator_id="clerk-7", device_id="terminal-3")
    assert answer.payload
    assert (await ask(client, operator="clerk-7", unit="U1", device="terminal-3")).found
    twice = await _refused(client, operator_unit="U1", operator_id="c" * 200)
    assert twice.reason == "INVALID_REQUEST"
    log = broker.log_file.read_text()
    assert "clerk-7" not in log
    assert "terminal-3" not in log


async def test_an_operator_said_twice_must_be_the_same(client: AsyncClient) -> None:
    request = pb.CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE, operator="a")
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.exchange.Call(request, metadata=(("operator-id", "b"),))
    assert "operator" in decode(refusal.value).violations
    assert (await client.exchange.Call(request, metadata=(("operator-id", "a"),))).payload


async def test_hours_and_verdicts_only_are_told_to_who_holds_the_grant(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    zone = dt.timezone(dt.timedelta(hours=8))  # Asia/Shanghai
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    other_day = days[(dt.datetime.now(zone).weekday() + 3) % 7]
    await put(broker, register, grants=(grant(hours=[f"{other_day} 00:00-24:00"]),))
    assert (await _refused(client)).reason == "OUTSIDE_HOURS"
    await put(broker, register, grants=(grant(disclosure="VERDICT_ONLY"),))
    assert (await _refused(client)).reason == "VERDICT_ONLY"
    await put(broker, register, grants=(grant(hours=["daily 00:00-24:00"]),))
    assert (await ask(client)).found


async def test_a_group_holds_a_grant_and_its_limits_together(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    key_file = broker.directory / "second.key"
    second = consumer(generate_key(key_file), id="notary")
    groups = (Group(id="halls", name="各办事大厅", members=(CONSUMER, "notary")),)
    whole = catalogue(register.base_url, broker.public_key, grants=(grant(id="of-group", consumer="halls", quota_per_day=2),))
    await broker.put(replace(whole, groups=groups, consumers=(*whole.consumers, second)))
    async with broker.client("notary", key_file) as notary:
        assert (await ask(client)).found
        assert (await ask(notary)).found
        assert [await _outcome(client), await _outcome(notary)] == ["QUOTA_EXCEEDED"] * 2


async def test_what_the_grant_says_of_the_cache_holds(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    await put(broker, register, grants=(grant(cache_max_age_s=0),))
    assert [(await ask(client)).provenance.source for _ in range(2)] == ["UPSTREAM", "UPSTREAM"]
    stale = {"cacheable": True, "ttl_s": 1, "stale_if_error_s": 600, "jitter_ratio": 0.0}
    for allowed, outcome in ((True, "FOUND"), (False, "PROVIDER_UNAVAILABLE")):
        await put(broker, register, interfaces=(interface(freshness=stale),), grants=(grant(stale_allowed=allowed),))
        register.behaviour = None
        await ask(client)
        register.behaviour = _failing
        await asyncio.sleep(1.1)
        assert await _outcome(client) == outcome


async def _failing(_register: Register, _who: str) -> Any:
    return web.Response(status=503)


async def test_a_narrowed_grant_narrows_what_is_cached_already(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    assert (await ask(client)).fields.keys() == {"name", "birth_date", "status"}
    await broker.put(_with(broker, register, grant(fields=["name"])))
    assert (await ask(client)).fields.keys() == {"name"}


async def test_who_waits_is_judged_again_when_the_answer_comes(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    register.delay_s = 1.0
    revoked = asyncio.create_task(ask(client, max_age_s=0))
    await eventually(lambda: _asked(register, 1))
    await broker.put(_with(broker, register))
    with pytest.raises(NotGranted):
        await revoked
    await broker.put(_with(broker, register, grant()))
    narrowed = asyncio.create_task(ask(client, max_age_s=0))
    await eventually(lambda: _asked(register, 2))
    await broker.put(_with(broker, register, grant(fields=["status"])))
    assert (await narrowed).fields.keys() == {"status"}


async def test_who_is_covered_by_another_grant_when_the_answer_comes_pays_for_that_one(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    register.delay_s = 1.0
    waiting = [asyncio.create_task(_result(client)) for _ in range(10)]
    await eventually(lambda: _asked(register, 1))
    await broker.put(_with(broker, register, grant(id="another", quota_total=1)))
    assert sorted(await asyncio.gather(*waiting)) == ["FOUND"] + ["QUOTA_EXCEEDED"] * 9


async def _result(client: AsyncClient) -> str:
    try:
        await ask(client, max_age_s=0)
    except CallFailed as failure:
        return failure.reason
    return "FOUND"


async def test_what_was_done_is_not_called_refused(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    doing = interface(side_effect=True, freshness={})
    await put(broker, register, interfaces=(doing,))
    register.delay_s = 1.0
    call = asyncio.create_task(_result(client))
    await eventually(lambda: _asked(register, 1))
    await broker.put(catalogue(register.base_url, broker.public_key, interfaces=(doing,), grants=()))
    assert await call == "OUTCOME_UNKNOWN"


async def test_no_call_fails_while_snapshots_come_and_go(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    stop = asyncio.Event()

    async def keep_asking(**how: Any) -> int:
        answered = 0
        while not stop.is_set():
            assert (await ask(client, **how)).found
            answered += 1
        return answered

    asking = [asyncio.create_task(keep_asking(**how)) for how in ({}, {}, {"max_age_s": 0})]
    for number in range(10):
        other = [grant(id=f"other-{number}", purposes=["else"])] if number % 2 else []
        await broker.put(_with(broker, register, grant(), *other))
        await asyncio.sleep(0.05)
    stop.set()
    assert all(answered > 5 for answered in await asyncio.gather(*asking))


async def _asked(register: Register, times: int) -> bool:
    return register.calls >= times


def _with(broker: RunningBroker, register: Register, *grants: Any) -> Any:
    return catalogue(register.base_url, broker.public_key, grants=grants)
