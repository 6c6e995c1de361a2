"""Who may be meant: searches in the packed index of a population, from texts to probabilities, against dictionaries in Python.

SEARCH_PEOPLE says of how many people (a million without). Each query is a record that
another department has of somebody, with what goes wrong in such records, drawn at random over the whole population.
Normalisation is part of it. Found is who stands among the five likeliest: of thirty million, many share a name and a birth date
with somebody. The dictionaries hold ids and birth dates of the same people; names are then compared by RapidFuzz, as one
does without an index. A round in which too few are found means nothing. What must not go in here: the index (query_index.py).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rapidfuzz.distance import JaroWinkler

from bench import query_index
from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from broker._native.search import Search
from broker.demo.synthetic import Register, Settings, blocks
from broker.linkage import persons
from broker.records.person_packing import KINDS

PEOPLE = int(os.environ.get("SEARCH_PEOPLE", "1_000_000"))
QUERIES = 40_000
LEAST_FOUND = 0.85  # of thirty million: a misspelt name among a thousand born on one day may be anybody's
NOBODY = "nobody who is there"
WITH_DICTIONARIES = 2_000_000  # people; beyond that they take too much memory
_REGISTERS = (Register.POPULATION, Register.OBSERVED, Register.TRUTH)
# Queries as they are asked: what is known of whom.
CLASSES = {
    "a right id and all else": ("exact", tuple(KINDS)),
    "the id alone": ("exact", ("resident_id",)),
    "an id with a slip, and a name": ("id_digit id_transposed", ("resident_id", "name")),
    "a right name and a birth date": ("exact", ("name", "birth_date")),
    "a misspelt name and a birth date": ("name_homophone name_lookalike name_traditional", ("name", "birth_date")),
    "no id, all else": ("id_missing", tuple(KINDS)),
    NOBODY: ("absent absent_twin absent_sibling absent_namesake", tuple(KINDS)),
}

Query = tuple[str | None, ...]


class World(query_index.World):
    """A population in an index, and records that others have of its people: the case, the texts, and whose they are."""

    def __init__(self, directory: Path) -> None:
        self.asked: dict[str, list[tuple[Query, int]]] = defaultdict(list)
        self.people: list[dict[str, str]] = []
        super().__init__(directory)
        self.build()
        self.index = self.opened()
        self.search = Search(self.index, self.learned.plan, *persons.search_table(self.learned.model, PEOPLE))

    def _people(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bytes_]]:
        draw, slot = np.random.default_rng(1), 0
        records = np.empty((PEOPLE, self.packing.record_bytes), np.uint8)
        for block in blocks(Settings(people=PEOPLE, seed=7), _REGISTERS):
            people = block[Register.POPULATION]
            columns = {kind: people[kind].cast(pa.string()) for kind in KINDS}
            records[slot : slot + people.num_rows] = self.packing.pack(columns)
            self._note(block, slot, draw)
            if PEOPLE <= WITH_DICTIONARIES:
                self.people += pa.table({kind: columns[kind] for kind in ("resident_id", "name", "birth_date")}).to_pylist()
            slot += people.num_rows
        return records, np.array([f"{n:018d}" for n in range(PEOPLE)], "S18")

    def _note(self, block: Any, slot: int, draw: np.random.Generator) -> None:
        """Keep so many of the records of each block that there are enough of all together."""
        truth, observed = block[Register.TRUTH], block[Register.OBSERVED]
        places = {number: slot + place for place, number in enumerate(block[Register.POPULATION]["person_no"].to_pylist())}
        kept = np.flatnonzero(draw.random(truth.num_rows) < min(1.0, 12 * QUERIES / PEOPLE))
        texts = zip(*(observed[kind].cast(pa.string()).take(kept).to_pylist() for kind in KINDS), strict=True)
        cases, owners = truth["case"].take(kept).to_pylist(), truth["person_no"].take(kept).to_pylist()
        for case, owner, text in zip(cases, owners, texts, strict=True):
            self.asked[case].append((text, places.get(owner, -1)))

    def queries(self, cases: str, known: tuple[str, ...]) -> list[tuple[Query, int]]:
        """Queries of some cases, in random order, with nothing but what is known."""
        draw = np.random.default_rng(2)
        found = [one for case in cases.split() for one in self.asked[case]]
        chosen = draw.permutation(len(found))[:QUERIES]
        hidden = [kind not in known for kind in KINDS]
        return [
            (tuple(None if hide else text for text, hide in zip(found[i][0], hidden, strict=True)), found[i][1]) for i in chosen
        ]


# --- rounds -----------------------------------------------------------------------------------------------------------


def _timed(find: Callable[[Query], list[int]], queries: list[tuple[Query, int]], least_found: float) -> Reading:
    """Ask each once, after the memory that they touch has been mapped; nanoseconds as Python takes them."""
    times, right, first, clock = np.empty(len(queries), np.int64), 0, 0, time.perf_counter_ns
    for query, _ in queries[: len(queries) // 10]:
        find(query)
    for i, (query, owner) in enumerate(queries):
        start = clock()
        found = find(query)
        times[i] = clock() - start
        right += owner in found
        first += owner == found[0]
    share = right / len(queries)
    if share < least_found:
        raise Wrong(f"only {share:.3f} of the answers are right")
    p50, p99 = (float(value) / 1e3 for value in np.percentile(times, (50, 99)))
    beside = {"p50 us": p50, "p99 us": p99, "lookups/s": 1e9 / float(times.mean())}
    beside |= {"found": share, "first": first / len(queries)}
    return Reading(float(times.mean()) / 1e3, beside)


def _by_index(world: World, least: float) -> Callable[[Query], list[int]]:
    """Look in the index; candidates count that are as likely as that."""
    find = world.search.find

    def asked(query: Query) -> list[int]:
        return [one[0] for one in find(query, 5, 0.05) if one[1] >= least] or [-1]

    return asked


def _by_dictionaries(world: World) -> Callable[[Query], list[int]]:
    """Look up the id, else the birth date and the likest name of it."""
    ids, born = {}, defaultdict(list)
    for slot, person in enumerate(world.people):
        ids[person["resident_id"]] = slot
        born[person["birth_date"]].append((person["name"], slot))
    names, births = list(KINDS).index("name"), list(KINDS).index("birth_date")
    id_place, likeness = list(KINDS).index("resident_id"), JaroWinkler.similarity

    def asked(query: Query) -> list[int]:
        own, name = query[id_place], query[names] or ""
        if own in ids:
            return [ids[own]]
        best, slot = max(
            ((likeness(name, other), slot) for other, slot in born.get(query[births] or "", ())), default=(0.0, -1)
        )
        return [slot] if best >= 0.7 else [-1]

    return asked


def _cases(world: World) -> Iterator[Case]:
    by_dictionaries = _by_dictionaries(world) if world.people else None
    for name, (cases, known) in CLASSES.items():
        queries = world.queries(cases, known)
        by_index = _by_index(world, 0.5 if name == NOBODY else 0.0)
        contenders = [Contender("search", partial(_timed, by_index, queries, LEAST_FOUND))]
        if by_dictionaries:
            contenders.append(Contender("dictionaries", partial(_timed, by_dictionaries, queries, 0.0)))
        yield Case(name, tuple(contenders), {"people": PEOPLE, "queries": len(queries)})


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    query_index.PEOPLE = PEOPLE
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("QUERY_INDEX_DIRECTORY")) as directory:
        yield list(_cases(World(Path(directory))))


BENCHMARK = Benchmark(title="a search for a person", unit="µs", higher_is_better=False, open=_open)
