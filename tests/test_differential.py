"""The front against the core: whatever is asked, valid or not, both answer alike, but for ids, ages and what is left of limits.

One broker with a front and one without, over the same provider and the same record base. The oracle of the front is the core.
What must not go in here: what an answer should be.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

import grpc
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.client import TokenSource
from broker.model.catalogue import Catalogue
from broker.v1 import exchange_pb2 as pb
from tests.support import records
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue, consumer, grant, interface, provider
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker

CALL, MATCH = "/broker.v1.ExchangeService/Call", "/broker.v1.ExchangeService/Match"
ANSWERS: dict[str, type[Any]] = {CALL: pb.CallResponse, MATCH: pb.MatchResponse}
KNOWN = [resident_id(number) for number in range(4)]
UNKNOWN = [resident_id(900), resident_id(901)]
_VARYING = ("broker-remaining-burst", "grpc-status-details-bin", "date")

BASE = records.BASE
ODD_TARGETS: list[dict[str, str]] = [{"interface": BASE}, {"base": INTERFACE}, {"base": "no.such"}, {"interface": ""}, {}]
ARGUMENTS = {
    "resident_id": {"type": "resident_id"},
    "name": {"type": "person_name", "required": False, "max_chars": 8},
    "since": {"type": "date", "required": False},
}
TERMS: tuple[dict[str, Any], ...] = (
    {"fields": ["name", "status"], "cache_max_age_s": 3600},
    {"purposes": ["with-operator"], "operator_required": True},
    {"purposes": ["with-device"], "device_required": True, "matters": ["m1"]},
    {"purposes": ["by-unit"], "caller_units": ["u1", "u2"], "quota_per_day": 10**9, "quota_total": 10**9},
    {"purposes": ["few-subjects"], "subjects_per_day": 3},
    {"purposes": ["verdict"], "disclosure": "VERDICT_ONLY", "fields": ["name", "birth_date"]},
    {"purposes": ["over"], "valid_until": dt.datetime(2021, 1, 1, tzinfo=dt.UTC)},
)
OF_PROVIDER = tuple(grant(**terms, id=f"p{number}") for number, terms in enumerate(TERMS))
OF_BASE = tuple(records.granted(**terms, id=f"r{number}") for number, terms in enumerate(TERMS))
PURPOSES = ["with-operator", "with-device", "by-unit", "few-subjects", "verdict", "over", "none", ""]
STANDING = {"field": "status", "valid": ["正常"], "deceased": ["死亡"]}
# What is asserted: right, near, wrong, and what nobody asserts.
VALUES = {
    "name": ["张三", "张伟明", "张玮明", "李娜", "张?", " ", "\u3000", "", "名" * 300, "名" * 600, "阿依古丽•买买提"],
    "birth_date": ["1980-01-01", "1980年1月2日", "19800103", "1980-13-01", "x"],
    "status": ["正常", "注销", "死亡"],
    "address": ["云鹤市松涛区建设路12号3栋2单元501", "建设路", "云鹤市"],
    "until": ["2099-12-31", "2020-12-31"],
    "resident_id": [*(resident_id(number) for number in range(4)), "1"],
    "no_such": ["x"],
}


Requests = st.SearchStrategy[tuple[bytes, list[tuple[str, str]]]]


class Pair(NamedTuple):
    """The two brokers, a channel to each, and a token for each: a front answers only whom it knows."""

    brokers: tuple[RunningBroker, RunningBroker]
    channels: tuple[grpc.aio.Channel, grpc.aio.Channel]
    tokens: tuple[TokenSource, TokenSource]


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningBroker, RunningBroker]]:
    pair = tuple(RunningBroker(tmp_path_factory.mktemp("d"), BROKER__GRPC__FRONTS=fronts) for fronts in ("1", "0"))
    for running in pair:
        running.start()
        records.load_once(running)
    yield pair[0], pair[1]
    for running in pair:
        assert running.stop() == 0


@pytest_asyncio.fixture
async def pair(brokers: tuple[RunningBroker, RunningBroker], register: Register) -> AsyncIterator[Pair]:
    for who in KNOWN:
        register.add(who, "张三", ZT="正常")
    interfaces = (
        interface(arguments=ARGUMENTS),
        interface(version=2, standing=STANDING),
        interface(id="never.cached", freshness={"cacheable": False, "ttl_s": 0, "negative_ttl_s": 0}),
        records.interface(),
    )
    for running in brokers:
        await running.put(
            Catalogue(
                providers=(provider(register.base_url), records.provider()),
                bases=(records.base(),),
                interfaces=interfaces,
                consumers=(consumer(running.public_key),),
                grants=OF_PROVIDER + OF_BASE,
            )
        )
        await running.purge(all=True)
    channels = [grpc.aio.insecure_channel(running.target) for running in brokers]
    tokens = [TokenSource(CONSUMER, running.key_file) for running in brokers]
    yield Pair(brokers, (channels[0], channels[1]), (tokens[0], tokens[1]))
    for channel in channels:
        await channel.close()


def mostly(good: Sequence[Any], odd: Sequence[Any], times: int = 4) -> st.SearchStrategy[Any]:
    """One of the good, now and then an odd one. Hypothesis likes the ends of a range, so the good stand there."""
    return st.sampled_from([*[*good] * times, *odd, *[*good] * times])


@st.composite
def calls(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, str]]]:
    """A request, mostly good, and its metadata."""
    request = pb.CallRequest(
        interface=draw(mostly([INTERFACE, INTERFACE, BASE], ["never.cached", "no.such", "", "x" * 200])),
        purpose=draw(mostly([PURPOSE], PURPOSES, 6)),
        matter=draw(st.sampled_from(["", "", "m1", "m2"])),
        operator=draw(st.sampled_from(["", "", "op", "操作员"])),
        case_id=draw(mostly(["", "c1", "c2"], ["c" * 129])),
        encoding=draw(mostly([0, 1, 2], [7])),
        version=draw(mostly([0], [1, 2, 2, 3])),
        arguments=draw(arguments()),
    )
    if draw(st.sampled_from([False] * 4 + [True])):
        request.max_age.seconds = draw(st.sampled_from([0, 5, 3600, -1]))
    return draw(damaged(request.SerializeToString())), draw(metadata())


@st.composite
def matches(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, str]]]:
    """A comparison, mostly good, and its metadata."""
    names = draw(
        st.one_of(
            mostly([("name",)], [("name", "status"), ("name", "birth_date")], 2),
            st.lists(st.sampled_from(list(VALUES)), max_size=4, unique=True),
            st.just(("name",)),
        )
    )
    request = pb.MatchRequest(
        **draw(mostly([{"base": BASE}, {"interface": INTERFACE}], ODD_TARGETS)),
        key=draw(st.one_of(st.sampled_from(KNOWN).map(lambda who: {"resident_id": who}), arguments())),
        asserted={name: draw(mostly(VALUES[name][:2], VALUES[name][2:])) for name in names},
        purpose=draw(mostly([PURPOSE, "verdict"], PURPOSES)),
        matter=draw(st.sampled_from(["", "", "m1"])),
        operator=draw(st.sampled_from(["", "", "op"])),
        case_id=draw(mostly(["", "c1"], ["c" * 129])),
    )
    return draw(damaged(request.SerializeToString())), draw(metadata())


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    wrong = [data[:-1], data + b"\x08", b"\xff" + data, data + b"\xa2\x06\x01x", data + b"\x0a\x00", data + b"\x12\x01x"]
    return mostly([data], wrong, 24)


def arguments() -> st.SearchStrategy[dict[str, str]]:
    who = mostly(KNOWN, [*UNKNOWN, KNOWN[0].lower(), f" {KNOWN[1]}", "１" + KNOWN[0][1:], "1" * 18, ""])
    name = st.sampled_from(["张三", "欧阳·娜", "a  b", "Zhang San", "", "張 三", "九个字九个字九个字"])
    since = st.sampled_from(["2020-02-29", "2020-02-29", "2021-02-29", "20200229", "2020/2/29"])
    plain = st.fixed_dictionaries({"resident_id": who})
    full = st.fixed_dictionaries({"resident_id": who}, optional={"name": name, "since": since, "other": st.just("x")})
    return st.one_of(plain, plain, full)


def metadata() -> st.SearchStrategy[list[tuple[str, str]]]:
    said = st.sampled_from(
        [("operator-id", "op"), ("operator-unit", "u1"), ("operator-unit", "u3"), ("device-id", "d1"), ("x-y", "z")]
    )
    return st.one_of(st.just([]), st.lists(said, max_size=3), st.just([]))


async def _outcome(
    channel: grpc.aio.Channel, method: str, token: str | None, data: bytes, said: list[tuple[str, str]]
) -> dict[str, Any]:
    call = channel.unary_unary(method)(data, metadata=[*said, *([("authorization", token)] if token else [])], timeout=10)
    try:
        answer = ANSWERS[method].FromString(await call)
        answer.provenance.ClearField("age")
        answer.provenance.ClearField("fetched_at")
        answer.ClearField("audit_id")
        answered: Any = answer.SerializeToString(deterministic=True)
    except grpc.aio.AioRpcError:
        answered = None
    trailing = {key: value for key, value in await call.trailing_metadata() or () if key not in _VARYING}
    return {
        "code": await call.code(),
        "message": re.sub(r"[0-9.]+ s$", "… s", await call.details() or ""),
        "answer": answered,
        "trailing": trailing,
        "details": _details(dict(await call.trailing_metadata() or ())),
        "initial": dict(await call.initial_metadata() or ()),
    }


def _details(trailing: dict[str, Any]) -> list[Any]:
    """What the status says beside code and message, without the request's id and how long to wait."""
    status = Status.FromString(trailing.get("grpc-status-details-bin", b""))
    info = ErrorInfo()
    found: list[Any] = []
    for detail in status.details:
        if detail.Unpack(info):
            found.append((info.reason, info.domain, dict(info.metadata)))
        elif not detail.type_url.endswith(("RequestInfo", "RetryInfo")):
            found.append(detail.SerializeToString())
    return found


async def _compare(
    pair: Pair, data: bytes, said: list[tuple[str, str]], token: str | None = "", method: str = CALL
) -> grpc.StatusCode:
    tokens = [f"Bearer {own()}" if token == "" else token for own in pair.tokens]
    outcomes = [await _outcome(channel, method, own, data, said) for channel, own in zip(pair.channels, tokens, strict=True)]
    versions = [outcome["trailing"].pop("broker-snapshot-version", None) for outcome in outcomes]
    assert (versions[0] is None) == (versions[1] is None)
    assert outcomes[0] == outcomes[1]
    return outcomes[0]["code"]


def _answered(pair: Pair) -> float:
    lines = pair.brokers[0].metrics().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("broker_front_handling_seconds_count"))


@pytest.mark.parametrize(
    ("method", "requests", "examples"), [(CALL, calls(), 400), (MATCH, matches(), 200)], ids=["call", "match"]
)
async def test_front_and_core_answer_alike(pair: Pair, method: str, requests: Requests, examples: int) -> None:
    """Thousands of requests, good and bad, each asked of both twice, so that the second may be a hit."""
    loop = asyncio.get_running_loop()
    codes: dict[grpc.StatusCode, int] = {}
    before = _answered(pair)

    async def twice(data: bytes, said: list[tuple[str, str]]) -> None:
        for _ in range(2):
            code = await _compare(pair, data, said, method=method)
            codes[code] = codes.get(code, 0) + 1

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests)
    def run(call: tuple[bytes, list[tuple[str, str]]]) -> None:
        asyncio.run_coroutine_threadsafe(twice(*call), loop).result(30)

    await asyncio.to_thread(run)
    wanted = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED}
    assert wanted <= codes.keys(), "the requests are not only of one kind"
    assert _answered(pair) - before > 30, f"too few that the front has answered of its own, of {codes}"


@pytest.mark.parametrize(
    "token",
    [None, "", "Bearer", "Bearer ", "Bearer x", "bearer  x", "Basic eA==", "Bearer " + "x" * 5000],
    ids=["none", "good", "no-token", "empty", "nonsense", "two-spaces", "basic", "long"],
)
async def test_whatever_is_shown_is_judged_alike(pair: Pair, token: str | None) -> None:
    request = pb.CallRequest(interface=INTERFACE, arguments={"resident_id": KNOWN[0]}, purpose=PURPOSE).SerializeToString()
    for _ in range(2):
        code = await _compare(pair, request, [], token)
    assert (code is grpc.StatusCode.OK) == (token == "")


async def test_a_limit_is_used_up_alike(pair: Pair, register: Register) -> None:
    narrow = (grant(rate_per_second=0.001, burst=3, quota_per_day=1000),)
    for running in pair.brokers:
        await running.put(catalogue(register.base_url, running.public_key, grants=narrow))
    request = pb.CallRequest(interface=INTERFACE, arguments={"resident_id": KNOWN[0]}, purpose=PURPOSE).SerializeToString()
    codes = [await _compare(pair, request, []) for _ in range(5)]
    assert codes == [grpc.StatusCode.OK] * 3 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
