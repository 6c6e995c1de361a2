"""The demonstration's catalogue: providers, resources, interfaces, consumers and grants, as values and as a directory of TOML.

Everything is derived from the tables of this folder, so that what a simulator answers and what the broker expects cannot drift
apart. What must not go in here: those tables.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from broker.demo.consumers import APPROVER, CONSUMERS, LEGAL_BASIS, RIGHTS, Right
from broker.demo.departments import DEPARTMENTS, REQUESTER_ID, SHAPES, Department
from broker.demo.interfaces import QUESTIONS, absent_value, service_id
from broker.demo.publishers import FURTHER
from broker.demo.question import RHYTHMS, Question
from broker.demo.resources import MATCH, code_of, resources
from broker.demo.vocabulary import WORDS, Word
from broker.model import toml
from broker.model.catalogue import (
    AnswerField,
    Argument,
    Catalogue,
    Consumer,
    ConsumerKey,
    Endpoint,
    Grant,
    GrpcEndpoint,
    GrpcOperation,
    HttpEndpoint,
    HttpOperation,
    Interface,
    Level,
    Operation,
    Provider,
    SqlEndpoint,
    SqlOperation,
    Subject,
)

_VALID_FROM = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_VALID_UNTIL = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
KEY_ID = "k1"  # what `broker consumer issue-token` and the client take without being told


class Addresses(NamedTuple):
    """Where the departments listen."""

    national: str  # http://host:port
    provincial: str  # http://host:port
    provincial_grpc: str  # host:port
    city: str  # SQLAlchemy URL without a password
    city_password_file: str = ""  # name of a file in the secrets directory


def sqlite_url(city: Path) -> str:
    """Return the URL under which the city's departments are asked when they live in the SQLite file."""
    return f"sqlite+aiosqlite:///{city.resolve()}"


def app_key_file(department: str) -> str:
    """Return the name, within the secrets directory, of the file with the app key for a national department."""
    return f"{department}.app-key"


def write_app_keys(directory: Path) -> None:
    """Draw an app key for every national department that has none yet; the broker and the simulators read the same files."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for department in DEPARTMENTS.values():
        file = directory / app_key_file(department.id)
        if department.level is Level.NATIONAL and not file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                stream.write(secrets.token_hex(16))


def catalogue(addresses: Addresses, keys: Mapping[str, str]) -> Catalogue:
    """Compose the catalogue; the keys are base64 Ed25519 public keys by consumer, and a consumer without one cannot call."""
    return Catalogue(
        providers=(*(_provider(department, addresses) for department in DEPARTMENTS.values()), *_further()),
        resources=resources(),
        interfaces=tuple(_interface(question) for question in QUESTIONS.values()),
        consumers=tuple(_consumer(consumer, keys) for consumer in CONSUMERS),
        grants=tuple(_grant(consumer, right) for consumer, rights in RIGHTS.items() for right in rights),
    )


def write_catalogue(directory: Path, addresses: Addresses, keys: Mapping[str, str]) -> Catalogue:
    """Write the catalogue's directory and return what it says."""
    whole = catalogue(addresses, keys)
    files: dict[str, tuple[str, tuple[Any, ...]]] = {
        kind: (kind, getattr(whole, kind)) for kind in ("providers", "resources", "consumers", "grants")
    }
    for level in Level:
        of_level = tuple(i for i in whole.interfaces if DEPARTMENTS[i.provider].level is level)
        files[f"interfaces-{level.value.lower()}"] = ("interfaces", of_level)
    directory.mkdir(parents=True, exist_ok=True)
    for name, (kind, values) in files.items():
        text = toml.document({kind: [toml.plain(value) for value in values]})
        (directory / f"{name}.toml").write_text(text, encoding="utf-8")
    return whole


# --- providers ----------------------------------------------------------------------------------------------------------


def _provider(department: Department, addresses: Addresses) -> Provider:
    endpoint = _ENDPOINTS[department.connector](department, addresses)
    return Provider(id=department.id, name=department.name, level=department.level, endpoint=endpoint, approvers=(APPROVER,))


def _further() -> Iterator[Provider]:
    """Departments that publish resources and cannot be asked."""
    return (Provider(id=department, name=name, level=Level.CITY) for department, name in FURTHER.items())


def _http_endpoint(department: Department, addresses: Addresses) -> Endpoint:
    if department.level is not Level.NATIONAL:
        return HttpEndpoint(base_url=addresses.provincial)
    return HttpEndpoint(
        base_url=addresses.national,
        dialect="gjgxjhpt",
        requester_id=REQUESTER_ID,
        app_key_file=app_key_file(department.id),
        secret_path=f"/{department.id}/secret",
    )


def _grpc_endpoint(department: Department, addresses: Addresses) -> Endpoint:
    return GrpcEndpoint(target=addresses.provincial_grpc)


def _sql_endpoint(department: Department, addresses: Addresses) -> Endpoint:
    return SqlEndpoint(url=addresses.city, password_file=addresses.city_password_file)


_ENDPOINTS = {"http": _http_endpoint, "grpc": _grpc_endpoint, "sql": _sql_endpoint}


# --- interfaces ---------------------------------------------------------------------------------------------------------


def _interface(question: Question) -> Interface:
    subject = question.keys[0]
    asked = question.keys + question.compared
    return Interface(
        id=question.id,
        title=question.title,
        provider=question.department,
        resource=code_of(question),
        arguments={word: Argument(type=WORDS[word].type, title=WORDS[word].title) for word in asked},
        answer={
            word: AnswerField(type=_word(word).type, title=_word(word).title, required=always)
            for word, always in question.answer.items()
        },
        subject=Subject(argument=subject, answer=subject if subject in question.answer else None),
        operation=_OPERATIONS[question.owner.connector](question),
        freshness=RHYTHMS[question.rhythm].freshness,
        timeout_ms=question.owner.timeout_ms,
        probe=_probe(question),
    )


def _probe(question: Question) -> dict[str, str]:
    """Ask for somebody who is not there; but not the national departments, who count every question."""
    if question.owner.level is Level.NATIONAL:
        return {}
    return {word: absent_value(word) for word in question.keys + question.compared}


def _word(word: str) -> Word:
    return WORDS.get(word, MATCH)


def _parameters(question: Question) -> dict[str, str]:
    return {question.name(word): f"{{{word}}}" for word in question.keys + question.compared}


def _paths(question: Question) -> dict[str, str]:
    return {word: question.path(word) for word in question.answer if question.path(word) != word}


def http_path(question: Question) -> str:
    """Return where a department is asked over HTTP."""
    return f"/{question.department}/{service_id(question.id)}"


def grpc_method(question: Question) -> str:
    """Return the method by which a department is asked over gRPC."""
    return f"/{question.owner.service}/Query{question.id.rpartition('.')[2].title().replace('-', '')}"


def _http_operation(question: Question) -> Operation:
    return HttpOperation(
        path=http_path(question),
        method=question.owner.verb,
        service_id=service_id(question.id),
        parameters=_parameters(question),
        envelope=SHAPES[question.owner.shape].envelope,
        fields=_paths(question),
    )


def _grpc_operation(question: Question) -> Operation:
    return GrpcOperation(
        method=grpc_method(question),
        codec=question.owner.codec,
        parameters=_parameters(question),
        envelope=SHAPES[question.owner.shape].envelope,
        fields=_paths(question),
    )


def _sql_operation(question: Question) -> Operation:
    return SqlOperation(query=question.query, fields=_paths(question))


_OPERATIONS = {"http": _http_operation, "grpc": _grpc_operation, "sql": _sql_operation}


# --- consumers and grants -----------------------------------------------------------------------------------------------


def _consumer(consumer: str, keys: Mapping[str, str]) -> Consumer:
    asking = CONSUMERS[consumer]
    own = (ConsumerKey(id=KEY_ID, public_key=keys[consumer]),) if consumer in keys else ()
    return Consumer(id=consumer, name=asking.name, department=asking.department, keys=own)


def _grant(consumer: str, right: Right) -> Grant:
    asking = CONSUMERS[consumer]
    return Grant(
        id=f"{consumer}.{right.interface}",
        consumer=consumer,
        interface=right.interface,
        purposes=(right.purpose,),
        fields=tuple(right.fields.split() or QUESTIONS[right.interface].answer),
        valid_from=_VALID_FROM,
        valid_until=_VALID_UNTIL,
        matters=tuple(right.matter.split()),
        legal_basis=LEGAL_BASIS[right.purpose],
        rate_per_second=asking.rate_per_second,
        burst=asking.burst,
    )
