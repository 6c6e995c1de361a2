"""Linking the records of a department with the population: from Arrow in memory to links, training included.

BROKER_BENCH_PEOPLE says how many people (a million without it; nine records to ten people). Benchmarks run on one core; what
all of them do is told beside it. Splink with DuckDB takes part if BROKER_SPLINK_PYTHON names an interpreter that has it;
without it we run alone, and say so. A round in which fewer than 98 % of the links are found (of ours) means nothing. What must
not go in here: other sets of data (linkage_accuracy.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench import machine
from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from bench.linkage_schemas import POPULATION
from broker.demo.synthetic import Register, Settings, blocks
from broker.linkage import link

PEOPLE, SPLINK, DIRECTORY = "BROKER_BENCH_PEOPLE", "BROKER_SPLINK_PYTHON", "QUERY_INDEX_DIRECTORY"
SEED = 20_260_101
COVERAGE = 0.9
LEAST_F1 = 0.98
_FIELDS = [field.name for field in POPULATION.fields]


class World(NamedTuple):
    """Both tables, whose each record is, and what is wrong with each of the left."""

    left: pa.Table
    right: pa.Table
    own: np.ndarray
    others: np.ndarray
    cases: pa.ChunkedArray

    def accuracy(self, left: np.ndarray, right: np.ndarray) -> tuple[float, float]:
        """Give F1 and precision of links."""
        correct = int((self.own[left] == self.others[right]).sum())
        truth = int(np.isin(self.own, self.others).sum())
        return 2 * correct / (len(left) + truth), correct / max(1, len(left))


def made(people: int, seed: int, directory: Path) -> World:
    """Make a population and its records, in files that are mapped: those of thirty million take eight gigabytes."""
    with ExitStack() as stack:
        writers: dict[Register, pa.RecordBatchWriter] = {}
        for block in blocks(Settings(people=people, seed=seed, coverage=COVERAGE)):
            for register, batch in block.items():
                if register not in writers:
                    new = pa.ipc.new_file(directory / f"{register}.arrow", batch.schema)
                    writers[register] = stack.enter_context(new)
                writers[register].write(batch)
    base, observed, truth = (_mapped(directory, one) for one in (Register.POPULATION, Register.OBSERVED, Register.TRUTH))
    own, others = truth["person_no"].to_numpy(), base["person_no"].to_numpy()
    return World(observed.select(_FIELDS), base.select(_FIELDS), own, others, truth["case"])


def _mapped(directory: Path, register: Register) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(directory / f"{register}.arrow"))).read_all()


def _ours(world: World) -> Reading:
    started = time.perf_counter()
    pairs = link(world.left, world.right, POPULATION)
    spent = time.perf_counter() - started
    kept = pairs["probability"].to_numpy() >= 0.5
    return _reading(world, spent, pairs["left"].to_numpy()[kept], pairs["right"].to_numpy()[kept], LEAST_F1)


def _on_all_cores(world: World) -> Reading:
    with machine.on_all_cores():
        return _ours(world)


def _reading(world: World, spent: float, left: np.ndarray, right: np.ndarray, least: float) -> Reading:
    f1, precision = world.accuracy(left, right)
    if f1 < least:
        raise Wrong(f"F1 is {f1:.4f}")
    return Reading(spent, {"F1": f1, "precision": precision})


def _splink(world: World, directory: Path, interpreter: str) -> Reading:
    script = Path(__file__).parent / "peers" / "splink_link.py"
    paths = [directory / name for name in ("left.parquet", "right.parquet", "pairs.parquet")]
    done = subprocess.run([interpreter, script, *paths], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(f"Splink ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    pairs = pq.read_table(paths[2])
    return _reading(world, float(done.stdout.split()[-1]), pairs["left"].to_numpy(), pairs["right"].to_numpy(), 0.5)


def _write(world: World, directory: Path) -> None:
    for name, table in (("left", world.left), ("right", world.right)):
        text = table.set_column(_FIELDS.index("birth_date"), "birth_date", pc.cast(table["birth_date"], pa.string()))
        pq.write_table(text.append_column("row", pa.array(np.arange(len(text)))), directory / f"{name}.parquet")


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    people = int(os.environ.get(PEOPLE, "1000000"))
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get(DIRECTORY)) as directory:
        world = made(people, SEED, Path(directory))
        contenders = [Contender("ours", lambda: _ours(world))]
        if machine.PINNED:
            contenders.append(Contender("ours, all cores", lambda: _on_all_cores(world)))
        if SPLINK in os.environ:
            _write(world, Path(directory))
            contenders.append(Contender("Splink, DuckDB", lambda: _splink(world, Path(directory), os.environ[SPLINK])))
        else:
            sys.stderr.write(f"linkage: without Splink, because {SPLINK} names no interpreter that has it\n")
        yield [Case("people and records", tuple(contenders), {"people": people, "records": len(world.left)})]


BENCHMARK = Benchmark(title="linking two tables", unit="s", higher_is_better=False, open=_open)
