"""What an honest consumer notices of an attack: the 99th percentile of its hot calls beside an attacker, and without one.

The attacker takes one connection after another and pours into each until it is closed: a tenth of a second after that, as
consumers do that come back, or at once, some thousand times a second, for which there is no target: that is for a firewall. It
runs on the processor of the load, at a priority that takes nothing from the honest one. A round counts only if every honest
call was answered from the cache, and an attacked one if connections of the attacker were closed, each within a second. What
must not go in here: the attacks (attacker.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bench import attacker, front_load, front_world, h2load, hot_call
from bench.benchmark import Benchmark, Case, Contender, Reading, Skipped, Wrong
from bench.front_load import Way
from bench.front_world import World
from bench.h2load import Shape

ROUND_REQUESTS = 10_000
CLOSED_WITHIN_MS = 1000
LEAST_RATIO = 0.5

_ONE = Shape(1, 1)
_PAUSES = {"it comes back ten times a second": 0.1, "it comes back at once": 0.0}
_MEDIAN, _CLOSED, _SLOWEST = "µs p50", "attackers closed", "slowest ms"


class Pair:
    """The honest consumer beside one attack, and alone right after it."""

    def __init__(self, world: World, attack: str, comes_back: str) -> None:
        self._world = world
        self._attack = attack
        self._comes_back = comes_back

    def attacked(self) -> Reading:
        """Ask while the attacker is at work."""
        words = [self._attack, self._world.broker.server.target, str(_PAUSES[self._comes_back])]
        command = [sys.executable, "-m", "bench.attacker", *words]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            reading = self._ask()
            met = json.loads(process.communicate()[0])
        if not met["connections"] or met["slowest_ms"] > CLOSED_WITHIN_MS:
            raise Wrong(f"{self._attack}: {met['connections']} were closed, the slowest after {met['slowest_ms']:.0f} ms")
        return Reading(reading.value, {**reading.beside, _CLOSED: met["connections"], _SLOWEST: met["slowest_ms"]})

    def alone(self) -> Reading:
        """Ask in peace."""
        return self._ask()

    def _ask(self) -> Reading:
        world = self._world
        headers = {"authorization": f"Bearer {world.tokens()}"}
        check = hot_call.counted(world.broker)
        way = Way(world.broker.server.target)
        timed = front_load.run(way, hot_call.METHOD, world.body, headers, _ONE, ROUND_REQUESTS)
        check(ROUND_REQUESTS, h2load.Outcome(timed.rate, 0))
        return Reading(timed.p99_us, {_MEDIAN: timed.median_us})

    @property
    def case(self) -> Case:
        """What is compared."""
        target = f" (target ≥ {LEAST_RATIO} x)" if _PAUSES[self._comes_back] else ""
        contenders = (Contender("beside it", self.attacked), Contender(f"alone{target}", self.alone))
        return Case(f"{self._attack}, {self._comes_back}", contenders, {"requests": ROUND_REQUESTS, **_ONE._asdict()})


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    if not front_world.HAS_FRONT:
        raise Skipped("this version of the broker has no front (no setting grpc.fronts)")
    with front_world.world() as world:
        front_world.answering(world)
        yield [Pair(world, attack, comes_back).case for comes_back in _PAUSES for attack in attacker.ATTACKS]


BENCHMARK = Benchmark(title="a hot Call beside an attack", unit="µs p99", higher_is_better=False, open=_open)
