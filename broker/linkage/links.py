"""Linking two tables, or finding the duplicates in one: from Arrow to a table of pairs.

What must not go in here: how a probability comes about (model.py, estimate.py), clusters (clusters.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa

from broker._native import linkage as native
from broker.linkage import blocking, estimate
from broker.linkage.model import Floats, Model, Patterns, levels_of, probability
from broker.linkage.schema import Rows, Schema

TRAINING_ROWS = 50_000
LEAST_PROBABILITY = 0.01  # of pairs that are told at all
_SLICE = 200_000
_SLACK = 2.0  # natural logarithms: what kin classes can only lower is cut a little below


class Constraint(StrEnum):
    """How many records of the other table one may be linked to."""

    NONE = "none"
    ONE_TO_ONE = "one to one"  # neither table has duplicates


@dataclass(frozen=True)
class Found:
    """Pairs by row of both tables, with patterns and the logarithm of their odds."""

    left: np.ndarray
    right: np.ndarray
    patterns: Patterns
    log_odds: Floats
    compared: int = 0

    def where(self, rows: np.ndarray) -> Found:
        """Take some of the pairs."""
        return Found(self.left[rows], self.right[rows], self.patterns[rows], self.log_odds[rows], self.compared)


def link(left: pa.Table, right: pa.Table, schema: Schema, constraint: Constraint = Constraint.ONE_TO_ONE) -> pa.Table:
    """Link the records of two tables, with a model trained on them.

    Return columns `left` and `right` (rows), `probability`, and the level of each field.

    Raises:
        UnknownColumn: a table lacks a column of the schema.
    """
    rows, base = schema.pack(left), schema.pack(right)
    agreement, shares = estimate.rarities(schema, [rows, base])
    linkage = _train(schema, rows, base, agreement, shares, within=False)
    found = linkage.find(rows, within=False)
    return told(found, schema, settled(found) if constraint is Constraint.ONE_TO_ONE else probability(found.log_odds))


def dedupe(table: pa.Table, schema: Schema) -> pa.Table:
    """Find the pairs of records of one table that are of the same person; columns as of `link`, `left` below `right`.

    Raises:
        UnknownColumn: the table lacks a column of the schema.
    """
    rows = schema.pack(table)
    agreement, shares = estimate.rarities(schema, [rows])
    found = _train(schema, rows, rows, agreement, shares, within=True).find(rows, within=True)
    return told(found, schema, probability(found.log_odds))


@dataclass(frozen=True)
class Linkage:
    """A model and the table it looks up in."""

    model: Model
    index: native.Index
    size: int

    def find(self, rows: Rows, *, within: bool) -> Found:
        """Give all pairs of at least LEAST_PROBABILITY."""
        least = float(np.log(LEAST_PROBABILITY) - np.log(max(self.model.matches, 1e-9) / self.size) - _SLACK)
        pieces = list(_pieces(self.index, rows, self.model.weights(), least, within))
        found = Found(
            *(np.concatenate(columns) for columns in zip(*(piece[:3] for piece in pieces), strict=True)),
            np.empty(0),
            sum(piece[3] for piece in pieces),
        )
        found = Found(found.left, found.right, found.patterns, self.model.log_odds(found.patterns, self.size), found.compared)
        return found.where(found.log_odds >= np.log(LEAST_PROBABILITY))


def _pieces(
    index: native.Index, rows: Rows, weights: np.ndarray, least: float, within: bool, step: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray, Patterns, int]]:
    total = len(range(0, len(rows), step))
    for first in range(0, max(total, 1), _SLICE):
        count = min(_SLICE, total - first)
        left, right, patterns, _, compared, _ = index.find(rows, first * step, step, count, weights, least, within)
        yield np.frombuffer(left, np.uint32), np.frombuffer(right, np.uint32), np.frombuffer(patterns, np.uint64), compared


def _train(schema: Schema, left: Rows, right: Rows, agreement: Floats, shares: Floats, *, within: bool) -> Linkage:
    rules = blocking.choose(schema, right)
    index = native.Index(rules.plan(schema), right, rules.cap)
    step = max(1, len(left) // TRAINING_ROWS)
    nothing = np.zeros((16, 16), np.float32)
    pieces = [piece[2] for piece in _pieces(index, left, nothing, 0.0, within, step)]
    patterns, counts = np.unique(np.concatenate(pieces), return_counts=True)
    pairs = len(left) * (len(left) - 1) / 2 if within else float(len(left) * len(right))
    seen = estimate.Observed(
        agreement,
        shares,
        estimate.random_levels(schema, left, right),
        patterns,
        counts * (len(left) / len(range(0, len(left), step))),
        max(pairs, 1.0),
    )
    fitted = estimate.fit(schema, seen, 0.3 * min(len(left), len(right)))
    size = max(1.0, pairs / len(left)) if len(left) else 1.0
    matches, *kin = (fitted.pairs / pairs * size).tolist()
    return Linkage(Model(schema, rules, fitted.levels, matches, tuple(kin)), index, int(max(2, size)))


def settled(found: Found) -> Floats:
    """Give probabilities where a record has at most one match: the others that it could be linked to count against each."""
    odds = np.exp(np.minimum(found.log_odds, 700.0))
    rivals = np.zeros(len(odds))
    for side in (found.left, found.right):
        if len(side):
            rivals += np.bincount(side, odds)[side] - odds
    return np.asarray(odds / (1.0 + odds + np.maximum(rivals, 0.0)))


def told(found: Found, schema: Schema, chances: Floats) -> pa.Table:
    """Write pairs as a table, the likeliest first of each left row."""
    kept = np.flatnonzero(chances >= LEAST_PROBABILITY)
    kept = kept[np.lexsort((-chances[kept], found.left[kept]))]
    levels = levels_of(found.patterns[kept], len(schema.fields))
    columns = {"left": found.left[kept], "right": found.right[kept], "probability": chances[kept]}
    return pa.table(columns | {field.name: levels[:, place] for place, field in enumerate(schema.fields)})
