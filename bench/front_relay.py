"""What the front adds to a call that it must hand to the core, against the same call put to the core's own socket.

Two calls that the front does not answer itself: `Health/Check`, and a hot `Call` whose argument is spelled in full-width
digits, which is not the canonical form; the core answers it from the cache. One at a time the median time counts; many at once
the CPU time that the core process spends on an answer, which bounds its throughput (a front has a processor of its own; here
they share one). A round counts only if the broker's counters rose by exactly the requests. What must not go in here: calls that
the front answers (front.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from grpc_health.v1 import health_pb2

from bench import front_load, front_world, hamlet, hot_call, machine, servers
from bench.benchmark import Benchmark, Case, Contender, Reading, Skipped, Wrong
from bench.front_load import Way
from bench.front_world import World
from bench.h2load import Shape
from bench.servers import Broker
from broker.v1 import exchange_pb2 as pb

ROUND_S = 2.0
WARM_UP_REQUESTS = 500
ONE, MANY = Shape(1, 1), Shape(8, 32)
MOST_ADDED_US, LEAST_RATE = 150, 0.85

_HEALTH = "/grpc.health.v1.Health/Check"
_ADDED, _RATE = "front adds µs", "requests/s"
WIDE = {ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}
_COUNTED = "grpc_server_handled_total"


class Call(NamedTuple):
    """A call that is always relayed, and the counters that it raises by one."""

    name: str
    method: str
    body: Path
    counters: tuple[tuple[str, Mapping[str, str]], ...]


class Pair:
    """The same call on both ways, in turns. The first round finds out how many requests make a round of the right length."""

    def __init__(self, world: World, call: Call, shape: Shape) -> None:
        self._world = world
        self._call = call
        self._shape = shape
        self._requests = dict.fromkeys(("relayed", "direct"), WARM_UP_REQUESTS)
        self._relayed_us = 0.0

    def relayed(self) -> Reading:
        """Ask the front."""
        value, rate = self._round("relayed", Way(self._world.broker.server.target))
        self._relayed_us = value
        return Reading(value, {_RATE: rate})

    def direct(self) -> Reading:
        """Ask the core, right after the front was asked."""
        value, rate = self._round("direct", Way(self._world.broker.server.target, self._world.core_socket))
        return Reading(value, {_RATE: rate, _ADDED: self._relayed_us - value})

    def _round(self, name: str, way: Way) -> tuple[float, float]:
        headers = {"authorization": f"Bearer {self._world.tokens()}"}
        check = _counted(self._world.broker, self._call)
        core, requests = servers.workers(self._world.broker.supervisor)[0], self._requests[name]
        before_s = machine.cpu_s(core)
        timed = front_load.run(way, self._call.method, self._call.body, headers, self._shape, requests)
        spent_s = machine.cpu_s(core) - before_s
        check(requests)
        self._requests[name] = max(int(timed.rate * ROUND_S), WARM_UP_REQUESTS)
        return timed.median_us if self._shape == ONE else spent_s / requests * 1e6, timed.rate

    @property
    def case(self) -> Case:
        """What is compared."""
        target = f"adds ≤ {MOST_ADDED_US} µs" if self._shape == ONE else f"≥ {LEAST_RATE} x"
        contenders = (Contender("relayed", self.relayed), Contender(f"core itself (target {target})", self.direct))
        sizes = {"request bytes": self._call.body.stat().st_size - 5, **self._shape._asdict()}
        return Case(f"{self._call.name}, {self._shape}", contenders, sizes)


def _counted(broker: Broker, call: Call) -> Callable[[int], None]:
    before = [broker.counter(*counter) for counter in call.counters]

    def check(requests: int) -> None:
        risen = [broker.counter(*counter) - old for counter, old in zip(call.counters, before, strict=True)]
        if set(risen) != {requests}:
            raise Wrong(f"{call.name}: {requests} requests raised the counters by {risen}")

    return check


def _answered(service: str, method: str) -> tuple[str, Mapping[str, str]]:
    return _COUNTED, {"grpc_service": service, "grpc_method": method, "grpc_code": "OK"}


def wide_question() -> pb.CallRequest:
    """Return the hot question, spelled in full-width digits."""
    question = hamlet.question()
    question.arguments["resident_id"] = question.arguments["resident_id"].translate(WIDE)
    return question


def _calls(world: World) -> Iterator[Call]:
    health = health_pb2.HealthCheckRequest().SerializeToString()
    body = front_world.body(world.directory, "health", health)
    yield Call("Health/Check", _HEALTH, body, (_answered("grpc.health.v1.Health", "Check"),))
    body = front_world.body(world.directory, "wide", wide_question().SerializeToString())
    hot = ("broker_calls_total", {"outcome": "FOUND", "source": "CACHE"})
    yield Call("Call, wide digits", hot_call.METHOD, body, (_answered("broker.v1.ExchangeService", "Call"), hot))


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    if not front_world.HAS_FRONT:
        raise Skipped("this version of the broker has no front (no setting grpc.fronts), so nothing is relayed")
    with front_world.world() as world:
        if not world.core_socket.is_socket():
            raise Wrong(f"the core does not listen on {world.core_socket.name}")
        yield [Pair(world, call, shape).case for call in _calls(world) for shape in (ONE, MANY)]


BENCHMARK = Benchmark(title="a call that the front relays", unit="µs an answer", higher_is_better=False, open=_open)
