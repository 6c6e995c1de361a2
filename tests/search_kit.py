"""A population in a searchable index, in memory, for tests; and the search that looks at everybody, by what the model says."""

from __future__ import annotations

import functools
import math
import mmap
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from broker._native import linkage_index, query_build
from broker._native.query_index import Index
from broker._native.search import Search
from broker.demo.synthetic import Register, Settings, generate
from broker.linkage import Model, Schema, persons
from broker.records.person_packing import KINDS

SCHEMA = Schema.of(KINDS)
PLACES = tuple(KINDS)

Known = tuple[str | None, ...]


class Population(NamedTuple):
    rows: np.ndarray
    model: Model
    search: Search
    observed: list[tuple[Known, int, str]]  # what is known, whose row it is (-1: nobody's), and the case

    def everybody(self, known: Known) -> tuple[float, int]:
        """The greatest logarithm of odds of all rows, and whose: the oracle of a search."""
        query = np.frombuffer(SCHEMA.pack_one(known), np.uint8).reshape(1, -1)
        others = np.arange(len(self.rows), dtype=np.uint32)
        patterns = np.empty(len(self.rows), np.uint64)
        linkage_index.compare(SCHEMA.layout, query, self.rows, np.zeros_like(others), others, patterns)
        odds = self.model.log_odds(patterns, len(self.rows))
        return float(odds.max()), int(odds.argmax())

    def share_a_key(self, known: Known, row: int) -> bool:
        """Whether a row can be found at all: by a key that not too many have."""
        plan = self.model.blocking.plan(SCHEMA)
        keys = np.empty((2, plan.width), np.uint64)
        query = np.frombuffer(SCHEMA.pack_one(known), np.uint8)
        plan.keys(np.stack([query, self.rows[row]]), keys)
        return bool(set(keys[0].tolist()) & set(keys[1].tolist()) - {0})


def table(people: int, seed: int, register: Register) -> pa.Table:
    return pa.Table.from_batches(list(generate(Settings(people=people, seed=seed), register)))


def texts(of: pa.Table) -> list[Known]:
    return list(zip(*(of[kind].cast(pa.string()).to_pylist() for kind in PLACES), strict=True))


def indexed(rows: np.ndarray, model: Model) -> Index:
    """An index of rows, which are kept under their numbers."""
    plan = model.blocking.plan(SCHEMA)
    keys = np.empty((len(rows), plan.width), np.uint64)
    plan.keys(rows, keys)
    postings = query_build.Postings(bytearray(query_build.scratch_bytes(keys.size) + 64), keys.size, plan.width)
    postings.add(keys)
    words, _ = query_build.key_words([f"{n:018d}1"[1:].encode() for n in range(len(rows))], 0)
    at = query_build.places(len(rows), rows.shape[1], keys_per_record=plan.width, pairs=postings.pairs)
    file = mmap.mmap(-1, at["file"] + mmap.PAGESIZE)
    file[at["records"] : at["records"] + rows.nbytes] = rows.tobytes()
    file[at["words"] : at["words"] + len(words)] = words
    made: dict[str, Any] = {"layout": bytes(32), "learned": b"", "build": 1, "built_at_ms": 1}
    postings.seal(file, stride=rows.shape[1], heap_bytes=0, cap=model.blocking.cap, **made)
    return Index(file)


@functools.cache
def population(people: int, seed: int) -> Population:
    register = table(people, seed, Register.POPULATION)
    rows = SCHEMA.pack(pa.table({kind: register[kind].cast(pa.string()) for kind in PLACES}))
    model = persons.model_of(SCHEMA, rows)
    search = Search(indexed(rows, model), model.blocking.plan(SCHEMA), *persons.search_table(model, people))
    places = {number: place for place, number in enumerate(register["person_no"].to_pylist())}
    truth = table(people, seed, Register.TRUTH)
    owners = [places.get(number, -1) for number in truth["person_no"].to_pylist()]
    known = texts(table(people, seed, Register.OBSERVED))
    return Population(rows, model, search, list(zip(known, owners, truth["case"].to_pylist(), strict=True)))


def chance(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
