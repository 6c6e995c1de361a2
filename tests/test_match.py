"""`Match`: verdicts under the same grants as `Call`, on a record base and on a provider's answer, and never a stored value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from broker.client import AsyncClient, Client, Matched, TokenSource, decode
from broker.v1 import exchange_pb2 as pb
from tests.support import records
from tests.support.calling import WHO as REGISTERED
from tests.support.calling import put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, grant, interface
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.records import BASE, DEAD, GONE, NOBODY, ROWS, WHO
from tests.support.running import RunningBroker


@pytest.fixture
async def client(broker: RunningBroker) -> AsyncIterator[AsyncClient]:
    records.load_once(broker)
    if broker.in_force != records.catalogue(broker.public_key):
        await broker.put(records.catalogue(broker.public_key))
    async with broker.client() as client:
        yield client


def asked(who: str = WHO, asserted: dict[str, str] | None = None, **changes: Any) -> pb.MatchRequest:
    fields = {"name": "张伟明"} if asserted is None else asserted
    return pb.MatchRequest(**{"base": BASE, "key": {"resident_id": who}, "asserted": fields, "purpose": PURPOSE, **changes})


async def once(client: AsyncClient, *arguments: Any, **changes: Any) -> pb.MatchResponse:
    return await client.exchange.Match(asked(*arguments, **changes), timeout=5)


async def match(client: AsyncClient, *arguments: Any, **changes: Any) -> pb.MatchResponse:
    """Ask twice: a front passes the first one on, to learn who is asking. Both must be answered alike."""
    answers = [await once(client, *arguments, **changes) for _ in range(2)]
    fetched = [answer.provenance.fetched_at.ToNanoseconds() for answer in answers]
    assert fetched == sorted(fetched)
    told = [pb.MatchResponse.FromString(answer.SerializeToString()) for answer in answers]
    assert len({answer.audit_id for answer in told} - {""}) == len(told)
    for answer in told:
        answer.ClearField("audit_id")
        answer.provenance.ClearField("fetched_at")
        answer.provenance.ClearField("age")
    assert told[0] == told[1]
    return answers[1]


async def refused(client: AsyncClient, *arguments: Any, **changes: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await once(client, *arguments, **changes)
    return decode(refusal.value)


def told(answer: pb.MatchResponse) -> dict[str, str]:
    return {name: pb.Verdict.Name(found.verdict).removeprefix("VERDICT_") for name, found in answer.verdicts.items()}


# --- verdicts -----------------------------------------------------------------------------------------------------------


async def test_a_record_is_compared_field_by_field(client: AsyncClient) -> None:
    asserted = {"name": "张伟明", "birth_date": "1980年1月1日", "address": "别处", "status": "注销"}
    answer = await match(client, WHO, asserted)
    assert told(answer) == {"name": "MATCH", "birth_date": "MATCH", "address": "MISMATCH", "status": "MISMATCH"}
    assert (answer.outcome, answer.overall, answer.status) == (
        pb.OUTCOME_FOUND,
        pb.VERDICT_MISMATCH,
        pb.SUBJECT_STATUS_VALID,
    )
    assert (answer.provenance.source, answer.provenance.provider) == (pb.SOURCE_RECORDS, "city.records")


async def test_a_slip_is_close_and_says_how_close(client: AsyncClient) -> None:
    answer = await match(client, WHO, {"name": "张玮明"})
    assert told(answer) == {"name": "CLOSE"}
    assert 0.9 < answer.verdicts["name"].score < 1
    assert answer.overall == pb.VERDICT_CLOSE


async def test_a_name_cannot_be_found_out_by_signs_for_unknown_characters(client: AsyncClient) -> None:
    for name in ("张??", "?伟?", "张伟?", "张＊明"):
        assert told(await match(client, WHO, {"name": name})) == {"name": "MISMATCH"}


async def test_what_the_record_does_not_hold_is_told_as_that(client: AsyncClient) -> None:
    answer = await match(client, DEAD, {"name": "阿依古丽•买买提", "address": "云鹤市"})
    assert told(answer) == {"name": "MATCH", "address": "NOT_HELD"}
    assert (answer.overall, answer.status) == (pb.VERDICT_NOT_HELD, pb.SUBJECT_STATUS_DECEASED)


async def test_a_record_past_its_last_day_has_expired(client: AsyncClient) -> None:
    answer = await match(client, GONE, {"name": "李娜"})
    assert (answer.overall, answer.status) == (pb.VERDICT_MATCH, pb.SUBJECT_STATUS_EXPIRED)


async def test_nobody_is_an_answer_without_verdicts(client: AsyncClient) -> None:
    answer = await match(client, NOBODY, {"name": "李娜"})
    assert (answer.outcome, answer.overall, answer.status, dict(answer.verdicts)) == (pb.OUTCOME_NOT_FOUND, 0, 0, {})


async def test_no_stored_value_ever_leaves(client: AsyncClient) -> None:
    for row in ROWS:
        who, name, *_ = row.split(",")
        answer = await match(client, who, {"name": "王五", "birth_date": "1999-09-09", "address": "x", "status": "x"})
        held = [value for value in row.split(",")[1:] if value]
        assert not any(value.encode() in answer.SerializeToString() for value in held)
        assert answer.provenance.digest == b"", "who knows the digest can try records until it fits"
        assert told(answer)["name"] == "MISMATCH", name


async def test_the_key_may_be_written_in_any_form(client: AsyncClient) -> None:
    wide = WHO.lower().translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"})
    assert told(await match(client, wide)) == {"name": "MATCH"}


async def test_the_clients_have_it(broker: RunningBroker, client: AsyncClient) -> None:
    matched = await client.match(BASE, {"resident_id": WHO}, {"name": "张伟明", "address": "x"}, purpose=PURPOSE)
    assert (matched.found, matched.overall, matched.status) == (True, "MISMATCH", "VALID")
    assert {name: found.verdict for name, found in matched.verdicts.items()} == {"name": "MATCH", "address": "MISMATCH"}

    def blocking() -> Matched:
        with Client(broker.target, TokenSource(CONSUMER, broker.key_file)) as other:
            return other.match(BASE, {"resident_id": NOBODY}, {"name": "x"}, purpose=PURPOSE)

    nobody = await asyncio.to_thread(blocking)
    assert (nobody.found, nobody.overall, nobody.status, nobody.verdicts) == (False, "", "", {})


# --- grants -------------------------------------------------------------------------------------------------------------


async def test_a_grant_for_verdicts_gives_verdicts_and_nothing_else(broker: RunningBroker, client: AsyncClient) -> None:
    grants = (records.granted(disclosure="VERDICT_ONLY", fields=["name"]),)
    await broker.put(records.catalogue(broker.public_key, grants=grants))
    answer = await match(client)
    assert (told(answer), answer.status) == ({"name": "MATCH"}, pb.SUBJECT_STATUS_VALID)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.exchange.Call(pb.CallRequest(interface=BASE, arguments={"resident_id": WHO}, purpose=PURPOSE))
    assert decode(refusal.value).reason == "VERDICT_ONLY"


async def test_only_granted_fields_are_compared(broker: RunningBroker, client: AsyncClient) -> None:
    await broker.put(records.catalogue(broker.public_key, grants=(records.granted(fields=["name"]),)))
    for name in ("birth_date", "no_such_field"):
        failure = await refused(client, WHO, {"name": "张伟明", name: "1980-01-01"})
        assert failure.reason == "INVALID_REQUEST"
        assert list(failure.violations) == [f"asserted.{name}"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"purpose": "other"}, "GRANT_MISSING", id="another purpose"),
        pytest.param({"base": "other"}, "GRANT_MISSING", id="no such base"),
        pytest.param({"base": ""}, "INVALID_REQUEST", id="no target"),
        pytest.param({"asserted": {}}, "INVALID_REQUEST", id="nothing asserted"),
        pytest.param({"asserted": {"name": " "}}, "INVALID_REQUEST", id="an empty field"),
        pytest.param({"asserted": {"name": "a" * 2000}}, "INVALID_REQUEST", id="a long field"),
        pytest.param({"key": {}}, "INVALID_REQUEST", id="no key"),
        pytest.param({"key": {"resident_id": "1"}}, "INVALID_REQUEST", id="a bad key"),
    ],
)
async def test_what_cannot_be_compared_is_refused(client: AsyncClient, changes: dict[str, Any], reason: str) -> None:
    assert (await refused(client, **changes)).reason == reason


async def test_a_comparison_is_counted_against_the_grant(broker: RunningBroker, client: AsyncClient) -> None:
    await broker.put(records.catalogue(broker.public_key, grants=(records.granted(id="few", quota_total=2),)))
    await once(client)
    await once(client)
    assert (await refused(client)).reason == "QUOTA_EXCEEDED"


# --- on a provider's answer ---------------------------------------------------------------------------------------------


async def test_a_providers_answer_is_compared_asked_once_and_cached(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    register.add(REGISTERED, "张三", ZT="正常")
    await put(broker, register, interfaces=(interface(standing={"field": "status", "valid": ["正常"]}),))
    for source in (pb.SOURCE_UPSTREAM, pb.SOURCE_CACHE):
        answer = await once(client, REGISTERED, {"name": "张三", "birth_date": "19800102"}, base="", interface=INTERFACE)
        assert told(answer)["name"] == "MATCH"
        assert (answer.status, answer.provenance.source) == (pb.SUBJECT_STATUS_VALID, source)
    assert register.calls == 1


async def test_what_changes_something_is_not_compared(broker: RunningBroker, register: Register, client: AsyncClient) -> None:
    changing = interface(side_effect=True, freshness={})
    await put(broker, register, interfaces=(changing,))
    failure = await refused(client, REGISTERED, {"name": "张三"}, base="", interface=INTERFACE)
    assert (list(failure.violations), register.calls) == (["target"], 0)


async def test_a_call_and_a_comparison_under_one_grant_share_the_answer(
    broker: RunningBroker, register: Register, client: AsyncClient
) -> None:
    register.add(REGISTERED, "张三", ZT="正常")
    await put(broker, register, grants=(grant(fields=["name"]),))
    await client.call(INTERFACE, {"resident_id": REGISTERED}, purpose=PURPOSE)
    answer = await match(client, REGISTERED, {"name": "张三"}, base="", interface=INTERFACE)
    assert (answer.provenance.source, register.calls) == (pb.SOURCE_CACHE, 1)


# --- many ---------------------------------------------------------------------------------------------------------------


async def test_a_batch_has_a_result_for_each_in_order(client: AsyncClient) -> None:
    matches = [asked(), asked(NOBODY), asked(purpose="other"), asked(asserted={"name": "李四"})]
    results = (await client.exchange.BatchMatch(pb.BatchMatchRequest(matches=matches * 50), timeout=20)).results
    assert len(results) == 200
    for first in range(0, 200, 4):
        found, nobody, refusal, differs = results[first : first + 4]
        assert told(found.response) == {"name": "MATCH"}
        assert nobody.response.outcome == pb.OUTCOME_NOT_FOUND
        assert (refusal.failure.reason, refusal.failure.metadata["origin"]) == ("GRANT_MISSING", "CLIENT")
        assert told(differs.response) == {"name": "MISMATCH"}


async def test_a_batch_may_not_be_too_large(client: AsyncClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.exchange.BatchMatch(pb.BatchMatchRequest(matches=[asked()] * 1001), timeout=20)
    assert list(decode(refusal.value).violations) == ["matches"]


async def test_a_stream_answers_each_under_its_own_name(client: AsyncClient) -> None:
    def sent() -> Iterator[pb.StreamMatchesRequest]:
        for number in range(300):
            one = asked(WHO if number % 3 else NOBODY, **({} if number % 5 else {"asserted": {}}))
            yield pb.StreamMatchesRequest(correlation_id=str(number), match=one)

    results = {}
    async for answer in client.exchange.StreamMatches(sent(), timeout=30):
        results[int(answer.correlation_id)] = answer.result
    assert sorted(results) == list(range(300))
    for number, result in results.items():
        if number % 5 == 0:
            assert result.failure.field_violations[0].field == "asserted"
        else:
            assert result.response.outcome == (pb.OUTCOME_FOUND if number % 3 else pb.OUTCOME_NOT_FOUND)


async def test_a_message_that_is_none_ends_a_stream_as_what_it_is(client: AsyncClient, broker: RunningBroker) -> None:
    async with grpc.aio.insecure_channel(broker.target) as channel:
        stream = channel.stream_stream("/broker.v1.ExchangeService/StreamMatches")(iter([b"\xff"]))
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            async for _ in stream:
                pass
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert '"event":"internal error"' not in broker.log_file.read_text()


# --- the base changes under a running broker ----------------------------------------------------------------------------


async def test_a_change_is_seen_at_once(broker: RunningBroker, client: AsyncClient) -> None:
    new = resident_id(500)
    file = records.write_csv(broker.directory / "new.csv", f"{new},李四,,,,")
    assert (await match(client, new)).outcome == pb.OUTCOME_NOT_FOUND
    assert broker.run_here("records", "upsert", BASE, str(file)).returncode == 0
    assert told(await match(client, new, {"name": "李四"})) == {"name": "MATCH"}
    assert broker.run_here("records", "delete", BASE, str(file)).returncode == 0
    assert (await match(client, new)).outcome == pb.OUTCOME_NOT_FOUND


async def test_readers_see_the_old_base_or_the_new_while_it_is_loaded(broker: RunningBroker, client: AsyncClient) -> None:
    """Two people who are in every version, under the version's name: who is read later is never of an older one."""
    versions = ["甲", "乙", "丙", "丁"]
    records.load(broker, *(f"{who},{versions[0]},,,," for who in (WHO, DEAD)))
    done = asyncio.Event()

    async def loads() -> None:
        for name in versions[1:]:
            await asyncio.to_thread(records.load, broker, *(f"{who},{name},,,," for who in (WHO, DEAD)))
        done.set()

    loading = asyncio.create_task(loads())
    seen = []
    try:
        while not done.is_set():
            for who in (WHO, DEAD):
                answer = await client.call(BASE, {"resident_id": who}, purpose=PURPOSE)
                seen.append(versions.index(answer.fields["name"]))
        answer = await client.call(BASE, {"resident_id": WHO}, purpose=PURPOSE)
        assert answer.fields["name"] == versions[-1]
    finally:
        await loading
        records.load(broker)
    assert seen == sorted(seen)
    assert len(set(seen)) > 1


async def test_a_base_that_cannot_be_read_is_unavailable(broker: RunningBroker, client: AsyncClient) -> None:
    current = broker.directory / "data" / "records" / BASE / "current"
    name = current.read_text()
    current.unlink()
    try:
        assert (await refused(client)).reason == "RECORD_BASE_UNUSABLE"
    finally:
        current.write_text(name)
    assert told(await match(client)) == {"name": "MATCH"}


async def test_a_call_answers_from_the_base_what_is_granted(broker: RunningBroker, client: AsyncClient) -> None:
    await broker.put(records.catalogue(broker.public_key, grants=(records.granted(fields=["name", "until"]),)))
    answer = await client.call(BASE, {"resident_id": WHO}, purpose=PURPOSE)
    assert (answer.fields, answer.provenance.source) == ({"name": "张伟明", "until": "2099-12-31"}, "RECORDS")
    assert not (await client.call(BASE, {"resident_id": NOBODY}, purpose=PURPOSE)).found
