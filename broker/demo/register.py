"""The population register of the demonstration: a record base that the broker holds itself, made from the city's people.

It stands beside what departments are asked for (catalogue.py): a file of its own in the catalogue's directory. What must not go
in here: the people (population.py), and what is shown of it (tour.py).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from pathlib import Path

from broker.model import toml
from broker.model.catalogue import (
    AnswerField,
    Argument,
    BaseDeclaration,
    Grant,
    Interface,
    Level,
    PersonSearch,
    Provider,
    RecordField,
    RecordsEndpoint,
    RecordsOperation,
    SemanticType,
    Standing,
    Subject,
)

REGISTER, HOLDER, READER, PURPOSE = "population", "city.records", "civil-affairs", "subsidy-check"
_FIELDS = {
    "resident_id": (SemanticType.RESIDENT_ID, "公民身份号码"),
    "name": (SemanticType.PERSON_NAME, "姓名"),
    "birth_date": (SemanticType.DATE, "出生日期"),
    "address": (SemanticType.ADDRESS, "住址"),
    "phone": (SemanticType.PHONE, "联系电话"),
    "status": (SemanticType.TEXT, "人员状态"),
}
_REQUIRED = ("resident_id", "name")
PEOPLE = 20_000  # of the city, by households: loaded while one waits
QUERY = f"SELECT {', '.join(_FIELDS)} FROM person ORDER BY household_no LIMIT {PEOPLE}"  # noqa: S608 - our own names


def write_register(catalogue: Path) -> None:
    """Write what declares the register, who holds it and who may search it."""
    whole = {"providers": (_provider(),), "bases": (_base(),), "interfaces": (_interface(),), "grants": (_grant(),)}
    text = toml.document({kind: [toml.plain(value) for value in values] for kind, values in whole.items()})
    (catalogue / "register.toml").write_text(text, encoding="utf-8")


def load_arguments(city: Path) -> list[str]:
    """Return the arguments of `broker` that load the register out of the city."""
    return ["records", "load", REGISTER, "--from-sql", f"sqlite:///{city.resolve()}", "--query", QUERY]


def residents(city: Path) -> list[dict[str, str]]:
    """Return people of the register whose records are in force, with what they are looked for by."""
    columns = ("resident_id", "name", "birth_date")
    wanted = f"SELECT {', '.join(columns)} FROM ({QUERY}) WHERE status = 'VALID' LIMIT 500"  # noqa: S608 - our own names
    with contextlib.closing(sqlite3.connect(city)) as database:
        return [dict(zip(columns, row, strict=True)) for row in database.execute(wanted)]


def _provider() -> Provider:
    return Provider(id=HOLDER, name="云鹤市数据局", level=Level.CITY, endpoint=RecordsEndpoint())


def _base() -> BaseDeclaration:
    fields = {name: RecordField(type=kind, title=title, required=name in _REQUIRED) for name, (kind, title) in _FIELDS.items()}
    search = PersonSearch(name="name", resident_id="resident_id", birth_date="birth_date", address="address", phone="phone")
    return BaseDeclaration(id=REGISTER, title="人口库", key=("resident_id",), fields=fields, search=search)


def _interface() -> Interface:
    return Interface(
        id=REGISTER,
        title="人口库检索",
        provider=HOLDER,
        arguments={"resident_id": Argument(type=SemanticType.RESIDENT_ID, title="公民身份号码")},
        answer={
            name: AnswerField(type=kind, title=title, required=name in _REQUIRED) for name, (kind, title) in _FIELDS.items()
        },
        subject=Subject(argument="resident_id", answer="resident_id"),
        operation=RecordsOperation(base=REGISTER, search=True),
        standing=Standing(field="status", valid=("VALID",), deceased=("DECEASED",), cancelled=("CANCELLED",)),
    )


def _grant() -> Grant:
    return Grant(
        id=f"{READER}.{REGISTER}",
        consumer=READER,
        interface=REGISTER,
        purposes=(PURPOSE,),
        fields=tuple(_FIELDS),
        legal_basis="《社会救助暂行办法》第五十八条",
        valid_from=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        valid_until=dt.datetime(2099, 1, 1, tzinfo=dt.UTC),
        rate_per_second=500.0,
        burst=1_000,
    )
