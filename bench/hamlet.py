"""The smallest provider and catalogue that a hot call needs: a few people in SQLite, one interface, one consumer, one grant.

The people are made up; their numbers belong to no district. What must not go in here: running anything.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from broker.client import generate_key
from broker.demo.city import absent_resident_id
from broker.v1 import exchange_pb2 as pb

CONSUMER, INTERFACE, PURPOSE = "bench", "city.person.basic", "bench"
PEOPLE = 10
_COLUMNS = ("resident_id", "name", "sex", "birth_date", "address", "status", "phone")

_CATALOGUE = """
[[providers]]
id = "city.register"
name = "公安局（模拟）"
level = "CITY"
endpoint = {{connector = "sql", url = "sqlite+aiosqlite:///{database}"}}

[[interfaces]]
id = "{interface}"
title = "人口基本信息"
provider = "city.register"
arguments.resident_id = {{type = "resident_id"}}
answer.resident_id = {{type = "resident_id"}}
answer.name = {{type = "person_name"}}
answer.sex = {{type = "text"}}
answer.birth_date = {{type = "date"}}
answer.address = {{type = "address"}}
answer.status = {{type = "text"}}
answer.phone = {{type = "text"}}
subject = {{argument = "resident_id", answer = "resident_id"}}
operation = {{connector = "sql", query = "SELECT * FROM person WHERE resident_id = :resident_id"}}
freshness = {{cacheable = true, ttl_s = 86400}}

[[consumers]]
id = "{consumer}"
name = "基准测试"
keys = [{{id = "k1", public_key = "{public_key}"}}]

[[grants]]
id = "bench"
consumer = "{consumer}"
interface = "{interface}"
purposes = ["{purpose}"]
fields = ["resident_id", "name", "sex", "birth_date", "address", "status"]  # and not the phone: the mask has work to do
valid_from = 2020-01-01T00:00:00Z
valid_until = 2099-01-01T00:00:00Z
rate_per_second = 1_000_000
burst = 1_000_000
"""


def write(directory: Path) -> Path:
    """Write people, the consumer's key and the catalogue; returns the catalogue's directory."""
    database = directory / "register.db"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"CREATE TABLE person ({', '.join(_COLUMNS)}, PRIMARY KEY (resident_id))")
        connection.executemany("INSERT INTO person VALUES (?, ?, ?, ?, ?, ?, ?)", people(*_COLUMNS))
    catalogue = directory / "catalogue"
    catalogue.mkdir()
    names = {"interface": INTERFACE, "consumer": CONSUMER, "purpose": PURPOSE}
    text = _CATALOGUE.format(database=database, public_key=generate_key(key_file(directory)), **names)
    (catalogue / "all.toml").write_text(text, encoding="utf-8")
    return catalogue


def people(*columns: str) -> list[tuple[str, ...]]:
    """Return what is known of everybody."""
    places = [_COLUMNS.index(column) for column in columns]
    return [tuple(_person(serial)[place] for place in places) for serial in range(1, PEOPLE + 1)]


def _person(serial: int) -> tuple[str, ...]:
    address = f"无名省无名市无名区和平街道和平社区第{serial}号楼"
    return absent_resident_id(serial), f"某{serial}", "女", "1990-01-01", address, "VALID", f"000-{serial:08}"


def key_file(directory: Path) -> Path:
    """Where the consumer's private key is."""
    return directory / "bench.key"


def question() -> pb.CallRequest:
    """Return what is asked all the time."""
    return pb.CallRequest(interface=INTERFACE, arguments={"resident_id": absent_resident_id(1)}, purpose=PURPOSE)
