"""The instructions of one hot `Call`, counted by callgrind: of a front process alone, and of the bare C++ server.

Two runs that differ only in how many calls they are given; the difference, divided, is free of starting and stopping. The
front runs beside a broker whose cache is warm, on a port of its own. Under callgrind everything takes fifty times as long and
hardly varies: `--rounds 1` is enough. What must not go in here: time.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench import front_world, h2load, hot_call
from bench.benchmark import Benchmark, Case, Contender, Reading, Skipped, Wrong
from bench.front_world import World
from bench.h2load import Shape
from bench.servers import Server
from broker.demo.launch import free_port
from broker.v1 import exchange_pb2 as pb

FEW, MANY = 2_000, 12_000
SHAPE = Shape(8, 32)
_SLOT = 90  # where it counts: no front of the broker does
START_S = 300.0

_COUNTED = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)

Start = Callable[[list[str]], AbstractContextManager[Server]]  # called with the words that stand before the command


class Counted:
    """One server under callgrind."""

    def __init__(self, world: World, start: Start) -> None:
        self._world = world
        self._start = start
        self._file = world.directory / "callgrind.out"

    def round(self) -> Reading:
        """Return the instructions of one call."""
        few, many = (self._instructions(calls) for calls in (FEW, MANY))
        per_call = (many - few) / (MANY - FEW)
        return Reading(per_call, {"to start and stop, millions": (few - FEW * per_call) / 1e6})

    def _instructions(self, calls: int) -> int:
        self._file.unlink(missing_ok=True)
        with self._start(["valgrind", "--tool=callgrind", f"--callgrind-out-file={self._file}"]) as server:
            headers = {"authorization": f"Bearer {self._world.tokens()}"}
            url = f"http://{server.target}{hot_call.METHOD}"
            outcome = h2load.run(url, self._world.body, headers, SHAPE, calls)
        if outcome.data_bytes < calls * len(h2load.frame(_without_age(self._world.hot))):
            raise Wrong(f"{outcome.data_bytes} bytes are not {calls} answers")
        return read(self._file)


def _without_age(answer: pb.CallResponse) -> bytes:
    """Return the least that an answer can be: its age takes more bytes as it grows. An error carries no message at all."""
    least = pb.CallResponse()
    least.CopyFrom(answer)
    least.provenance.ClearField("age")
    return least.SerializeToString()


def read(file: Path) -> int:
    """Read what callgrind counted."""
    found = _COUNTED.findall(file.read_text(encoding="utf-8", errors="replace")) if file.exists() else []
    if not found:
        raise Wrong("callgrind wrote no count: the process did not end as it should")
    return int(found[-1])


def _front(world: World) -> Start:
    """Return how a front alone is started.

    Raises:
        Skipped: there is no front.
    """
    if not front_world.HAS_FRONT:
        raise Skipped("the front: this version of the broker has none (no setting grpc.fronts)")
    words = [sys.executable, "-m", "broker.serve.front", "--config", str(world.directory / "broker.toml"), "--slot", str(_SLOT)]

    def start(prefix: list[str]) -> AbstractContextManager[Server]:
        target = f"127.0.0.1:{free_port()}"
        own = ["env", f"BROKER__GRPC__ADDRESS={target}", "PYTHONHASHSEED=0"]
        return front_world.started([*own, *prefix, *words], world.directory / "front.log", target, START_S)

    return start


def _bare_cpp(world: World) -> Start:
    front_world.built_cpp()
    return lambda prefix: front_world.bare_cpp(world, prefix)


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    if shutil.which("valgrind") is None:
        raise Skipped("valgrind is missing; on Debian or Ubuntu: apt-get install valgrind")
    with front_world.world() as world:
        contenders = tuple(_contenders(world))
        if not contenders:
            raise Skipped("there is nothing to count")
        sizes = {"calls": MANY - FEW, **SHAPE._asdict()}
        yield [Case(f"hot Call, {SHAPE}", contenders, sizes)]


def _contenders(world: World) -> Iterator[Contender]:
    for name, find in (("front, alone", _front), (front_world.CPP, _bare_cpp)):
        try:
            yield Contender(name, Counted(world, find(world)).round)
        except Skipped as why:
            sys.stdout.write(f"front_instructions: skipped: {why}\n")


BENCHMARK = Benchmark(title="instructions by callgrind", unit="instructions/call", higher_is_better=False, open=_open)
