"""A step of the tour about linking: two tables of people, linked by the command, and judged by the truth.

What must not go in here: anything else of the tour.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from broker.demo.step import Broken, Step, Visitor, check
from broker.demo.synthetic import Register, Settings, blocks

ROWS = 20_000  # of each table
_PEOPLE, _COVERAGE, _SEED = 24_000, 0.95, 20_180_501  # so that some are in one table only
_LEAST_F1 = 0.995


class Judged(NamedTuple):
    """Links counted against the truth."""

    right: int
    links: int
    truth: int

    @property
    def precision(self) -> float:
        """Return the share of links that are right."""
        return self.right / max(1, self.links)

    @property
    def recall(self) -> float:
        """Return the share of people in both tables that are linked."""
        return self.right / max(1, self.truth)

    @property
    def f1(self) -> float:
        """Return the harmonic mean of both."""
        return 2 * self.right / max(1, self.links + self.truth)


class Planted(NamedTuple):
    """Whose each row is, which no file says, and the share of records that are not as the register has it."""

    records: pa.Array
    people: pa.Array
    flawed: float


async def two_tables(visitor: Visitor) -> Step:
    """Two tables that have no key in common are linked, without any examples."""
    directory = visitor.demo.directory / "linking"
    planted = await asyncio.to_thread(write_tables, directory)
    began = time.perf_counter()
    told = await _linked(directory)
    elapsed_ms = (time.perf_counter() - began) * 1000
    judged = judge(pq.read_table(directory / "links.parquet"), planted)
    check(judged.f1 >= _LEAST_F1, f"at least {_LEAST_F1:.1%} must be right, not {judged.f1:.2%}")
    return Step(
        title=f"link {ROWS:,} records with {ROWS:,} people",
        result=f"F1 {judged.f1:.2%}",
        source=f"{told['links']:,} links",
        time_ms=elapsed_ms,
        notes=(
            f"against the truth: precision {judged.precision:.2%}, recall {judged.recall:.2%} of {judged.truth:,} in both; "
            f"{told['review']:,} to review, {told['compared']:,} pairs compared",
            f"{planted.flawed:.0%} of the records differ from the register; time of the whole command, files included",
            f"report: {directory / 'report.html'}",
        ),
    )


def write_tables(directory: Path) -> Planted:
    """Write people of a register and records of other departments."""
    directory.mkdir(parents=True, exist_ok=True)
    made = list(blocks(Settings(people=_PEOPLE, seed=_SEED, coverage=_COVERAGE)))
    people, records, truth = (pa.Table.from_batches([block[register] for block in made]) for register in Register)
    draw = np.random.default_rng(_SEED)
    here, there = (pa.array(draw.permutation(table.num_rows)[:ROWS]) for table in (records, people))
    pq.write_table(records.drop_columns(["record_no"]).take(here), directory / "records.parquet")
    pq.write_table(people.drop_columns(["person_no"]).take(there), directory / "people.parquet")
    flawed = pc.mean(pc.not_equal(truth["errors"].take(here), "")).as_py()
    return Planted(truth["person_no"].take(here), people["person_no"].take(there), flawed)


async def _linked(directory: Path) -> dict[str, int]:
    """Run the command; return what it tells."""
    files = [str(directory / name) for name in ("records.parquet", "people.parquet")]
    into = ["--out", str(directory / "links.parquet"), "--report", str(directory / "report.html"), "--json"]
    command = [sys.executable, "-m", "broker.cli.main", "link", *files, *into]
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=nowhere)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise Broken("the tables could not be linked")
    told: dict[str, int] = msgspec.json.decode(output)
    return told


def judge(pairs: pa.Table, planted: Planted) -> Judged:
    """Count links against whose each row of both tables is."""
    links = pairs.filter(pc.equal(pairs["decision"], "link"))
    whose, others = np.asarray(planted.records), np.asarray(planted.people)
    linked = [np.asarray(links[name]) - 1 for name in ("left_row", "right_row")]
    same = int((whose[linked[0]] == others[linked[1]]).sum())
    return Judged(same, links.num_rows, int(np.isin(whose, others).sum()))
