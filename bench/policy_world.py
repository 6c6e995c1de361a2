"""A province's worth of grants for the benchmarks of the policy: 1,000 consumers, 3,000 interfaces, 100,000 grants.

Random but the same every time. What must not go in here: what is measured of it.
"""

from __future__ import annotations

import base64
import datetime as dt
import random
from typing import NamedTuple

import msgspec

from broker.model.catalogue import Catalogue, Consumer, ConsumerKey, Grant, Interface, Provider

CONSUMERS, INTERFACES, GRANTS, PROVIDERS = 1_000, 3_000, 100_000, 71
_FIELDS = tuple(f"field_{number:02}" for number in range(12))
_ARGUMENTS = {"resident_id": {"type": "resident_id"}}
_OPERATION = {"connector": "http", "path": "/ask", "parameters": {"id": "{resident_id}"}}


class World(NamedTuple):
    """Everything in force."""

    catalogue: Catalogue
    grants: tuple[Grant, ...]


def make_world() -> World:
    """Make it anew."""
    draw = random.Random(20260522)
    interfaces = tuple(_interface(number) for number in range(INTERFACES))
    grants = tuple(_grant(draw, number) for number in range(GRANTS))
    return World(
        Catalogue(
            providers=tuple(_provider(number) for number in range(PROVIDERS)),
            interfaces=interfaces,
            consumers=tuple(_consumer(draw, number) for number in range(CONSUMERS)),
            grants=grants,
        ),
        grants,
    )


def _provider(number: int) -> Provider:
    endpoint = {"connector": "http", "base_url": "http://127.0.0.1:1"}
    return msgspec.convert({"id": f"dept-{number:02}", "name": "部门", "level": "NATIONAL", "endpoint": endpoint}, Provider)


def _interface(number: int) -> Interface:
    answer = {"resident_id": {"type": "resident_id"}} | {name: {"type": "text"} for name in _FIELDS}
    return msgspec.convert(
        {
            "id": _interface_id(number),
            "title": "问题",
            "provider": f"dept-{number % PROVIDERS:02}",
            "arguments": _ARGUMENTS,
            "answer": answer,
            "subject": {"argument": "resident_id", "answer": "resident_id"},
            "operation": _OPERATION,
        },
        Interface,
    )


def _interface_id(number: int) -> str:
    return f"dept-{number % PROVIDERS:02}.question-{number:04}"


def _consumer(draw: random.Random, number: int) -> Consumer:
    key = base64.b64encode(draw.randbytes(32)).decode()
    return Consumer(id=f"system-{number:04}", name="系统", keys=(ConsumerKey(id="k1", public_key=key),))


def _grant(draw: random.Random, number: int) -> Grant:
    return Grant(
        id=f"grant-{number:06}",
        consumer=f"system-{draw.randrange(CONSUMERS):04}",
        interface=_interface_id(draw.randrange(INTERFACES)),
        purposes=(f"purpose-{draw.randrange(40)}",),
        matters=tuple(f"matter-{draw.randrange(300)}" for _ in range(draw.randrange(3))),
        fields=tuple(draw.sample(_FIELDS, draw.randint(1, 8))),
        legal_basis=f"《条例》第{draw.randrange(60)}条",
        valid_from=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        valid_until=dt.datetime(2099, 1, 1, tzinfo=dt.UTC),
        rate_per_second=1_000_000.0,
        burst=1_000_000,
        quota_per_day=10**9,
    )
