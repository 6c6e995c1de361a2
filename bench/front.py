"""A hot `Call` through the native front with everything on, against the least that `grpc.aio` and gRPC C++ can do.

Everything on: token identity, grant, field mask, rate, daily and total quota, provenance, metrics. The bare servers parse the
request and read the answer from LMDB. A round of the broker counts only if its own counters rose by exactly the requests, all
answered from the cache; one of a bare server if it sent its answer that many times. The processor time is that of the one
process that answers. What must not go in here: how the servers are started (front_world.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from bench import front_world, hamlet, hot_call
from bench.benchmark import Benchmark, Case, Contender, Skipped
from bench.front_world import World
from bench.h2load import Shape
from bench.hot_call import Check
from bench.servers import Server

# How many times better the front is meant to be than each bare server, by shape.
TARGETS = {(8, 32): {front_world.AIO: 15.0, front_world.CPP: 1.5}, (8, 1): {front_world.AIO: 3.0, front_world.CPP: 1.0}}

Checked = dict[str, tuple[Server, Check]]


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    with ExitStack() as stack:
        world = stack.enter_context(front_world.world())
        servers: Checked = {front_world.BROKER: (front_world.answering(world), lambda: hot_call.counted(world.broker))}
        servers |= _bare_servers(stack, world)
        yield [_case(shape, world, servers) for shape in hot_call.SHAPES]


def _bare_servers(stack: ExitStack, world: World) -> Checked:
    answer = world.hot.SerializeToString()
    servers: Checked = {}
    for name, start in ((front_world.AIO, front_world.bare_aio), (front_world.CPP, front_world.bare_cpp)):
        try:
            servers[name] = (stack.enter_context(start(world)), lambda: hot_call.measured(answer))
        except Skipped as why:
            sys.stdout.write(f"front: skipped: {why}\n")
    return servers


def _case(shape: Shape, world: World, servers: Checked) -> Case:
    contenders = tuple(
        Contender(_with_target(name, shape), hot_call.Driver(server, shape, world.body, world.tokens, check).round)
        for name, (server, check) in servers.items()
    )
    sizes = {
        "request bytes": len(hamlet.question().SerializeToString()),
        "response bytes": len(world.hot.SerializeToString()),
        "keys": 1,
        "connections": shape.connections,
        "streams": shape.streams,
    }
    return Case(str(shape), contenders, sizes)


def _with_target(name: str, shape: Shape) -> str:
    target = TARGETS.get(shape, {}).get(name)
    return f"{name} (target ≥ {target:g} x)" if target else name


BENCHMARK = Benchmark(title="a hot Call against bare servers", unit="requests/s", higher_is_better=True, open=_open)
