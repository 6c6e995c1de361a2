"""What a front answers of comparisons and of record bases itself, and what it leaves to the core: as the core would answer it.

Every question is first asked once, so that the front knows who is asking; then it is counted who answered. That both answer
alike is in test_differential.py and test_match.py. What must not go in here: what a verdict is.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import signal
import subprocess
import sys
import zoneinfo
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from broker.client import AsyncClient, TokenSource, decode
from broker.policy.compiler import DEFAULT_TIME_ZONE
from broker.records.store import Bases
from broker.serve.board import is_alive
from broker.v1 import exchange_pb2 as pb
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from tests.support import records
from tests.support.answered import counts, grown
from tests.support.calling import WHO as REGISTERED
from tests.support.calling import put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, grant, interface
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.records import BASE, DEAD, NOBODY, ROWS, WHO
from tests.support.running import RunningBroker, eventually, wait_until

NAME = {"name": "张伟明"}
STANDING = {"field": "status", "valid": ["正常"]}


def far_away() -> zoneinfo.ZoneInfo:
    """Where it is another day now than where time zones are from if nobody names one."""
    zones = map(zoneinfo.ZoneInfo, ("Etc/GMT+12", "Pacific/Kiritimati"))
    return next(zone for zone in zones if today(zone) != today(zoneinfo.ZoneInfo(DEFAULT_TIME_ZONE)))


def today(zone: zoneinfo.ZoneInfo) -> dt.date:
    return dt.datetime.now(zone).date()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    settings = {"BROKER__POLICY__TIME_ZONE": str(far_away())}
    broker = RunningBroker(tmp_path_factory.mktemp("m"), **settings)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def client(own: RunningBroker) -> AsyncIterator[AsyncClient]:
    records.load_once(own)
    if own.in_force != records.catalogue(own.public_key):
        await own.put(records.catalogue(own.public_key))
    async with own.client() as client:
        await eventually(lambda: answers_itself(own, client))
        yield client


async def answers_itself(broker: RunningBroker, client: AsyncClient, who: str = WHO, **changes: Any) -> bool:
    """Whether the front knows the caller, and has opened all that it reads."""
    before = counts(broker)
    await match(client, who, **changes)
    return grown(broker, before).get(("natively",)) == 1


async def match(client: AsyncClient, who: str = WHO, asserted: dict[str, str] = NAME, **changes: Any) -> pb.MatchResponse:
    target = {} if "interface" in changes else {"base": BASE}
    message = pb.MatchRequest(**target, key={"resident_id": who}, asserted=asserted, **{"purpose": PURPOSE, **changes})
    return await client.exchange.Match(message, timeout=5)


async def reason(client: AsyncClient, *arguments: Any, **changes: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await match(client, *arguments, **changes)
    return decode(refusal.value).reason


def verdict(answer: pb.MatchResponse, name: str = "name") -> str:
    return pb.Verdict.Name(answer.verdicts[name].verdict).removeprefix("VERDICT_")


# --- what it answers ----------------------------------------------------------------------------------------------------


async def test_comparisons_on_a_base_are_answered_and_counted(own: RunningBroker, client: AsyncClient) -> None:
    before = counts(own)
    for _ in range(5):
        assert verdict(await match(client)) == "MATCH"
    assert (await match(client, NOBODY)).outcome == pb.OUTCOME_NOT_FOUND
    assert grown(own, before) == {
        ("natively",): 6,
        ("calls", BASE, "FOUND", "RECORDS"): 5,
        ("calls", BASE, "NOT_FOUND", "RECORDS"): 1,
        ("handled", "Match", "OK"): 6,
    }


async def test_calls_on_a_base_are_answered_and_counted(own: RunningBroker, client: AsyncClient) -> None:
    before = counts(own)
    for encoding in (pb.ENCODING_JSON, pb.ENCODING_MSGPACK):
        request = pb.CallRequest(interface=BASE, arguments={"resident_id": WHO}, purpose=PURPOSE, encoding=encoding)
        answer = await client.exchange.Call(request)
        assert (answer.outcome, answer.provenance.source) == (pb.OUTCOME_FOUND, pb.SOURCE_RECORDS)
        assert "张伟明".encode() in answer.payload
    assert grown(own, before) == {
        ("natively",): 2,
        ("calls", BASE, "FOUND", "RECORDS"): 2,
        ("handled", "Call", "OK"): 2,
    }


async def test_a_comparison_reads_the_cached_answer_that_the_core_left(own: RunningBroker, register: Register) -> None:
    """Under a grant that does not show what tells whether the record is in force."""
    register.add(REGISTERED, "张伟明", ZT="正常")
    await put(own, register, interfaces=(interface(standing=STANDING),), grants=(grant(fields=["name"]),))
    async with own.client() as client:
        first = await match(client, REGISTERED, interface=INTERFACE)
        await eventually(lambda: answers_itself(own, client, REGISTERED, interface=INTERFACE))
        before = counts(own)
        second = await match(client, REGISTERED, interface=INTERFACE)
        assert grown(own, before) == {
            ("natively",): 1,
            ("calls", INTERFACE, "FOUND", "CACHE"): 1,
            ("handled", "Match", "OK"): 1,
        }
    assert (first.provenance.source, second.provenance.source) == (pb.SOURCE_UPSTREAM, pb.SOURCE_CACHE)
    assert second.provenance.fetched_at == first.provenance.fetched_at
    assert first.status == second.status == pb.SUBJECT_STATUS_VALID
    assert register.calls == 1


async def test_no_field_of_a_record_leaves(own: RunningBroker, client: AsyncClient) -> None:
    before = counts(own)
    for row in ROWS:
        who, *held = row.split(",")
        asserted = {"name": "王五", "birth_date": "1999-09-09", "address": "x", "status": "x", "until": "2000-01-01"}
        answer = await match(client, who, asserted)
        assert not any(value.encode() in answer.SerializeToString() for value in held if value)
        assert answer.provenance.digest == b""
    assert grown(own, before)["natively",] == len(ROWS)


async def test_limits_are_told_and_used_up_as_by_the_core(own: RunningBroker, client: AsyncClient) -> None:
    few = records.granted(id="few", quota_per_day=5, quota_total=100)
    await own.put(records.catalogue(own.public_key, grants=(few,)))
    left = []
    for _ in range(5):
        message = pb.MatchRequest(base=BASE, key={"resident_id": WHO}, asserted=NAME, purpose=PURPOSE)
        call = client.exchange.Match(message, timeout=5)
        await call
        trailing = dict(await call.trailing_metadata())
        left.append((trailing["broker-remaining-quota-day"], trailing["broker-remaining-quota-total"]))
    assert left == [(str(4 - at), str(99 - at)) for at in range(5)]
    assert await reason(client) == "QUOTA_EXCEEDED"


async def test_who_has_nothing_left_has_nothing_looked_up(own: RunningBroker, client: AsyncClient) -> None:
    """Or how long a refusal takes would tell what is held."""
    await own.put(records.catalogue(own.public_key, grants=(records.granted(id="few", rate_per_second=0.001, burst=3),)))
    await match(client)
    before = counts(own)
    for _ in range(2):
        await match(client)
    assert grown(own, before)["natively",] == 2
    records.load(own)
    assert [await reason(client) for _ in range(3)] == ["RATE_EXCEEDED"] * 3
    assert not [line for line in records.mapped_by(*own.fronts()) if "(deleted)" not in line], "what was loaded is not opened"


# --- grants -------------------------------------------------------------------------------------------------------------


async def test_what_was_taken_away_or_narrowed_is_refused_at_once(own: RunningBroker, client: AsyncClient) -> None:
    both = {"name": "张伟明", "birth_date": "1980-01-01"}
    for _ in range(3):
        await own.put(records.catalogue(own.public_key))
        for _ in range(2):
            assert verdict(await match(client, WHO, both), "birth_date") == "MATCH"
        await own.put(records.catalogue(own.public_key, grants=(records.granted(fields=["name"]),)))
        assert await reason(client, WHO, both) == "INVALID_REQUEST"
        assert verdict(await match(client)) == "MATCH"
        await own.put(records.catalogue(own.public_key, grants=(records.granted(purposes=["other"]),)))
        assert await reason(client) == "GRANT_MISSING"


async def test_a_grant_for_verdicts_gives_no_data(own: RunningBroker, client: AsyncClient) -> None:
    verdicts = records.granted(disclosure="VERDICT_ONLY", fields=["name"])
    await own.put(records.catalogue(own.public_key, grants=(verdicts,)))
    await match(client)
    before = counts(own)
    assert verdict(await match(client)) == "MATCH"
    assert grown(own, before)["natively",] == 1
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.exchange.Call(pb.CallRequest(interface=BASE, arguments={"resident_id": WHO}, purpose=PURPOSE))
    assert decode(refusal.value).reason == "VERDICT_ONLY"


# --- what it leaves to the core -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "asserted"),
    [
        pytest.param(WHO, {"name": "x" * 300}, id="a long text"),
        pytest.param(WHO, {"name": "x" * 150, "address": "x" * 150}, id="much over all fields"),
        pytest.param(WHO.translate({ord("1"): ord("１")}), NAME, id="a key in another form"),
    ],
)
async def test_what_it_is_not_sure_of_the_core_answers(
    own: RunningBroker, client: AsyncClient, who: str, asserted: dict[str, str]
) -> None:
    before = counts(own)
    assert (await match(client, who, asserted)).outcome == pb.OUTCOME_FOUND
    assert ("natively",) not in grown(own, before)


async def test_subjects_are_counted_by_the_core(own: RunningBroker, client: AsyncClient) -> None:
    await own.put(records.catalogue(own.public_key, grants=(records.granted(id="subjects", subjects_per_day=2),)))
    before = counts(own)
    for who in (WHO, DEAD, WHO):
        await match(client, who)
    assert ("natively",) not in grown(own, before)
    assert await reason(client, NOBODY) == "QUOTA_EXCEEDED"


async def test_a_grant_that_takes_nothing_from_the_cache_gets_nothing_from_it(own: RunningBroker, register: Register) -> None:
    register.add(REGISTERED, "张伟明")
    await put(own, register, grants=(grant(cache_max_age_s=0),))
    async with own.client() as client:
        before = counts(own)
        for _ in range(3):
            assert (await match(client, REGISTERED, interface=INTERFACE)).provenance.source == pb.SOURCE_UPSTREAM
        assert ("natively",) not in grown(own, before)


# --- the base changes under it ------------------------------------------------------------------------------------------


async def test_a_base_that_is_changed_or_loaded_anew_is_seen_at_once(own: RunningBroker, client: AsyncClient) -> None:
    new = resident_id(500)
    file = records.write_csv(own.directory / "new.csv", f"{new},李四,,,,")
    before = counts(own)
    assert (await match(client, new)).outcome == pb.OUTCOME_NOT_FOUND
    assert own.run_here("records", "upsert", BASE, str(file)).returncode == 0
    assert verdict(await match(client, new, {"name": "李四"})) == "MATCH"
    assert own.run_here("records", "delete", BASE, str(file)).returncode == 0
    assert (await match(client, new)).outcome == pb.OUTCOME_NOT_FOUND
    for name in ("甲", "乙", "丙"):
        records.load(own, f"{WHO},{name},,,,")
        assert verdict(await match(client, WHO, {"name": name})) == "MATCH"
        assert (await match(client, DEAD)).outcome == pb.OUTCOME_NOT_FOUND
    records.load(own)
    assert verdict(await match(client)) == "MATCH"
    assert grown(own, before)["natively",] == 10


async def test_what_was_loaded_anew_is_let_go_of(own: RunningBroker, client: AsyncClient) -> None:
    await match(client)
    await match(client, WHO, {"name": "x" * 300})  # which the core opens the base for
    assert len({line.split()[-1] for line in records.mapped_by(*own.fronts(), own.core_pid())}) == 1
    records.load(own)

    async def is_gone() -> bool:
        return not any("(deleted)" in line for line in records.mapped_by(*own.fronts(), own.core_pid()))

    await eventually(is_gone)


async def test_the_day_is_that_of_the_time_zone(own: RunningBroker, client: AsyncClient) -> None:
    until = min(today(far_away()), today(zoneinfo.ZoneInfo(DEFAULT_TIME_ZONE)))
    records.load(own, f"{WHO},张伟明,,,正常,{until}")
    before = counts(own)
    answer = await match(client)
    is_over = until < today(far_away())
    assert answer.status == (pb.SUBJECT_STATUS_EXPIRED if is_over else pb.SUBJECT_STATUS_VALID)
    assert grown(own, before)["natively",] == 1
    records.load(own)


async def test_a_record_that_takes_long_is_for_the_core(own: RunningBroker, client: AsyncClient) -> None:
    records.load(own, f"{WHO},张伟明,,{'建设路' * 200},,")
    before = counts(own)
    assert verdict(await match(client, WHO, {"address": "建设路"}), "address") == "MISMATCH"
    assert ("natively",) not in grown(own, before)
    records.load(own)


class Plain:
    """Comparisons by a channel that does not try again, under one token."""

    def __init__(self, broker: RunningBroker) -> None:
        self._channel = grpc.aio.insecure_channel(broker.target, options=(("grpc.enable_retries", 0),))
        self._token = f"Bearer {TokenSource(CONSUMER, broker.key_file)()}"

    async def reason(self) -> str:
        """Why a comparison is refused; "" if it is answered."""
        message = pb.MatchRequest(base=BASE, key={"resident_id": WHO}, asserted=NAME, purpose=PURPOSE)
        try:
            await ExchangeServiceStub(self._channel).Match(message, metadata=(("authorization", self._token),), timeout=5)
        except grpc.aio.AioRpcError as refusal:
            return decode(refusal).reason
        return ""

    async def close(self) -> None:
        await self._channel.close()


@pytest.fixture
async def plain(own: RunningBroker, client: AsyncClient) -> AsyncIterator[Plain]:
    """One that the front knows the caller of."""
    plain = Plain(own)
    assert await plain.reason() == ""
    before = counts(own)
    assert await plain.reason() == ""
    assert grown(own, before)["natively",] == 1
    yield plain
    await plain.close()


async def test_a_base_that_is_not_there_is_told_by_the_core(own: RunningBroker, plain: Plain) -> None:
    current = own.directory / "data" / "records" / BASE / "current"
    name = current.read_text()
    current.unlink()
    try:
        for _ in range(3):
            assert await plain.reason() == "RECORD_BASE_UNUSABLE"
    finally:
        current.write_text(name)
    assert await plain.reason() == ""


async def test_a_record_that_is_damaged_is_told_by_the_core(own: RunningBroker, plain: Plain) -> None:
    directory = own.directory / "data" / "records" / BASE
    before = counts(own)
    with (directory / (directory / "current").read_text().strip() / "data.mdb").open("r+b", buffering=0) as data:
        places = [at.start() for at in re.finditer("张伟明".encode(), data.read())]
        for byte, why in ((b"\xff", "RECORD_BASE_UNUSABLE"), ("张".encode()[:1], "")):
            for at in places:
                os.pwrite(data.fileno(), byte, at)
            assert [await plain.reason() for _ in range(3)] == [why] * 3
    assert grown(own, before)["natively",] == 3, "those behind the damage, and no other"


async def test_a_front_that_is_killed_leaves_nothing_that_matters(own: RunningBroker, client: AsyncClient) -> None:
    (front,) = own.fronts()
    os.kill(front, signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: own.fronts() not in ([], [front]))
    await asyncio.to_thread(own.wait_ready)
    records.load(own)
    async with own.client() as another:
        await eventually(lambda: answers_itself(own, another))
        assert verdict(await match(another)) == "MATCH"


@pytest.mark.usefixtures("client")
def test_places_of_killed_readers_are_used_again(own: RunningBroker) -> None:
    """LMDB has a place for each reader, and frees none by itself while another process, here the front, reads."""
    code = (
        "import os, signal, sys; from broker import config; from broker.records.store import Bases\n"
        "from tests.support import records\n"
        "bases = Bases(config.load(None)); bases.look_up(records.base(), {'resident_id': sys.argv[1]})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, **own.environment}
    killed = subprocess.run([sys.executable, "-c", code, WHO], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    bases = Bases(own.config)
    try:
        bases.look_up(records.base(), {"resident_id": WHO})
        places = bases.store(records.base())._environment.readers()
        assert str(os.getpid()) in places
        alive = [line.split()[0] for line in places.splitlines()[1:]]
        assert all(is_alive(int(pid)) for pid in alive), places
    finally:
        bases.close()


def test_a_front_imports_little() -> None:
    """Neither gRPC nor protobuf, and what records need only where there is something to compare."""
    program = (
        "import sys, broker.serve.front; early = 'broker.records.store' in sys.modules; import broker.serve.front_answers;"
        "print(early, [name for name in ('grpc', 'google.protobuf', 'sqlalchemy', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False []"
