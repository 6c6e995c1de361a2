"""A hot `Match`, on a record base and on a cached answer, against a `Call` that the core answers from the cache.

All three are put to the front, which passes them on (the `Call` is spelled in full-width digits, for else the front would
answer it itself), with the same grant and limits. A round counts only if the broker's counters rose by exactly the requests,
all answered from where the contender says. What must not go in here: many against many (matching_kernels.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench import front_load, front_world, hamlet, hot_call, machine, servers
from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from bench.front_load import Way
from bench.front_relay import ONE, WARM_UP_REQUESTS, wide_question
from bench.front_world import World
from bench.h2load import Shape
from broker import config
from broker.model.catalogue import BaseDeclaration, Interface, Provider
from broker.policy.database import Database
from broker.policy.store import ControlPlane
from broker.records.load import Source, load
from broker.v1 import exchange_pb2 as pb

BASE = "population"
ROUND_S = 2.0
MANY = Shape(8, 32)

_MATCH = "/broker.v1.ExchangeService/Match"
_FIELDS = {"resident_id": "resident_id", "name": "person_name", "address": "address", "status": "text"}
_MEDIAN, _CPU = "µs p50", "core µs CPU"
_PATIENCE_S = 30.0


class Asked(NamedTuple):
    """A question, and where it is answered from."""

    name: str
    method: str
    body: Path
    source: str


class Driver:
    """One question under one shape of load. The first round finds out how many requests make a round of the right length."""

    def __init__(self, world: World, asked: Asked, shape: Shape) -> None:
        self._world = world
        self._asked = asked
        self._shape = shape
        self._requests = WARM_UP_REQUESTS

    def round(self) -> Reading:
        """Send the requests, check where they were answered from, and return the rate."""
        world, asked, requests = self._world, self._asked, self._requests
        counter = ("broker_calls_total", {"outcome": "FOUND", "source": asked.source})
        core, before = servers.workers(world.broker.supervisor)[0], world.broker.counter(*counter)
        before_s = machine.cpu_s(core)
        headers = {"authorization": f"Bearer {world.tokens()}"}
        timed = front_load.run(Way(world.broker.server.target), asked.method, asked.body, headers, self._shape, requests)
        spent_s = machine.cpu_s(core) - before_s
        risen = world.broker.counter(*counter) - before
        if risen != requests:
            raise Wrong(f"{asked.name}: {requests} requests were {risen} answers from {asked.source}")
        self._requests = max(int(timed.rate * ROUND_S), WARM_UP_REQUESTS)
        return Reading(timed.rate, {_MEDIAN: timed.median_us, _CPU: spent_s / requests * 1e6})


def _declare(world: World) -> None:
    """Put a base beside the provider, with an interface and a grant like its own, load it, and wait until it is in force."""
    fields = {name: {"type": kind, "required": True} for name, kind in _FIELDS.items()}
    base = msgspec.convert({"id": BASE, "key": ["resident_id"], "fields": fields}, BaseDeclaration)
    provider = msgspec.convert(
        {"id": "city.records", "name": "数据局（模拟）", "level": "CITY", "endpoint": {"connector": "records"}}, Provider
    )
    interface = msgspec.convert(
        {
            "id": BASE,
            "title": "人口库",
            "provider": "city.records",
            "arguments": {"resident_id": {"type": "resident_id"}},
            "answer": {name: {"type": kind} for name, kind in _FIELDS.items()},
            "subject": {"argument": "resident_id", "answer": "resident_id"},
            "operation": {"connector": "records", "base": BASE},
        },
        Interface,
    )
    before = world.broker.counter("broker_policy_snapshot_version", {})
    with closing(ControlPlane(Database(f"sqlite:///{world.data_dir}/control.db"))) as control:
        _, own = control.read()
        replace = msgspec.structs.replace
        grants = tuple(replace(grant, id=BASE, interface=BASE, fields=tuple(_FIELDS)) for grant in own.grants)
        own = replace(own, providers=(*own.providers, provider), bases=(base,))
        control.apply(replace(own, interfaces=(*own.interfaces, interface), grants=(*own.grants, *grants)))
    rows = (dict(zip(_FIELDS, person, strict=True)) for person in hamlet.people(*_FIELDS))
    load(config.Config(data_dir=str(world.data_dir)), base, [Source("people", rows)], most_bad_rows=0)
    until = time.monotonic() + _PATIENCE_S
    while world.broker.counter("broker_policy_snapshot_version", {}) == before:
        if time.monotonic() > until:
            raise Wrong("the base does not come into force")
        time.sleep(0.05)


def _asked(world: World) -> Iterator[Asked]:
    (name,) = next(iter(hamlet.people("name")))
    key: Mapping[str, str] = hamlet.question().arguments
    for title, target, source in (
        ("Match on a base", BASE, "RECORDS"),
        ("Match on a cached answer", hamlet.INTERFACE, "CACHE"),
    ):
        message = pb.MatchRequest(interface=target, key=key, asserted={"name": name}, purpose=hamlet.PURPOSE)
        yield Asked(title, _MATCH, front_world.body(world.directory, target, message.SerializeToString()), source)
    body = front_world.body(world.directory, "wide", wide_question().SerializeToString())
    yield Asked("Call through the core", hot_call.METHOD, body, "CACHE")


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    with front_world.world() as world:
        _declare(world)
        questions = tuple(_asked(world))
        yield [
            Case(str(shape), tuple(Contender(one.name, Driver(world, one, shape).round) for one in questions), shape._asdict())
            for shape in (ONE, MANY)
        ]


BENCHMARK = Benchmark(title="a hot Match", unit="requests/s", higher_is_better=True, open=_open)
