"""A small record base, the catalogue around it, and commands on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from broker.model.catalogue import BaseDeclaration, Catalogue, Grant, Interface, Provider
from tests.support.catalogue import consumer, grant
from tests.support.people import resident_id
from tests.support.running import RunningBroker

BASE = "population"
FIELDS = ("resident_id", "name", "birth_date", "address", "status", "until")
WHO, DEAD, GONE = resident_id(1), resident_id(2), resident_id(3)
NOBODY = resident_id(999)
HEADING = "公民身份号码,姓名,出生日期,住址,状态,有效期至"
ROWS = (
    f"{WHO},张伟明,1980-01-01,云鹤市松涛区建设路12号3栋2单元501室,正常,2099-12-31",
    f"{DEAD},阿依古丽·买买提,1980-01-02,,死亡,",
    f"{GONE},李娜,19800103,云鹤市,正常,2020-12-31",
)


def base(**changes: Any) -> BaseDeclaration:
    values: dict[str, Any] = {
        "id": BASE,
        "title": "人口库",
        "key": ["resident_id"],
        "fields": {
            "resident_id": {"type": "resident_id", "title": "公民身份号码", "required": True},
            "name": {"type": "person_name", "title": "姓名", "required": True},
            "birth_date": {"type": "date", "title": "出生日期"},
            "address": {"type": "address", "title": "住址"},
            "status": {"type": "text", "title": "状态"},
            "until": {"type": "date", "title": "有效期至"},
        },
    }
    return msgspec.convert(values | changes, BaseDeclaration)


def interface(**changes: Any) -> Interface:
    values: dict[str, Any] = {
        "id": BASE,
        "title": "人口库查询",
        "provider": "city.records",
        "arguments": {"resident_id": {"type": "resident_id"}},
        "answer": {
            "resident_id": {"type": "resident_id"},
            "name": {"type": "person_name"},
            "birth_date": {"type": "date", "required": False},
            "address": {"type": "address", "required": False},
            "status": {"type": "text", "required": False},
            "until": {"type": "date", "required": False},
        },
        "subject": {"argument": "resident_id", "answer": "resident_id"},
        "operation": {"connector": "records", "base": BASE},
        "standing": {"field": "status", "valid": ["正常"], "deceased": ["死亡"], "cancelled": ["注销"], "until": "until"},
    }
    return msgspec.convert(values | changes, Interface)


def provider(**changes: Any) -> Provider:
    values = {"id": "city.records", "name": "市数据局", "level": "CITY", "endpoint": {"connector": "records"}}
    return msgspec.convert(values | changes, Provider)


def granted(**changes: Any) -> Grant:
    return grant(**({"id": "records", "interface": BASE, "fields": list(FIELDS)} | changes))


def catalogue(public_key: str = "", **parts: Any) -> Catalogue:
    return Catalogue(
        providers=parts.get("providers", (provider(),)),
        bases=parts.get("bases", (base(),)),
        interfaces=parts.get("interfaces", (interface(),)),
        consumers=parts.get("consumers", (consumer(public_key),) if public_key else ()),
        grants=parts.get("grants", (granted(),) if public_key else ()),
    )


def write_csv(path: Path, *rows: str, heading: str = HEADING, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join((heading, *rows)) + "\n", encoding=encoding)
    return path


def load(broker: RunningBroker, *rows: str) -> None:
    """Load rows into the base, as an operator does."""
    done = broker.run_here("records", "load", BASE, str(write_csv(broker.directory / "rows.csv", *(rows or ROWS))))
    assert done.returncode == 0, done.stderr
    broker.loaded = rows or ROWS


def load_once(broker: RunningBroker) -> None:
    """Declare the base and load it, unless that is what was last done."""
    if broker.loaded != ROWS:
        broker.apply(catalogue(broker.public_key))
        load(broker)


def mapped_by(*processes: int) -> list[str]:
    """Tell which generations of the base processes have open, by lines of their memory maps."""
    lines = [line for pid in processes for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return [line for line in lines if f"/records/{BASE}/" in line and "/data.mdb" in line]
