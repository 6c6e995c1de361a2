"""A hot `Call` through the front with the audit log, against the same call without it.

Three brokers that differ in `audit.mode` alone, asked in turns; each front, and the thread that writes its log, has the one
core of the servers. The log is on the disk that the working directory is on. A round counts only if the broker's counters rose
by exactly the requests, all answered from the cache. What must not go in here: how many records become durable a second
(audit.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from bench import front_world, hamlet, hot_call
from bench.benchmark import Benchmark, Case, Contender
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
        yield [_case(shape, worlds, answering) for shape in hot_call.SHAPES]


def _world(mode: str) -> AbstractContextManager[World]:
    return front_world.world(f'[audit]\nmode = "{mode}"\n', Path.cwd())


def _case(shape: Shape, worlds: dict[str, World], answering: dict[str, Server]) -> Case:
    contenders = tuple(_contender(shape, MODES[mode], world, answering[mode]) for mode, world in worlds.items())
    sizes = {"request bytes": len(hamlet.question().SerializeToString()), "connections": shape.connections}
    return Case(str(shape), contenders, sizes | {"streams": shape.streams})


def _contender(shape: Shape, name: str, world: World, server: Server) -> Contender:
    check = lambda: hot_call.counted(world.broker)  # noqa: E731
    return Contender(name, hot_call.Driver(server, shape, world.body, world.tokens, check).round)


BENCHMARK = Benchmark(title="a hot Call with the audit log", unit="requests/s", higher_is_better=True, open=_open)
