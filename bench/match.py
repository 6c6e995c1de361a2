"""What a front answers of its own beside a cached `Call`: `Match` on a base and on a cached answer, `Call` on a base.

Each is put to the same broker twice: as a front answers it, and with the subject's number in full-width digits, which the front
leaves to the core; so with the same grant, limits and connection. A round counts only if the broker's counters rose by exactly
the requests, all answered from where the question says, and by the process that the contender says. What must not go in here:
many against many (matching_kernels.py).
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
from bench.front_relay import ONE, WARM_UP_REQUESTS, WIDE
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
_MEDIAN, _CPU = "µs p50", "µs CPU of all"
LEAST_SHARE = 0.9  # of what a front may answer itself
_BY_FRONT: tuple[str, Mapping[str, str]] = ("broker_front_handling_seconds_count", {})
_PATIENCE_S = 30.0


class Asked(NamedTuple):
    """A question as it is sent, where it is answered from, and whether a front answers it."""

    method: str
    body: Path
    source: str
    by_front: bool


class Driver:
    """One question under one shape of load. The first round finds out how many requests make a round of the right length."""

    def __init__(self, world: World, asked: Asked, shape: Shape) -> None:
        self._world = world
        self._asked = asked
        self._shape = shape
        self._requests = WARM_UP_REQUESTS

    def round(self) -> Reading:
        """Send the requests, check where and by whom they were answered, and return the rate."""
        world, asked, requests = self._world, self._asked, self._requests
        answered = ("broker_calls_total", {"outcome": "FOUND", "source": asked.source})
        before = [world.broker.counter(*counter) for counter in (answered, _BY_FRONT)]
        before_s = [machine.cpu_s(worker) for worker in servers.workers(world.broker.supervisor)]
        headers = {"authorization": f"Bearer {world.tokens()}"}
        timed = front_load.run(Way(world.broker.server.target), asked.method, asked.body, headers, self._shape, requests)
        spent_s = sum(machine.cpu_s(worker) for worker in servers.workers(world.broker.supervisor)) - sum(before_s)
        risen, by_front = (
            world.broker.counter(*counter) - old for counter, old in zip((answered, _BY_FRONT), before, strict=True)
        )
        if risen != requests:
            raise Wrong(f"{requests} requests were {risen} answers from {asked.source}")
        # To the core go the first ones of a token, of which it tells who has called, and those of a chunk that took too long.
        if not (LEAST_SHARE * requests <= by_front if asked.by_front else by_front == 0):
            raise Wrong(f"of {requests} requests a front has answered {by_front}")
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


def _messages() -> Iterator[tuple[str, str, str, pb.MatchRequest | pb.CallRequest]]:
    """Give each question with its name, its method, and where it is answered from."""
    (name,) = next(iter(hamlet.people("name")))
    key: Mapping[str, str] = hamlet.question().arguments
    said = {"key": key, "asserted": {"name": name}, "purpose": hamlet.PURPOSE}
    yield "Match on a base", _MATCH, "RECORDS", pb.MatchRequest(base=BASE, **said)
    yield "Match on a cached answer", _MATCH, "CACHE", pb.MatchRequest(interface=hamlet.INTERFACE, **said)
    yield "Call on a base", hot_call.METHOD, "RECORDS", pb.CallRequest(interface=BASE, arguments=key, purpose=hamlet.PURPOSE)


def _cases(world: World) -> Iterator[Case]:
    number = hamlet.question().arguments["resident_id"]
    for name, method, source, message in _messages():
        asked = {}
        for contender, by_front in (("front", True), ("passed on to the core", False)):
            pairs = message.arguments if isinstance(message, pb.CallRequest) else message.key
            pairs["resident_id"] = number if by_front else number.translate(WIDE)
            body = front_world.body(world.directory, f"{name}-{by_front}".replace(" ", "-"), message.SerializeToString())
            asked[contender] = Asked(method, body, source, by_front)
        for shape in (ONE, MANY):
            contenders = (Contender(title, Driver(world, one, shape).round) for title, one in asked.items())
            yield Case(f"{name}, {shape}", tuple(contenders), shape._asdict())


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    with front_world.world() as world:
        _declare(world)
        yield list(_cases(world))


BENCHMARK = Benchmark(
    title="what a front answers of comparisons and bases", unit="requests/s", higher_is_better=True, open=_open
)
