"""What a decision costs at a province's size: find the grant and its mask, and take the call off its rate and its quota.

The first contender is what a front does; the second is the same through Python, as the core does it; the third the truth table
that the tests hold both against, over the caller's own grants only. What must not go in here: compiling (policy_compile.py).
"""

from __future__ import annotations

import random
import time
import zoneinfo
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from bench.policy_world import CONSUMERS, GRANTS, INTERFACES, World, make_world
from broker._native.counters import Counters, Questions, decide_and_spend
from broker.model.catalogue import Catalogue, Grant
from broker.model.snapshot import Snapshot
from broker.policy.compiler import compile_snapshot
from tests.oracle import policy as oracle

ASKED = 100_000
ASKED_OF_ORACLE = 200
ALLOWED = 5
LINES = 1 << 19


class _Setting:
    """A snapshot with counters, and questions that its grants cover."""

    def __init__(self, world: World) -> None:
        draw = random.Random(1)
        self.world = world
        self.snapshot = compile_snapshot(world.catalogue, 1)
        self.counters = Counters(bytearray(64 * LINES))
        self.now_ms = time.time_ns() // 1_000_000
        self.day = self.snapshot.image.day(self.now_ms)
        self.grants = [draw.choice(world.grants) for _ in range(ASKED)]
        self.questions = Questions([_native(self.snapshot, grant) for grant in self.grants])
        for ref in self.snapshot.image.terms():
            self.counters.deposit(self.snapshot.image, ref, self.day, 10**8, 0)

    def natively(self) -> Reading:
        verdicts = bytearray(ASKED)
        start = time.perf_counter_ns()
        decide_and_spend(
            self.snapshot.image, self.counters, self.questions, self.now_ms, self.now_ms, time.monotonic_ns(), verdicts
        )
        spent = time.perf_counter_ns() - start
        if verdicts.count(ALLOWED) != ASKED:
            raise Wrong(f"{ASKED - verdicts.count(ALLOWED)} questions were not allowed")
        return Reading(spent / ASKED)

    def from_python(self) -> Reading:
        image, numbers, now_ms = self.snapshot.image, self.snapshot.numbers, self.now_ms
        asked = [(numbers[g.consumer], g.interface, g.purposes[0], (*g.matters, "")[0]) for g in self.grants]
        start = time.perf_counter_ns()
        for consumer, interface, purpose, matter in asked:
            _, ref = image.decide(consumer, interface, 0, purpose, matter, "", 0, now_ms, now_ms)
            self.counters.spend(image, ref, time.monotonic_ns(), self.day)  # type: ignore[arg-type]
        return Reading((time.perf_counter_ns() - start) / ASKED)

    def by_the_table(self) -> Reading:
        own: dict[str, list[Grant]] = {}
        for grant in self.world.grants:
            own.setdefault(grant.consumer, []).append(grant)
        zone, spent = zoneinfo.ZoneInfo("Asia/Shanghai"), 0
        for grant in self.grants[:ASKED_OF_ORACLE]:
            catalogue = Catalogue(
                interfaces=tuple(i for i in self.world.catalogue.interfaces if i.id == grant.interface),
                grants=tuple(own[grant.consumer]),
            )
            asked = oracle.Asked(
                *(grant.consumer, grant.interface, 0, grant.purposes[0], (*grant.matters, "")[0], ""),
                *(False, False, False, self.now_ms, self.now_ms),
            )
            start = time.perf_counter_ns()
            if oracle.decide(catalogue, zone, asked).verdict != "ALLOWED":
                raise Wrong("the table does not allow what is granted")
            spent += time.perf_counter_ns() - start
        return Reading(spent / ASKED_OF_ORACLE)


def _native(snapshot: Snapshot, grant: Grant) -> tuple[int | None, bytes, int, bytes, bytes, bytes, int]:
    matter = (*grant.matters, "")[0]
    return (snapshot.numbers[grant.consumer], grant.interface.encode(), 0, grant.purposes[0].encode(), matter.encode(), b"", 0)


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    setting = _Setting(make_world())
    sizes = {"consumers": CONSUMERS, "interfaces": INTERFACES, "grants": GRANTS, "questions": ASKED}
    contenders = (
        Contender("native", setting.natively),
        Contender("from Python", setting.from_python),
        Contender("truth table", setting.by_the_table),
    )
    yield [Case("decide and spend", contenders, sizes)]


BENCHMARK = Benchmark(title="authorise, mask and spend", unit="ns/call", higher_is_better=False, open=_open)
