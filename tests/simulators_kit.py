"""What the tests of the simulators share: a town, and a client written by hand that signs and asks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import grpc
import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from broker.demo.catalogue import catalogue, write_app_keys
from broker.demo.city import build_city, open_city
from broker.demo.departments import REQUESTER_ID
from broker.demo.interfaces import sample_arguments
from broker.demo.processes import Simulators
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


def send(town: Town, level: str, method: str, path: str, body: bytes, headers: dict[str, str], timeout: float = 5) -> Answered:
    with closing(http.client.HTTPConnection("127.0.0.1", town.simulators.ports[level].http, timeout=timeout)) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answered(response.status, response.read())


def signed_headers(sid: str, key: str, rtime: int | None = None) -> dict[str, str]:
    text = str(rtime if rtime is not None else int(time.time() * 1000))
    digest = hmac.new(key.encode(), f"{sid}{REQUESTER_ID}{text}".encode(), hashlib.sha256).digest()
    return {
        "gjgxjhpt_rid": REQUESTER_ID,
        "gjgxjhpt_sid": sid,
        "gjgxjhpt_rtime": text,
        "gjgxjhpt_sign": base64.b64encode(digest).decode(),
    }


def secret_of(town: Town, provider: str) -> str:
    app_key = (town.secrets / f"{provider}.app-key").read_text()
    answered = send(town, "national", "POST", f"/{provider}/secret", b"", signed_headers("any", app_key))
    data = answered.json["data"]
    assert data["secretEndTime"] > time.time() * 1000
    decryptor = Cipher(algorithms.AES(app_key.encode()[:16]), modes.ECB()).decryptor()
    padded = decryptor.update(base64.b64decode(data["secret"])) + decryptor.finalize()
    return padded[: -padded[-1]].decode()


def at(answer: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        if isinstance(answer, list):
            answer = answer[int(step)] if int(step) < len(answer) else None
        else:
            answer = answer.get(step) if answer is not None else None
    return answer


def filled(operation: HttpOperation | GrpcOperation, arguments: dict[str, str]) -> dict[str, str]:
    return {name: arguments[template[1:-1]] for name, template in operation.parameters.items()}


def ask_http(town: Town, interface: Interface, arguments: dict[str, str], timeout: float = 5) -> Answered:
    operation = interface.operation
    assert isinstance(operation, HttpOperation)
    level = interface.provider.partition(".")[0]
    signed = signed_headers(operation.service_id, secret_of(town, interface.provider)) if level == "national" else {}
    parameters = filled(operation, arguments)
    if operation.method == "GET":
        return send(town, level, "GET", f"{operation.path}?{urlencode(parameters)}", b"", signed, timeout)
    return send(town, level, "POST", operation.path, json.dumps(parameters).encode(), signed, timeout)


def ask_grpc(town: Town, interface: Interface, arguments: dict[str, str], timeout: float = 5) -> bytes:
    operation = interface.operation
    assert isinstance(operation, GrpcOperation)
    encode = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode}[operation.codec]
    with grpc.insecure_channel(f"127.0.0.1:{town.simulators.ports['provincial'].grpc}") as channel:
        answered: bytes = channel.unary_unary(operation.method)(encode(filled(operation, arguments)), timeout=timeout)
        return answered


def record_of(town: Town, interface: Interface, arguments: dict[str, str]) -> dict[str, Any] | None:
    """Ask over the interface's own connector and return the record under our names; None for "no record"."""
    operation = interface.operation
    if isinstance(operation, SqlOperation):
        with closing(open_city(town.city)) as connection:
            cursor = connection.execute(operation.query, arguments)
            rows = [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor.fetchall()]
        return {field: rows[0][operation.fields.get(field, field)] for field in interface.answer} if rows else None
    if isinstance(operation, GrpcOperation):
        decode = {"json": msgspec.json.decode, "msgpack": msgspec.msgpack.decode}[operation.codec]
        answer: Any = decode(ask_grpc(town, interface, arguments))
    else:
        answered = ask_http(town, interface, arguments)
        assert answered.status == 200
        answer = answered.json
    envelope = operation.envelope
    code = at(answer, envelope.code) if envelope.code else None
    assert code is None or code in envelope.success + envelope.not_found
    record = at(answer, envelope.record) if code not in envelope.not_found else None
    return {f: at(record, operation.fields.get(f, f)) for f in interface.answer} if record else None
