"""A hot `Call` through the front with the audit log, against the same call without it.

Three brokers that differ in `audit.mode` alone, asked in turns, laid out in two ways: *one core* for all of the broker, so that
what is compared is all the work that a call is; and the front's *loop alone* on that core, its log writer and the core process
on the core of the load, as on a machine that has more cores than fronts. The log is on the disk that the working directory is
on. A round counts only if the broker's counters rose by exactly the requests, all answered from the cache. What must not go in
here: how many records become durable a second (audit.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from bench import front_world, hamlet, hot_call, machine, servers
from bench.benchmark import Benchmark, Case, Contender, Reading
from bench.front_world import World
from bench.h2load import Shape
from bench.servers import Server

LEAST_SHARE = 0.7
MODES = {"off": "no audit log", "durable": f"durable (target ≥ {LEAST_SHARE:g} x)", "buffered": "buffered"}


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    with ExitStack() as stack:
        worlds = {mode: stack.enter_context(_world(mode)) for mode in MODES}
        answering = {mode: front_world.answering(world) for mode, world in worlds.items()}
        yield [_case(shape, alone, worlds, answering) for alone in (False, True) for shape in hot_call.SHAPES]


def _world(mode: str) -> AbstractContextManager[World]:
    return front_world.world(f'[audit]\nmode = "{mode}"\n', Path.cwd())


def _case(shape: Shape, alone: bool, worlds: dict[str, World], answering: dict[str, Server]) -> Case:
    contenders = tuple(_contender(shape, alone, mode, world, answering[mode]) for mode, world in worlds.items())
    sizes = {"request bytes": len(hamlet.question().SerializeToString()), "connections": shape.connections}
    return Case(f"{shape}, {'loop alone' if alone else 'one core'}", contenders, sizes | {"streams": shape.streams})


def _contender(shape: Shape, alone: bool, mode: str, world: World, server: Server) -> Contender:
    check = lambda: hot_call.counted(world.broker)  # noqa: E731
    driver = hot_call.Driver(server, shape, world.body, world.tokens, check)

    def one_round() -> Reading:
        _lay_out(world, server, alone=alone)
        return driver.round()

    return Contender(MODES[mode], one_round)


def _lay_out(world: World, front: Server, *, alone: bool) -> None:
    """Put each thread of the broker on its core; the loop of a front is its first thread."""
    for pid in servers.workers(world.broker.supervisor):
        for thread in map(int, os.listdir(f"/proc/{pid}/task")):  # noqa: PTH208
            here = thread == front.pid or not alone
            machine.put(thread, machine.SERVER_CORE if here else machine.LOAD_CORE)


BENCHMARK = Benchmark(title="a hot Call with the audit log", unit="requests/s", higher_is_better=True, open=_open)
