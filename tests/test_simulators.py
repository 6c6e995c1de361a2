"""The pretended departments over real sockets, asked by a client written by hand: answers, signatures, ends."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from broker.demo.city import open_city
from broker.demo.gjgxjhpt import Doorkeeper, signature
from broker.demo.interfaces import QUESTIONS, absent_arguments
from broker.demo.processes import SimulatorFailed, Simulators
from broker.model.catalogue import GrpcOperation, HttpOperation
from tests.simulators_kit import (
    FUND,
    HOUSING,
    PERSON,
    POLICE,
    Town,
    ask_http,
    filled,
    record_of,
    secret_of,
    send,
    signed_headers,
)
from tests.support.running import wait_until

# --- answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_interface_answers_what_the_city_holds_and_nothing_for_the_absent(town: Town, name: str) -> None:
    interface, question = town.interface(name), QUESTIONS[name]
    arguments = town.someone(name)
    record = record_of(town, interface, arguments)
    assert record is not None
    assert {word: record[word] for word in question.keys} == {word: arguments[word] for word in question.keys}
    assert {record[f"{word}_match"] for word in question.compared} <= {"1"}
    assert [field for field, spec in interface.answer.items() if spec.required and record[field] is None] == []
    with closing(open_city(town.city)) as connection:
        (row,) = connection.execute(question.query, arguments).fetchall()
    assert tuple(record.values()) == row
    assert record_of(town, interface, absent_arguments(town.city, name)) is None


def test_calls_are_counted_by_service_interface_and_provider(town: Town) -> None:
    before = town.simulators.stats("national")
    for _ in range(3):
        ask_http(town, town.interface(PERSON), town.someone(PERSON))
    after = town.simulators.stats("national")
    assert after["total"] - before["total"] == 3
    service = town.interface(PERSON).operation.service_id  # type: ignore[union-attr]
    for kind, key in (("services", service), ("interfaces", PERSON), ("providers", POLICE), ("secrets", POLICE)):
        assert after[kind][key] - before[kind].get(key, 0) == 3
    assert after["running"] == 0


def test_calls_at_the_same_time_are_seen_to_be(town: Town) -> None:
    """None ends before all have been seen, however long a busy machine takes over sending them."""
    town.simulators.fault(HOUSING, "hang")
    operation = town.interface(FUND).operation
    assert isinstance(operation, GrpcOperation)
    with grpc.insecure_channel(f"127.0.0.1:{town.simulators.ports['provincial'].grpc}") as channel:
        calls = [channel.unary_unary(operation.method).future(b"") for _ in range(6)]
        wait_until(lambda: town.simulators.stats("provincial")["running"] == 6)
        for call in calls:
            call.cancel()
    wait_until(lambda: town.simulators.stats("provincial")["running"] == 0)
    assert town.simulators.stats("provincial")["max_concurrent"] >= 6


@pytest.mark.parametrize("parameters", [b"{}", b"not json", b'{"GMSFHM": "x", "MORE": "y"}'])
def test_wrong_parameters_are_refused_in_the_envelope(town: Town, parameters: bytes) -> None:
    operation = town.interface(PERSON).operation
    assert isinstance(operation, HttpOperation)
    headers = signed_headers(operation.service_id, secret_of(town, POLICE))
    assert send(town, "national", "POST", operation.path, parameters, headers).json["code"] == "2001"


def test_a_department_whose_program_trips_says_so_in_the_envelope(town: Town) -> None:
    operation = town.interface(PERSON).operation
    assert isinstance(operation, HttpOperation)
    headers = signed_headers(operation.service_id, secret_of(town, POLICE))
    answered = send(town, "national", "POST", operation.path, b'{"GMSFHM": {"a": 1}}', headers)
    assert (answered.status, answered.json["code"]) == (200, "9001")


def test_what_is_nowhere_is_not_found(town: Town) -> None:
    assert send(town, "national", "POST", "/nowhere", b"", {}).status == 404
    operation = town.interface(PERSON).operation
    assert send(town, "national", "GET", operation.path, b"", {}).status == 404  # type: ignore[union-attr]
    target = f"127.0.0.1:{town.simulators.ports['provincial'].grpc}"
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/province.nowhere.v1.Records/Query")(b"{}", timeout=5)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


# --- signatures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: {**headers, "gjgxjhpt_sign": "A" + headers["gjgxjhpt_sign"][1:][::-1]},
        lambda headers: {**headers, "gjgxjhpt_sid": "s_990000_2"},
        lambda headers: {**headers, "gjgxjhpt_rid": "somebody-else"},
        lambda headers: {**headers, "gjgxjhpt_rtime": str(int(headers["gjgxjhpt_rtime"]) + 1)},
        lambda headers: {**headers, "gjgxjhpt_rtime": "soon"},
        lambda headers: {},
    ],
    ids=["sign", "sid", "rid", "rtime", "no time", "none"],
)
def test_a_call_that_is_not_signed_rightly_is_refused(town: Town, spoil: Any) -> None:
    operation = town.interface(PERSON).operation
    assert isinstance(operation, HttpOperation)
    good = signed_headers(operation.service_id, secret_of(town, POLICE))
    body = json.dumps(filled(operation, town.someone(PERSON))).encode()
    refused = send(town, "national", "POST", operation.path, body, spoil(good))
    assert (refused.status, refused.json["code"]) == (401, "1401")
    assert send(town, "national", "POST", operation.path, body, good).json["code"] == "0"


def test_a_rightly_signed_call_of_eleven_minutes_ago_is_refused(town: Town) -> None:
    operation = town.interface(PERSON).operation
    assert isinstance(operation, HttpOperation)
    now = int(time.time() * 1000)
    old = signed_headers(operation.service_id, secret_of(town, POLICE), now - 11 * 60_000)
    assert send(town, "national", "POST", operation.path, b"{}", old).status == 401


def test_a_secret_of_one_department_is_nothing_at_another(town: Town) -> None:
    operation = town.interface("national.credit.person").operation
    assert isinstance(operation, HttpOperation)
    foreign = signed_headers(operation.service_id, secret_of(town, POLICE))
    assert send(town, "national", "POST", operation.path, b"{}", foreign).status == 401


def test_a_secret_is_for_those_with_the_app_key(town: Town) -> None:
    refused = send(town, "national", "POST", f"/{POLICE}/secret", b"", signed_headers("any", "0" * 32))
    assert (refused.status, refused.json) == (401, {"code": "1401", "data": None})


def test_secrets_end_and_overlap() -> None:
    """A secret is given out for half of its life and taken for the whole and thirty seconds more."""
    now = [1000.0]
    doorkeeper = Doorkeeper("k" * 32, "us", 100, clock=lambda: now[0])

    def issued() -> str:
        answer = doorkeeper.issue()["data"]
        decryptor = Cipher(algorithms.AES(b"k" * 16), modes.ECB()).decryptor()
        padded = decryptor.update(base64.b64decode(answer["secret"])) + decryptor.finalize()
        return padded[: -padded[-1]].decode()

    def admitted(secret: str) -> bool:
        rtime = str(int(now[0] * 1000))
        sign = signature(secret, "us", "s_1", rtime)
        headers = {"gjgxjhpt_rid": "us", "gjgxjhpt_sid": "s_1", "gjgxjhpt_rtime": rtime, "gjgxjhpt_sign": sign}
        return doorkeeper.admits_call(headers, "s_1")

    first = issued()
    now[0] = 1050.0
    assert issued() == first
    now[0] = 1051.0
    second = issued()
    assert second != first
    now[0] = 1129.9
    assert (admitted(first), admitted(second)) == (True, True)
    now[0] = 1130.0
    assert (admitted(first), admitted(second)) == (False, True)


# --- processes ----------------------------------------------------------------------------------------------------------


def test_a_simulator_that_cannot_start_says_so_and_leaves_none_running(town: Town, tmp_path: Path) -> None:
    broken = Simulators(tmp_path / "no-city.db", town.secrets)
    with pytest.raises(SimulatorFailed, match="ended before it was ready"):
        broken.start()
    assert repr(broken) == "<Simulators stopped>"


def test_simulators_do_not_outlive_a_parent_that_is_killed(town: Town) -> None:
    program = (
        "import sys; from pathlib import Path; from broker.demo.processes import Simulators\n"
        f"simulators = Simulators(Path({str(town.city)!r}), Path({str(town.secrets)!r}))\n"
        "simulators.start()\n"
        "print(*(process.pid for process in simulators._processes.values()), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_runs(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 5
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_simulators_know_nothing_of_the_brokers_connectors() -> None:
    program = "import sys, broker.demo.simulators; print([m for m in sys.modules if m.startswith('broker.upstream')])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout.strip() == "[]"
