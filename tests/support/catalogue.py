"""A small catalogue around one HTTP provider, with whatever a test wants to be different."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from broker.model.catalogue import Catalogue, Consumer, ConsumerKey, Grant, Interface, Provider

CONSUMER = "tax-hall"
INTERFACE = "national.person.basic"
PURPOSE = "subsidy-check"
FIELDS = ("name", "birth_date", "status")


def provider(base_url: str, **changes: Any) -> Provider:
    values = {
        "id": "national.police",
        "name": "公安部",
        "level": "NATIONAL",
        "endpoint": {"connector": "http", "base_url": base_url},
    }
    return msgspec.convert(values | changes, Provider)


def interface(**changes: Any) -> Interface:
    values: dict[str, Any] = {
        "id": INTERFACE,
        "title": "人口基本信息",
        "provider": "national.police",
        "arguments": {"resident_id": {"type": "resident_id"}},
        "answer": {
            "resident_id": {"type": "resident_id"},
            "name": {"type": "person_name"},
            "birth_date": {"type": "date"},
            "status": {"type": "text", "required": False},
        },
        "subject": {"argument": "resident_id", "answer": "resident_id"},
        "operation": {
            "connector": "http",
            "path": "/person",
            "parameters": {"GMSFHM": "{resident_id}"},
            "envelope": {
                "record": "data",
                "code": "code",
                "success": ["0"],
                "not_found": ["3001"],
                "faults": {"5003": "overloaded"},
            },
            "fields": {"resident_id": "GMSFHM", "name": "XM", "birth_date": "CSRQ", "status": "ZT"},
        },
        "freshness": {"cacheable": True, "ttl_s": 600, "negative_ttl_s": 60, "jitter_ratio": 0.0},
        "timeout_ms": 2000,
    }
    return msgspec.convert(values | changes, Interface)


def grant(**changes: Any) -> Grant:
    values: dict[str, Any] = {
        "id": "g1",
        "consumer": CONSUMER,
        "interface": INTERFACE,
        "purposes": [PURPOSE],
        "fields": list(FIELDS),
        "valid_from": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        "valid_until": dt.datetime(2099, 1, 1, tzinfo=dt.UTC),
        "rate_per_second": 100_000.0,
        "burst": 100_000,
    }
    return msgspec.convert(values | changes, Grant)


def consumer(public_key: str, **changes: Any) -> Consumer:
    return Consumer(id=changes.get("id", CONSUMER), name="办税大厅", keys=(ConsumerKey(id="k1", public_key=public_key),))


def catalogue(base_url: str, public_key: str, **parts: Any) -> Catalogue:
    return Catalogue(
        providers=parts.get("providers", (provider(base_url),)),
        interfaces=parts.get("interfaces", (interface(),)),
        consumers=parts.get("consumers", (consumer(public_key),)),
        grants=parts.get("grants", (grant(),)),
    )
