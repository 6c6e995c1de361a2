"""`GrantService` on a running broker, for consumers on their port and operators on theirs: asking, deciding, finding."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import create_engine, text

from broker import config
from broker.client import CallFailed, TokenSource, decode, generate_key
from broker.model.catalogue import Catalogue, Consumer, ConsumerKey, Group
from broker.policy.browse import Selection
from broker.policy.standing import OPERATOR
from broker.serve.core import Core
from broker.services.grant_service import GrantService, _scope, _token
from broker.v1 import grants_pb2 as pb
from broker.v1.grants_pb2_grpc import GrantServiceStub
from tests.support.calling import WHO, ask
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue, grant, interface, provider
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually

APPROVER, SECOND, MEMBER, STRANGER = "police-desk", "police-night-desk", "notary", "library"
CALLERS = (CONSUMER, APPROVER, SECOND, MEMBER, STRANGER)
GROUP, COUNTER = "windows", "counters"
ASKS_FOR = {CONSUMER: CONSUMER, APPROVER: APPROVER, GROUP: MEMBER, COUNTER: SECOND}  # who asks, by the holder
LATER = Timestamp(seconds=int(dt.datetime(2099, 1, 1, tzinfo=dt.UTC).timestamp()))


def _terms(**changes: Any) -> pb.GrantTerms:
    values = {
        "consumer": CONSUMER,
        "interface": INTERFACE,
        "purposes": [PURPOSE],
        "fields": ["name"],
        "valid_from": Timestamp(seconds=1_700_000_000),
        "valid_until": LATER,
        "legal_basis": "《条例》第六条",
    }
    return pb.GrantTerms(**(values | changes))


class Desk:
    """Stubs of everybody who has to do with grants: each consumer on the public port, the operator on the admin socket."""

    def __init__(self, broker: RunningBroker, keys: dict[str, Path]) -> None:
        self._broker = broker
        self._tokens = {who: TokenSource(who, key) for who, key in keys.items()}
        self._public = grpc.aio.insecure_channel(broker.target)
        self._admin = grpc.aio.insecure_channel(f"unix:{broker.directory}/admin.sock")

    async def close(self) -> None:
        await self._public.close()
        await self._admin.close()

    async def call(self, method: str, who: str, **request: Any) -> Any:
        stub: Any = GrantServiceStub(self._public if who in self._tokens else self._admin)
        message = getattr(pb, f"{method}Request")(**request)
        metadata = (("authorization", f"Bearer {self._tokens[who]()}"),) if who in self._tokens else ()
        return await getattr(stub, method)(message, metadata=metadata)

    async def request(self, who: str = CONSUMER, **terms: Any) -> str:
        answer = await self.call("RequestGrant", who, terms=_terms(**terms), actor="李")
        return str(answer.grant.id)

    async def act(self, verb: str, who: str, grant_id: str, reason: str = "因故") -> pb.Grant:
        answer = await self.call(f"{verb}Grant", who, id=grant_id, actor="王", reason=reason)
        found: pb.Grant = answer.grant
        return found

    async def refused(self, method: str, who: str, **request: Any) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await self.call(method, who, **request)
        return decode(refusal.value)

    async def get(self, who: str, grant_id: str) -> pb.Grant:
        answer = await self.call("GetGrant", who, id=grant_id)
        found: pb.Grant = answer.grant
        return found

    async def listed(self, who: str, **wanted: Any) -> list[str]:
        return [grant.id for grant in (await self.call("ListGrants", who, **wanted)).grants]


@pytest.fixture(scope="module")
def keys(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    directory = tmp_path_factory.mktemp("keys")
    yield {who: broker.key_file if who == CONSUMER else directory / who for who in CALLERS}


@pytest.fixture(scope="module")
def consumers(broker: RunningBroker, keys: dict[str, Path]) -> tuple[Consumer, ...]:
    public = {who: broker.public_key if who == CONSUMER else generate_key(key) for who, key in keys.items()}
    return tuple(Consumer(id=who, name=who, keys=(ConsumerKey(id="k1", public_key=key),)) for who, key in public.items())


def _catalogue(register: Register, consumers: tuple[Consumer, ...], *grants: Any) -> Catalogue:
    own = provider(register.base_url, approvers=[APPROVER, SECOND])
    other = provider(register.base_url, id="city.housing", approvers=[STRANGER])
    plain = catalogue(
        register.base_url,
        "",
        providers=(own, other),
        interfaces=(interface(), interface(id="city.house", provider="city.housing")),
        consumers=consumers,
        grants=grants,
    )
    groups = Group(id=GROUP, name="窗口", members=(MEMBER,)), Group(id=COUNTER, name="柜台", members=(SECOND,))
    return msgspec.structs.replace(plain, groups=groups)


@pytest.fixture
async def desk(
    broker: RunningBroker, register: Register, consumers: tuple[Consumer, ...], keys: dict[str, Path]
) -> AsyncIterator[Desk]:
    register.add(WHO, "张三", ZT="正常")
    await broker.put(_catalogue(register, consumers))
    await broker.purge(all=True)
    desk = Desk(broker, keys)
    await _forget_all(broker, desk)
    yield desk
    await desk.close()


async def _forget_all(broker: RunningBroker, desk: Desk) -> None:
    """Take everything out of force as it should be, and then leave no trace of it, as nobody else could."""
    states = [pb.GRANT_STATE_REQUESTED, pb.GRANT_STATE_APPROVED, pb.GRANT_STATE_PAUSED]
    for left in await desk.listed("operator", states=states, page_size=1000):
        await desk.act("Revoke", "operator", left)
    _execute(broker, "DELETE FROM grant_life")
    _execute(broker, "DELETE FROM grant_transition")


def _execute(broker: RunningBroker, statement: str, **values: str) -> None:
    with create_engine(broker.config.expand(broker.config.control.url)).begin() as connection:
        connection.execute(text(statement), values)


async def test_from_a_request_to_a_refusal(broker: RunningBroker, desk: Desk, register: Register) -> None:
    async with broker.client() as client:
        with pytest.raises(CallFailed, match="no grant"):
            await ask(client)
        asked = await desk.request()
        with pytest.raises(CallFailed, match="no grant"):
            await ask(client)
        approved = await desk.act("Approve", APPROVER, asked, reason="")
        assert approved.state == pb.GRANT_STATE_APPROVED
        assert (await ask(client)).fields == {"name": "张三"}, "in force when the approval has been answered"
        await desk.act("Pause", APPROVER, asked)
        with pytest.raises(CallFailed, match="no grant"):
            await ask(client)
        await desk.act("Approve", APPROVER, asked)
        assert (await ask(client)).provenance.source == "CACHE"
        await desk.act("Revoke", APPROVER, asked)
        with pytest.raises(CallFailed, match="no grant"):
            await ask(client)
    assert register.calls == 1


async def test_a_grant_tells_its_life(desk: Desk) -> None:
    asked = await desk.request(rate_per_second=2.5, hours=["mon-fri 08:30-17:30"], cache_max_age_s=0, matters=["M1"])
    waiting = await desk.get(APPROVER, asked)
    assert (waiting.state, waiting.declared, waiting.HasField("decide_by")) == (pb.GRANT_STATE_REQUESTED, False, True)
    assert waiting.terms == _terms(
        rate_per_second=2.5,
        burst=20,
        hours=["mon-fri 08:30-17:30"],
        cache_max_age_s=0,
        matters=["M1"],
        disclosure=pb.DISCLOSURE_DATA,
    )
    told = await desk.act("Reject", APPROVER, asked, reason="材料不全")
    assert not told.HasField("decide_by")
    steps = [(step.state, step.actor, step.reason) for step in told.transitions]
    assert steps == [
        (pb.GRANT_STATE_REQUESTED, f"{CONSUMER}/李", "《条例》第六条"),
        (pb.GRANT_STATE_REJECTED, f"{APPROVER}/王", "材料不全"),
    ]
    assert told == await desk.get(CONSUMER, asked)
    assert (await desk.refused("ApproveGrant", APPROVER, id=asked, actor="王")).reason == "WRONG_STATE"


# Who may take which step, by who holds the grant and where it is. "" is done, else the reason of the refusal.
NOT_FOUND, NOT_ALLOWED = "NOT_FOUND", "NOT_ALLOWED"
MATRIX = [
    # holder, state, verb, {caller: outcome}
    (CONSUMER, "REQUESTED", "Approve", {CONSUMER: NOT_ALLOWED, APPROVER: "", MEMBER: NOT_FOUND, STRANGER: NOT_FOUND}),
    (CONSUMER, "REQUESTED", "Reject", {CONSUMER: NOT_ALLOWED, APPROVER: "", MEMBER: NOT_FOUND, STRANGER: NOT_FOUND}),
    (CONSUMER, "REQUESTED", "Revoke", {CONSUMER: "", APPROVER: NOT_ALLOWED, MEMBER: NOT_FOUND, STRANGER: NOT_FOUND}),
    (CONSUMER, "APPROVED", "Pause", {CONSUMER: NOT_ALLOWED, APPROVER: "", MEMBER: NOT_FOUND, STRANGER: NOT_FOUND}),
    (CONSUMER, "APPROVED", "Revoke", {CONSUMER: "", APPROVER: "", MEMBER: NOT_FOUND, STRANGER: NOT_FOUND}),
    (APPROVER, "REQUESTED", "Approve", {CONSUMER: NOT_FOUND, APPROVER: NOT_ALLOWED, SECOND: ""}),
    (APPROVER, "REQUESTED", "Reject", {APPROVER: "", SECOND: ""}),
    (APPROVER, "APPROVED", "Pause", {APPROVER: ""}),
    (COUNTER, "REQUESTED", "Approve", {APPROVER: "", SECOND: NOT_ALLOWED}),
    (GROUP, "REQUESTED", "Approve", {CONSUMER: NOT_FOUND, APPROVER: "", MEMBER: NOT_ALLOWED, STRANGER: NOT_FOUND}),
    (GROUP, "REQUESTED", "Revoke", {CONSUMER: NOT_FOUND, APPROVER: NOT_ALLOWED, MEMBER: "", STRANGER: NOT_FOUND}),
    (GROUP, "APPROVED", "Revoke", {CONSUMER: NOT_FOUND, APPROVER: "", MEMBER: NOT_ALLOWED, STRANGER: NOT_FOUND}),
]


@pytest.mark.parametrize(
    ("holder", "state", "verb", "outcomes"), MATRIX, ids=lambda part: part if isinstance(part, str) else ""
)
async def test_who_may_do_what(desk: Desk, holder: str, state: str, verb: str, outcomes: dict[str, str]) -> None:
    for who, outcome in {**outcomes, "operator": ""}.items():
        asked = await desk.request(ASKS_FOR[holder], consumer=holder)
        if state == "APPROVED":
            await desk.act("Approve", SECOND, asked)
        if outcome:
            before = await desk.get("operator", asked)
            failure = await desk.refused(f"{verb}Grant", who, id=asked, actor="王", reason="因故")
            assert (who, failure.reason, failure.origin) == (who, outcome, "CLIENT")
            assert await desk.get("operator", asked) == before
        else:
            assert (await desk.act(verb, who, asked)).transitions[-1].actor == f"{who}/王"


async def test_who_may_ask_for_whom(desk: Desk) -> None:
    assert await desk.request(MEMBER, consumer=GROUP)
    assert await desk.request("operator")
    for who, holder in ((MEMBER, CONSUMER), (CONSUMER, GROUP), (APPROVER, CONSUMER)):
        failure = await desk.refused("RequestGrant", who, terms=_terms(consumer=holder), actor="李")
        assert (failure.reason, failure.code.name) == ("NOT_ALLOWED", "PERMISSION_DENIED")


async def test_everybody_sees_what_is_theirs(desk: Desk) -> None:
    mine, groups, house = (
        await desk.request(),
        await desk.request(MEMBER, consumer=GROUP),
        await desk.request(interface="city.house"),
    )
    assert await desk.listed(CONSUMER) == [mine, house]
    assert await desk.listed(MEMBER) == [groups]
    assert await desk.listed(APPROVER) == [mine, groups]
    assert await desk.listed(STRANGER) == [house]
    assert await desk.listed("operator") == [mine, groups, house]
    assert await desk.listed("operator", consumer=GROUP) == [groups]
    assert await desk.listed(APPROVER, interface="city.house") == []
    for who, unseen in ((MEMBER, mine), (STRANGER, groups), (APPROVER, house), (CONSUMER, "no-such")):
        assert (await desk.refused("GetGrant", who, id=unseen)).code.name == "NOT_FOUND"


async def test_nobody_is_heard_without_a_token(broker: RunningBroker) -> None:
    async with grpc.aio.insecure_channel(broker.target) as channel:
        stub: Any = GrantServiceStub(channel)
        for method in pb.DESCRIPTOR.services_by_name["GrantService"].methods:
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await getattr(stub, method.name)(getattr(pb, f"{method.name}Request")())
            assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_what_cannot_be_an_identifier(desk: Desk) -> None:
    for unheard in ("g\0", "G1", "中"):
        for method in ("GetGrant", "ApproveGrant", "RejectGrant", "PauseGrant", "RevokeGrant"):
            more = {} if method == "GetGrant" else {"actor": "王", "reason": "因故"}
            assert (await desk.refused(method, APPROVER, id=unheard, **more)).reason == "NOT_FOUND"
        for name in ("consumer", "interface"):
            assert list((await desk.refused("ListGrants", APPROVER, **{name: unheard})).violations) == [name]
        token = _token(unheard, _scope(OPERATOR, Selection()))
        assert list((await desk.refused("ListGrants", "operator", page_token=token)).violations) == ["page_token"]


async def test_many_who_ask_of_a_slow_control_plane_keep_others_from_nothing(broker: RunningBroker) -> None:
    """The loop's own threads read the catalogue and reserve quotas, however many grants are asked for."""
    core = Core(config.load(None, {"BROKER__DATA_DIR": str(broker.directory / "slow")}), 0)
    service = GrantService(core._exchange, core._control.database, core._exchange.clock, known=False)  # type: ignore[arg-type]
    free = threading.Event()
    waiting = [asyncio.ensure_future(service._in_thread(free.wait)) for _ in range(100)]
    assert await asyncio.to_thread(lambda: True)
    assert sum(thread.name.startswith("grants") for thread in threading.enumerate()) == 2
    free.set()
    assert all(await asyncio.gather(*waiting))
    await core._close()


async def test_pages(desk: Desk) -> None:
    asked = [await desk.request() for _ in range(5)]
    await desk.act("Approve", APPROVER, asked[2])
    waiting, found, token = pb.GRANT_STATE_REQUESTED, [], ""
    for _ in range(2):
        page = await desk.call("ListGrants", CONSUMER, page_size=2, page_token=token, states=[waiting])
        found += [grant.id for grant in page.grants]
        token = page.next_page_token
    assert found == [asked[0], asked[1], asked[3], asked[4]]
    assert token == "", "the last page says that it is"
    token = (await desk.call("ListGrants", CONSUMER, page_size=2)).next_page_token
    wrong = [
        (CONSUMER, {"page_token": "x"}),
        (CONSUMER, {"page_token": "中"}),
        (CONSUMER, {"page_token": token[:-1]}),
        (CONSUMER, {"page_token": token + "AAAA"}),
        (CONSUMER, {"page_token": "A" * 1000}),
        (CONSUMER, {"page_token": token, "states": [waiting]}),  # of another query
        (APPROVER, {"page_token": token}),  # of somebody else
    ]
    for who, request in wrong:
        assert list((await desk.refused("ListGrants", who, **request)).violations) == ["page_token"]
    assert list((await desk.refused("ListGrants", CONSUMER, page_size=-1)).violations) == ["page_size"]
    for states in ([0], [7]):
        assert list((await desk.refused("ListGrants", CONSUMER, states=states)).violations) == ["states"]


async def test_a_page_is_never_larger_than_a_message_may_be(desk: Desk) -> None:
    asked = [await desk.request(legal_basis="法" * 5000) for _ in range(40)]
    page = await desk.call("ListGrants", CONSUMER, page_size=1000)
    assert 1 < len(page.grants) < 40
    rest = await desk.call("ListGrants", CONSUMER, page_size=1000, page_token=page.next_page_token)
    assert [grant.id for grant in (*page.grants, *rest.grants)] == asked


async def test_what_is_overdue_and_what_is_over(broker: RunningBroker, desk: Desk) -> None:
    late, waiting, short = await desk.request(), await desk.request(), await desk.request()
    await desk.act("Approve", APPROVER, short)
    _execute(broker, "UPDATE grant_life SET decide_by = '2020-01-01 00:00:00.000000' WHERE id = :id", id=late)
    assert await desk.listed(APPROVER, overdue=True) == [late]
    assert await desk.listed(CONSUMER, states=[pb.GRANT_STATE_REQUESTED]) == [late, waiting]
    soon = Timestamp()
    soon.FromDatetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1))
    ending = await desk.request(valid_until=soon)
    await desk.act("Approve", APPROVER, ending)
    await eventually(lambda: _is_expired(desk, ending))
    assert await desk.listed(CONSUMER, states=[pb.GRANT_STATE_EXPIRED]) == [ending]
    assert (await desk.refused("PauseGrant", APPROVER, id=ending, actor="王")).reason == "WRONG_STATE"


async def _is_expired(desk: Desk, grant_id: str) -> bool:
    return (await desk.get(CONSUMER, grant_id)).state == pb.GRANT_STATE_EXPIRED


async def test_a_request_is_told_everything_that_is_wrong_with_it(desk: Desk) -> None:
    wrong = {
        "terms.purposes": {"purposes": []},
        "terms.fields": {"fields": ["salary"]},
        "terms.interface": {"interface": "no.such"},
        "terms.valid_until": {"valid_until": None},
        "terms.valid_from": {"valid_from": Timestamp(seconds=10**15)},
        "terms.disclosure": {"disclosure": 9},
        "terms.burst": {"burst": 4_000_000_000},
    }
    for field, terms in wrong.items():
        failure = await desk.refused("RequestGrant", CONSUMER, terms=_terms(**terms), actor="李")
        assert (failure.code.name, list(failure.violations)) == ("INVALID_ARGUMENT", [field])
    both = _terms(purposes=["a b"], rate_per_second=-1)
    failure = await desk.refused("RequestGrant", CONSUMER, terms=both, actor="李")
    assert list(failure.violations) == ["terms.purposes[0]", "terms.rate_per_second"]


async def test_a_person_and_a_reason_are_named(desk: Desk) -> None:
    asked = await desk.request()
    for actor in ("", "李\n王", "\x1b[2J", "长" * 50):
        for method, request in (("RequestGrant", {"terms": _terms()}), ("RejectGrant", {"id": asked, "reason": "x"})):
            assert list(
                (await desk.refused(method, APPROVER if "id" in request else CONSUMER, actor=actor, **request)).violations
            ) == ["actor"]
    for reason in ("", " ", "x" * 2000, "a\nb"):
        assert list((await desk.refused("RejectGrant", APPROVER, id=asked, actor="王", reason=reason)).violations) == ["reason"]


async def test_the_same_request_makes_one_grant(desk: Desk) -> None:
    request = {"terms": _terms(), "actor": "李", "request_id": "7f0e"}
    first = (await desk.call("RequestGrant", CONSUMER, **request)).grant
    assert (await desk.call("RequestGrant", CONSUMER, **request)).grant == first
    failure = await desk.refused("RequestGrant", CONSUMER, **(request | {"terms": _terms(fields=["status"])}))
    assert list(failure.violations) == ["request_id"]
    assert await desk.listed(CONSUMER) == [first.id]


async def test_a_declared_grant_can_be_paused(
    broker: RunningBroker, desk: Desk, register: Register, consumers: tuple[Consumer, ...]
) -> None:
    declared = _catalogue(register, consumers, grant())
    await broker.put(declared)
    assert (await desk.get(CONSUMER, "g1")).declared
    async with broker.client() as client:
        assert (await ask(client)).found
        await desk.act("Pause", APPROVER, "g1")
        broker.apply(declared)
        with pytest.raises(CallFailed, match="no grant"):
            await ask(client)
        await desk.act("Approve", APPROVER, "g1")
        assert (await ask(client)).found
