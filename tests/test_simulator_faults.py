"""Every fault that a pretended department can be told to have, seen from outside."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from contextlib import closing
from typing import Any, get_args

import grpc
import pytest

from broker.demo.city import open_city
from broker.demo.departments import DEPARTMENTS
from broker.demo.desk import Desk, Pace
from broker.demo.faults import Fault, Faults, Kind
from broker.demo.processes import SimulatorFailed
from tests.simulators_kit import (
    DISABILITY,
    FUND,
    PERSON,
    POLICE,
    Town,
    ask_grpc,
    ask_http,
)

# --- faults -------------------------------------------------------------------------------------------------------------


def _http_effect(town: Town, kind: str) -> Any:
    """Ask with a fault on and say in a word what came of it."""
    interface, arguments = town.interface(DISABILITY), town.someone(DISABILITY)
    town.simulators.fault(interface.provider, kind, latency_ms=300)  # type: ignore[arg-type]
    started = time.monotonic()
    try:
        answered = ask_http(town, interface, arguments, timeout=1.0)
    except http.client.IncompleteRead:
        return "cut"
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return "closed"
    except TimeoutError:
        return "silence"
    if answered.status != 200:
        return answered.status
    try:
        subject = answered.json["rows"][0]["resident_id"]
    except (json.JSONDecodeError, UnicodeDecodeError):
        return answered.body[:6]
    late = "late " if time.monotonic() - started >= 0.3 else ""
    return late + ("right" if subject == arguments["resident_id"] else "wrong")


HTTP_EFFECTS = {
    "none": "right",
    "down": "closed",
    "error500": 500,
    "html": b"<html>",
    "empty": b"",
    "garbage": b"\x00\xff{]\x80\x00",
    "slow": "late right",
    "hang": "silence",
    "wrong_subject": "wrong",
    "business_error": 409,
    "quota": 429,
    "disconnect": "cut",
}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_each_fault_shows_over_http(town: Town, kind: str) -> None:
    assert _http_effect(town, kind) == HTTP_EFFECTS[kind]
    assert _http_effect(town, "none") == "right"


@pytest.mark.parametrize(("kind", "code"), [("business_error", "4002"), ("quota", "5003")])
def test_faults_with_a_business_code_show_in_the_envelope(town: Town, kind: Kind, code: str) -> None:
    town.simulators.fault(POLICE, kind)
    answered = ask_http(town, town.interface(PERSON), town.someone(PERSON))
    assert (answered.status, answered.json["code"], answered.json["data"]["records"]) == (200, code, [])


def _grpc_effect(town: Town, kind: str) -> Any:
    interface, arguments = town.interface(FUND), town.someone(FUND)
    town.simulators.fault(interface.provider, kind, latency_ms=300)  # type: ignore[arg-type]
    started = time.monotonic()
    try:
        body = ask_grpc(town, interface, arguments, timeout=1.0)
    except grpc.RpcError as error:
        return error.code()
    try:
        answer = json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return body[:6]
    if answer["code"] != "0":
        return answer["code"]
    late = "late " if time.monotonic() - started >= 0.3 else ""
    return late + ("right" if answer["data"]["residentId"] == arguments["resident_id"] else "wrong")


GRPC_EFFECTS = {
    "none": "right",
    "down": grpc.StatusCode.UNAVAILABLE,
    "error500": grpc.StatusCode.INTERNAL,
    "html": b"<html>",
    "empty": b"",
    "garbage": b"\x00\xff{]\xc1\x00",
    "slow": "late right",
    "hang": grpc.StatusCode.DEADLINE_EXCEEDED,
    "wrong_subject": "wrong",
    "business_error": "4002",
    "quota": "5003",
    "disconnect": grpc.StatusCode.UNAVAILABLE,
}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_each_fault_shows_over_grpc(town: Town, kind: str) -> None:
    assert _grpc_effect(town, kind) == GRPC_EFFECTS[kind]
    assert _grpc_effect(town, "none") == "right"


def test_a_fault_is_of_one_provider_or_of_a_level(town: Town) -> None:
    credit = "national.credit.person"
    town.simulators.fault(POLICE, "error500")
    assert ask_http(town, town.interface(credit), town.someone(credit)).status == 200
    town.simulators.fault("national", "error500")
    with pytest.raises(json.JSONDecodeError):  # the secret service is down with the rest
        ask_http(town, town.interface(credit), town.someone(credit))


def test_a_fault_ends_by_itself() -> None:
    now = [0.0]
    faults = Faults(frozenset({"a.b", "a.c", "ab.d"}), clock=lambda: now[0])
    assert faults.order(Fault(provider="a", kind="down", seconds=5))
    assert {name: bool(faults.current(name)) for name in ("a.b", "a.c", "ab.d")} == {"a.b": True, "a.c": True, "ab.d": False}
    now[0] = 5.0
    assert faults.current("a.b") is None
    assert faults.order(Fault(provider="a.b", kind="hang"))
    now[0] = 1e9
    assert faults.current("a.b") is not None
    assert not faults.order(Fault(provider="nobody", kind="down"))


def test_orders_that_mean_nothing_are_refused(town: Town) -> None:
    with pytest.raises(SimulatorFailed, match="no provider"):
        town.simulators.fault("national.nobody", "down")
    with pytest.raises(SimulatorFailed, match="kind"):
        town.simulators.fault(POLICE, "sulking")  # type: ignore[arg-type]
    with pytest.raises(SimulatorFailed, match="municipal"):
        town.simulators.fault("municipal.x", "down")


def test_a_department_keeps_to_its_quota_of_each_minute(town: Town) -> None:
    now = [59.0]
    with closing(open_city(town.city)) as city:
        pace = Pace(seed=1, latency_scale=0, quota_per_minute=2)
        desk = Desk(DEPARTMENTS[POLICE], city, pace, clock=lambda: now[0])
        service = desk.services[0]
        parameters = {service.arguments["resident_id"]: town.someone(PERSON)["resident_id"]}
        assert [desk.answer(service, parameters, None).code for _ in range(3)] == ["0", "0", "5003"]
        now[0] = 60.0
        assert desk.answer(service, parameters, None).code == "0"


async def test_departments_take_their_time_and_the_same_for_a_seed(town: Town) -> None:
    async def pauses(seed: int) -> list[float]:
        desk = Desk(DEPARTMENTS[POLICE], city, Pace(seed=seed, latency_scale=1.0, quota_per_minute=1))
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", sleep)
            for _ in range(200):
                await desk.pause(None)
        return slept

    with closing(open_city(town.city)) as city:
        first, same, other = await pauses(1), await pauses(1), await pauses(2)
    assert first == same != other
    assert 0.017 < sorted(first)[100] < 0.023
