"""The front against the core: whatever is asked, valid or not, both answer alike, but for ids, ages and what is left of limits.

One broker with a front and one without, over the same provider. The oracle of the front is the core. What must not go in here:
what an answer should be.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import grpc
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.client import TokenSource
from broker.v1 import exchange_pb2 as pb
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue, grant, interface
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker

METHOD = "/broker.v1.ExchangeService/Call"
KNOWN = [resident_id(number) for number in range(4)]
UNKNOWN = [resident_id(900), resident_id(901)]
_VARYING = ("broker-remaining-burst", "grpc-status-details-bin", "date")

ARGUMENTS = {
    "resident_id": {"type": "resident_id"},
    "name": {"type": "person_name", "required": False, "max_chars": 8},
    "since": {"type": "date", "required": False},
}
GRANTS = (
    grant(fields=["name", "status"], cache_max_age_s=3600),
    grant(id="g2", purposes=["with-operator"], operator_required=True),
    grant(id="g3", purposes=["with-device"], device_required=True, matters=["m1"]),
    grant(id="g4", purposes=["by-unit"], caller_units=["u1", "u2"], quota_per_day=10**9, quota_total=10**9),
    grant(id="g5", purposes=["few-subjects"], subjects_per_day=3),
    grant(id="g6", purposes=["verdict"], disclosure="VERDICT_ONLY"),
    grant(id="g7", purposes=["over"], valid_until=dt.datetime(2021, 1, 1, tzinfo=dt.UTC)),
)


class Pair(NamedTuple):
    """The two brokers, and a channel to each."""

    brokers: tuple[RunningBroker, RunningBroker]
    channels: tuple[grpc.aio.Channel, grpc.aio.Channel]


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningBroker, RunningBroker]]:
    pair = tuple(RunningBroker(tmp_path_factory.mktemp("d"), BROKER__GRPC__FRONTS=fronts) for fronts in ("1", "0"))
    for running in pair:
        running.start()
    yield pair[0], pair[1]
    for running in pair:
        assert running.stop() == 0


@pytest_asyncio.fixture
async def pair(brokers: tuple[RunningBroker, RunningBroker], register: Register) -> AsyncIterator[Pair]:
    for who in KNOWN:
        register.add(who, "张三", ZT="正常")
    interfaces = (
        interface(arguments=ARGUMENTS),
        interface(version=2),
        interface(id="never.cached", freshness={"cacheable": False, "ttl_s": 0, "negative_ttl_s": 0}),
    )
    for running in brokers:
        await running.put(catalogue(register.base_url, running.public_key, interfaces=interfaces, grants=GRANTS))
        await running.purge(all=True)
    channels = [grpc.aio.insecure_channel(running.target) for running in brokers]
    yield Pair(brokers, (channels[0], channels[1]))
    for channel in channels:
        await channel.close()


@st.composite
def calls(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, str]]]:
    """A request, mostly good, and its metadata."""
    request = pb.CallRequest(
        interface=draw(st.sampled_from([INTERFACE] * 20 + ["never.cached", "no.such", "", "x" * 200])),
        purpose=draw(
            st.sampled_from(
                [PURPOSE] * 12 + ["with-operator", "with-device", "by-unit", "few-subjects", "verdict", "over", "none", ""]
            )
        ),
        matter=draw(st.sampled_from(["", "", "m1", "m2"])),
        operator=draw(st.sampled_from(["", "", "op", "操作员"])),
        case_id=draw(st.sampled_from(["", "c1", *["c2"] * 6, "c" * 129])),
        encoding=draw(st.sampled_from([0, 0, 1, 2, 2, 1, 1, 2, 7])),
        version=draw(st.sampled_from([0] * 8 + [1, 2, 2, 3])),
        arguments=draw(arguments()),
    )
    if draw(st.sampled_from([False] * 4 + [True])):
        request.max_age.seconds = draw(st.sampled_from([0, 5, 3600, -1]))
    data = request.SerializeToString()
    if draw(st.sampled_from([False] * 9 + [True])):
        data = draw(st.sampled_from([data[:-1], data + b"\x08", b"\xff" + data, data + b"\xa2\x06\x01x"]))
    return data, draw(metadata())


def arguments() -> st.SearchStrategy[dict[str, str]]:
    who = st.sampled_from([*KNOWN * 6, *UNKNOWN, KNOWN[0].lower(), f" {KNOWN[1]}", "１" + KNOWN[0][1:], "1" * 18, ""])
    name = st.sampled_from(["张三", "欧阳·娜", "a  b", "Zhang San", "", "張 三", "九个字九个字九个字"])
    since = st.sampled_from(["2020-02-29", "2020-02-29", "2021-02-29", "20200229", "2020/2/29"])
    plain = st.fixed_dictionaries({"resident_id": who})
    full = st.fixed_dictionaries({"resident_id": who}, optional={"name": name, "since": since, "other": st.just("x")})
    return st.one_of(plain, plain, full)


def metadata() -> st.SearchStrategy[list[tuple[str, str]]]:
    said = st.sampled_from(
        [("operator-id", "op"), ("operator-unit", "u1"), ("operator-unit", "u3"), ("device-id", "d1"), ("x-y", "z")]
    )
    return st.lists(said, max_size=3)


async def _outcome(channel: grpc.aio.Channel, token: str | None, data: bytes, said: list[tuple[str, str]]) -> dict[str, Any]:
    call = channel.unary_unary(METHOD)(data, metadata=[*said, *([("authorization", token)] if token else [])], timeout=10)
    try:
        answer = pb.CallResponse.FromString(await call)
        answer.provenance.ClearField("age")
        answer.provenance.ClearField("fetched_at")
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


async def _compare(pair: Pair, data: bytes, said: list[tuple[str, str]], token: str | None = "") -> grpc.StatusCode:
    tokens = [f"Bearer {TokenSource(CONSUMER, running.key_file)()}" if token == "" else token for running in pair.brokers]
    outcomes = [await _outcome(channel, own, data, said) for channel, own in zip(pair.channels, tokens, strict=True)]
    versions = [outcome["trailing"].pop("broker-snapshot-version", None) for outcome in outcomes]
    assert (versions[0] is None) == (versions[1] is None)
    assert outcomes[0] == outcomes[1]
    return outcomes[0]["code"]


def _answered(pair: Pair) -> float:
    lines = pair.brokers[0].metrics().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("broker_front_handling_seconds_count"))


async def test_front_and_core_answer_alike(pair: Pair) -> None:
    """Thousands of requests, good and bad, each asked of both twice, so that the second may be a hit."""
    loop = asyncio.get_running_loop()
    codes: dict[grpc.StatusCode, int] = {}
    before = _answered(pair)

    async def twice(data: bytes, said: list[tuple[str, str]]) -> None:
        for _ in range(2):
            code = await _compare(pair, data, said)
            codes[code] = codes.get(code, 0) + 1

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(calls())
    def run(call: tuple[bytes, list[tuple[str, str]]]) -> None:
        asyncio.run_coroutine_threadsafe(twice(*call), loop).result(30)

    await asyncio.to_thread(run)
    wanted = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED}
    assert wanted <= codes.keys(), "the requests are not only of one kind"
    assert _answered(pair) - before > 50, "the front has answered of its own"


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
