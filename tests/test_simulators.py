"""The pretended departments over real sockets, asked by a client written by hand: answers, signatures, faults, ends."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.parse import urlencode

import grpc
import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from broker.demo.catalogue import catalogue, write_app_keys
from broker.demo.city import build_city, open_city
from broker.demo.departments import DEPARTMENTS, REQUESTER_ID
from broker.demo.desk import Desk, Pace
from broker.demo.faults import Fault, Faults, Kind
from broker.demo.gjgxjhpt import Doorkeeper, signature
from broker.demo.interfaces import QUESTIONS, absent_arguments, sample_arguments
from broker.demo.processes import SimulatorFailed, Simulators
from broker.model.catalogue import Catalogue, GrpcOperation, HttpOperation, Interface, SqlOperation

POLICE, HOUSING = "national.public-security", "provincial.housing"
PERSON, FUND, DISABILITY = "national.person.basic", "provincial.housing.fund", "provincial.disability.certificate"


class Town(NamedTuple):
    """A city with its simulators and the catalogue that leads to them."""

    city: Path
    secrets: Path
    simulators: Simulators
    whole: Catalogue

    def interface(self, name: str) -> Interface:
        return next(interface for interface in self.whole.interfaces if interface.id == name)

    def someone(self, name: str) -> dict[str, str]:
        return sample_arguments(self.city, name, 1)[0]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("town")
    build_city(directory / "city.db", seed=7, persons=2_000, companies=400, licences=1_000)
    write_app_keys(directory / "secrets")
    with Simulators(directory / "city.db", directory / "secrets", latency_scale=0) as simulators:
        whole = catalogue(simulators.addresses(), {})
        yield Town(directory / "city.db", directory / "secrets", simulators, whole)


@pytest.fixture(autouse=True)
def no_faults_left(request: pytest.FixtureRequest) -> Any:
    yield
    if "town" in request.fixturenames:
        for level in ("national", "provincial"):
            request.getfixturevalue("town").simulators.fault(level, "none")


# --- a consumer written by hand -----------------------------------------------------------------------------------------


class Answered(NamedTuple):
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def _send(town: Town, level: str, method: str, path: str, body: bytes, headers: dict[str, str], timeout: float = 5) -> Answered:
    with closing(http.client.HTTPConnection("127.0.0.1", town.simulators.ports[level].http, timeout=timeout)) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answered(response.status, response.read())


def _headers(sid: str, key: str, rtime: int | None = None) -> dict[str, str]:
    text = str(rtime if rtime is not None else int(time.time() * 1000))
    digest = hmac.new(key.encode(), f"{sid}{REQUESTER_ID}{text}".encode(), hashlib.sha256).digest()
    return {
        "gjgxjhpt_rid": REQUESTER_ID,
        "gjgxjhpt_sid": sid,
        "gjgxjhpt_rtime": text,
        "gjgxjhpt_sign": base64.b64encode(digest).decode(),
    }


def _secret(town: Town, provider: str) -> str:
    app_key = (town.secrets / f"{provider}.app-key").read_text()
    answered = _send(town, "national", "POST", f"/{provider}/secret", b"", _headers("any", app_key))
    data = answered.json["data"]
    assert data["secretEndTime"] > time.time() * 1000
    decryptor = Cipher(algorithms.AES(app_key.encode()[:16]), modes.ECB()).decryptor()
    padded = decryptor.update(base64.b64decode(data["secret"])) + decryptor.finalize()
    return padded[: -padded[-1]].decode()


def _at(answer: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        if isinstance(answer, list):
            answer = answer[int(step)] if int(step) < len(answer) else None
        else:
            answer = answer.get(step) if answer is not None else None
    return answer


def _filled(operation: HttpOperation | GrpcOperation, arguments: dict[str, str]) -> dict[str, str]:
    return {name: arguments[template[1:-1]] for name, template in operation.parameters.items()}


def _ask_http(town: Town, interface: Interface, arguments: dict[str, str], timeout: float = 5) -> Answered:
    operation = interface.operation
    assert isinstance(operation, HttpOperation)
    level = interface.provider.partition(".")[0]
    signed = _headers(operation.service_id, _secret(town, interface.provider)) if level == "national" else {}
    parameters = _filled(operation, arguments)
    if operation.method == "GET":
        return _send(town, level, "GET", f"{operation.path}?{urlencode(parameters)}", b"", signed, timeout)
    return _send(town, level, "POST", operation.path, json.dumps(parameters).encode(), signed, timeout)


def _ask_grpc(town: Town, interface: Interface, arguments: dict[str, str], timeout: float = 5) -> bytes:
    operation = interface.operation
    assert isinstance(operation, GrpcOperation)
    encode = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode}[operation.codec]
    with grpc.insecure_channel(f"127.0.0.1:{town.simulators.ports['provincial'].grpc}") as channel:
        answered: bytes = channel.unary_unary(operation.method)(encode(_filled(operation, arguments)), timeout=timeout)
        return answered


def _record(town: Town, interface: Interface, arguments: dict[str, str]) -> dict[str, Any] | None:
    """Ask over the interface's own connector and return the record under our names; None for "no record"."""
    operation = interface.operation
    if isinstance(operation, SqlOperation):
        with closing(open_city(town.city)) as connection:
            cursor = connection.execute(operation.query, arguments)
            rows = [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor.fetchall()]
        return {field: rows[0][operation.fields.get(field, field)] for field in interface.answer} if rows else None
    if isinstance(operation, GrpcOperation):
        decode = {"json": msgspec.json.decode, "msgpack": msgspec.msgpack.decode}[operation.codec]
        answer: Any = decode(_ask_grpc(town, interface, arguments))
    else:
        answered = _ask_http(town, interface, arguments)
        assert answered.status == 200
        answer = answered.json
    envelope = operation.envelope
    code = _at(answer, envelope.code) if envelope.code else None
    assert code is None or code in envelope.success + envelope.not_found
    record = _at(answer, envelope.record) if code not in envelope.not_found else None
    return {f: _at(record, operation.fields.get(f, f)) for f in interface.answer} if record else None


# --- answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_interface_answers_what_the_city_holds_and_nothing_for_the_absent(town: Town, name: str) -> None:
    interface, question = town.interface(name), QUESTIONS[name]
    arguments = town.someone(name)
    record = _record(town, interface, arguments)
    assert record is not None
    assert {word: record[word] for word in question.keys} == {word: arguments[word] for word in question.keys}
    assert {record[f"{word}_match"] for word in question.compared} <= {"1"}
    assert [field for field, spec in interface.answer.items() if spec.required and record[field] is None] == []
    with closing(open_city(town.city)) as connection:
        (row,) = connection.execute(question.query, arguments).fetchall()
    assert tuple(record.values()) == row
    assert _record(town, interface, absent_arguments(town.city, name)) is None


def test_calls_are_counted_by_service_interface_and_provider(town: Town) -> None:
    before = town.simulators.stats("national")
    for _ in range(3):
        _ask_http(town, town.interface(PERSON), town.someone(PERSON))
    after = town.simulators.stats("national")
    assert after["total"] - before["total"] == 3
    service = town.interface(PERSON).operation.service_id  # type: ignore[union-attr]
    for kind, key in (("services", service), ("interfaces", PERSON), ("providers", POLICE), ("secrets", POLICE)):
        assert after[kind][key] - before[kind].get(key, 0) == 3
    assert after["running"] == 0


def test_calls_at_the_same_time_are_seen_to_be(town: Town) -> None:
    town.simulators.fault(HOUSING, "slow", latency_ms=600)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: _ask_grpc(town, town.interface(FUND), town.someone(FUND)), range(6)))
    assert town.simulators.stats("provincial")["max_concurrent"] >= 5


@pytest.mark.parametrize("parameters", [b"{}", b"not json", b'{"GMSFHM": "x", "MORE": "y"}'])
def test_wrong_parameters_are_refused_in_the_envelope(town: Town, parameters: bytes) -> None:
    operation = town.interface(PERSON).operation
    assert isinstance(operation, HttpOperation)
    headers = _headers(operation.service_id, _secret(town, POLICE))
    assert _send(town, "national", "POST", operation.path, parameters, headers).json["code"] == "2001"


def test_a_department_whose_program_trips_says_so_in_the_envelope(town: Town) -> None:
    operation = town.interface(PERSON).operation
    assert isinstance(operation, HttpOperation)
    headers = _headers(operation.service_id, _secret(town, POLICE))
    answered = _send(town, "national", "POST", operation.path, b'{"GMSFHM": {"a": 1}}', headers)
    assert (answered.status, answered.json["code"]) == (200, "9001")


def test_what_is_nowhere_is_not_found(town: Town) -> None:
    assert _send(town, "national", "POST", "/nowhere", b"", {}).status == 404
    operation = town.interface(PERSON).operation
    assert _send(town, "national", "GET", operation.path, b"", {}).status == 404  # type: ignore[union-attr]
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
    good = _headers(operation.service_id, _secret(town, POLICE))
    body = json.dumps(_filled(operation, town.someone(PERSON))).encode()
    refused = _send(town, "national", "POST", operation.path, body, spoil(good))
    assert (refused.status, refused.json["code"]) == (401, "1401")
    assert _send(town, "national", "POST", operation.path, body, good).json["code"] == "0"


def test_a_rightly_signed_call_of_eleven_minutes_ago_is_refused(town: Town) -> None:
    operation = town.interface(PERSON).operation
    assert isinstance(operation, HttpOperation)
    now = int(time.time() * 1000)
    old = _headers(operation.service_id, _secret(town, POLICE), now - 11 * 60_000)
    assert _send(town, "national", "POST", operation.path, b"{}", old).status == 401


def test_a_secret_of_one_department_is_nothing_at_another(town: Town) -> None:
    operation = town.interface("national.credit.person").operation
    assert isinstance(operation, HttpOperation)
    foreign = _headers(operation.service_id, _secret(town, POLICE))
    assert _send(town, "national", "POST", operation.path, b"{}", foreign).status == 401


def test_a_secret_is_for_those_with_the_app_key(town: Town) -> None:
    refused = _send(town, "national", "POST", f"/{POLICE}/secret", b"", _headers("any", "0" * 32))
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


# --- faults -------------------------------------------------------------------------------------------------------------


def _http_effect(town: Town, kind: str) -> Any:
    """Ask with a fault on and say in a word what came of it."""
    interface, arguments = town.interface(DISABILITY), town.someone(DISABILITY)
    town.simulators.fault(interface.provider, kind, latency_ms=300)  # type: ignore[arg-type]
    started = time.monotonic()
    try:
        answered = _ask_http(town, interface, arguments, timeout=1.0)
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
    answered = _ask_http(town, town.interface(PERSON), town.someone(PERSON))
    assert (answered.status, answered.json["code"], answered.json["data"]["records"]) == (200, code, [])


def _grpc_effect(town: Town, kind: str) -> Any:
    interface, arguments = town.interface(FUND), town.someone(FUND)
    town.simulators.fault(interface.provider, kind, latency_ms=300)  # type: ignore[arg-type]
    started = time.monotonic()
    try:
        body = _ask_grpc(town, interface, arguments, timeout=1.0)
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
    assert _ask_http(town, town.interface(credit), town.someone(credit)).status == 200
    town.simulators.fault("national", "error500")
    with pytest.raises(json.JSONDecodeError):  # the secret service is down with the rest
        _ask_http(town, town.interface(credit), town.someone(credit))


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
