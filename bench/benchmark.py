"""What a benchmark is, as values. A file of this folder that has a `BENCHMARK` is one; the file's name is its name.

A benchmark compares contenders in cases. The first contender of a case is ours, and the ratios say how many times better it is
than each other one. What must not go in here: when rounds run (runner.py) and how results are told (report.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

NOTHING: Mapping[str, float] = MappingProxyType({})


class Skipped(Exception):
    """A benchmark cannot run on this machine; the text is one line and says what to install."""


class Wrong(AssertionError):
    """A round did not do what it is said to measure, so its number means nothing."""


class Reading(NamedTuple):
    """What one round measured: the number compared, and others that are told beside it, by their heading."""

    value: float
    beside: Mapping[str, float] = NOTHING


@dataclass(frozen=True)
class Contender:
    """One of those compared, set up and ready: each call of `round` is one timed round."""

    name: str
    round: Callable[[], Reading]


@dataclass(frozen=True)
class Case:
    """Contenders that are compared with the first of them, and how big everything is."""

    name: str
    contenders: tuple[Contender, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """Cases under one title. `open` sets up, gives the cases one after another, and clears up."""

    title: str
    unit: str
    higher_is_better: bool
    open: Callable[[], AbstractContextManager[Iterable[Case]]]
