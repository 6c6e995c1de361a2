"""Runs contenders in turns, A B A B …, so that a change of the machine's speed hits all alike; ratios are taken within a round.

The first round warms up and is thrown away. What must not go in here: what a round does, and any output.
"""

from __future__ import annotations

import datetime as dt
import importlib
import pkgutil
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

import bench
from bench import machine
from bench.benchmark import Benchmark, Case, Reading

DEFAULT_ROUNDS = 5
Tell = Callable[[str], None]


class Spread(msgspec.Struct, frozen=True):
    """Median and range over the rounds, and the rounds themselves in order."""

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Spread:
        """Sum up the rounds."""
        return cls(statistics.median(rounds), min(rounds), max(rounds), tuple(rounds))


class ContenderResult(msgspec.Struct, frozen=True):
    """What one contender did. `ratio` is how many times better the case's first contender is; None for that one itself."""

    name: str
    value: Spread
    beside: dict[str, Spread]
    ratio: Spread | None


class CaseResult(msgspec.Struct, frozen=True):
    """What the contenders of one case did."""

    name: str
    sizes: dict[str, int]
    contenders: tuple[ContenderResult, ...]


class BenchmarkResult(msgspec.Struct, frozen=True):
    """Everything that is known of one run of a benchmark."""

    name: str
    title: str
    unit: str
    higher_is_better: bool
    rounds: int
    began: dt.datetime
    machine: dict[str, Any]
    cases: tuple[CaseResult, ...]


def discover() -> dict[str, Benchmark]:
    """Find every benchmark of this folder by its name."""
    names = sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_"))
    modules = {name: importlib.import_module(f"bench.{name}") for name in names}
    return {name: module.BENCHMARK for name, module in modules.items() if hasattr(module, "BENCHMARK")}


def run(name: str, benchmark: Benchmark, rounds: int, tell: Tell) -> BenchmarkResult:
    """Run all cases of a benchmark.

    Raises:
        Skipped: it cannot run here.
        Wrong: a round did not do what it measures.
    """
    began = dt.datetime.now(dt.UTC)
    with benchmark.open() as cases:
        results = tuple(_run_case(case, rounds, benchmark.higher_is_better, tell) for case in cases)
    return BenchmarkResult(
        name=name,
        title=benchmark.title,
        unit=benchmark.unit,
        higher_is_better=benchmark.higher_is_better,
        rounds=rounds,
        began=began,
        machine=machine.facts(),
        cases=results,
    )


def _run_case(case: Case, rounds: int, higher_is_better: bool, tell: Tell) -> CaseResult:
    taken: list[tuple[Reading, ...]] = []
    for number in range(rounds + 1):
        tell(f"{case.name}: {f'round {number} of {rounds}' if number else 'warming up'}")
        taken.append(tuple(contender.round() for contender in case.contenders))
    columns = list(zip(*taken[1:], strict=True))
    results = (
        ContenderResult(
            name=contender.name,
            value=Spread.of([reading.value for reading in column]),
            beside=_beside(column),
            ratio=_ratio(columns[0], column, higher_is_better) if column is not columns[0] else None,
        )
        for contender, column in zip(case.contenders, columns, strict=True)
    )
    return CaseResult(case.name, dict(case.sizes), tuple(results))


def _beside(column: Sequence[Reading]) -> dict[str, Spread]:
    return {heading: Spread.of([reading.beside[heading] for reading in column]) for heading in column[0].beside}


def _ratio(ours: Sequence[Reading], other: Sequence[Reading], higher_is_better: bool) -> Spread:
    pairs = [(mine.value, theirs.value) for mine, theirs in zip(ours, other, strict=True)]
    return Spread.of([mine / theirs if higher_is_better else theirs / mine for mine, theirs in pairs])
