"""How fast synthetic people are made: by the column with records and truth, against the city's row by row, which has neither.

Both sides are told in people a second of the base. Ours makes the records of other departments and the truth as well, so the
ratio understates it. What must not go in here: what is made (tests/test_synthetic.py looks at that).
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from broker.demo.population import populate
from broker.demo.synthetic import SCHEMAS, Register, Settings, blocks
from broker.demo.synthetic.files import Format, write

PEOPLE = 500_000
ROW_BY_ROW = 50_000
SEED = 7


def _rate(make: Callable[[], int], people: int) -> Reading:
    start = time.perf_counter()
    made = make()
    spent = time.perf_counter() - start
    if made != people:
        raise Wrong(f"{made} of {people} people")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Reading(people / spent, {"peak MiB": peak_mib})


def _all() -> int:
    return sum(block[Register.POPULATION].num_rows for block in blocks(Settings(people=PEOPLE, seed=SEED)))


def _base() -> int:
    settings = Settings(people=PEOPLE, seed=SEED)
    return sum(block[Register.POPULATION].num_rows for block in blocks(settings, (Register.POPULATION,)))


def _written(directory: Path, form: Format) -> int:
    return write(directory, SCHEMAS, blocks(Settings(people=PEOPLE, seed=SEED)), form)[Register.POPULATION]


def _rows() -> Reading:
    return _rate(lambda: len(populate(SEED, ROW_BY_ROW).persons), ROW_BY_ROW)


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    row_by_row = Contender("row by row, base alone", _rows)
    sizes = {"people": PEOPLE, "people row by row": ROW_BY_ROW}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        makes: dict[str, Callable[[], int]] = {
            "base, records and truth": _all,
            "base alone": _base,
            **{f"all, as {form}": lambda form=form: _written(Path(directory), form) for form in Format},  # type: ignore[misc]
        }
        yield [
            Case(name, (Contender("by the column", lambda make=make: _rate(make, PEOPLE)), row_by_row), sizes)
            for name, make in makes.items()
        ]


BENCHMARK = Benchmark(title="synthetic people", unit="people/s", higher_is_better=True, open=_open)
