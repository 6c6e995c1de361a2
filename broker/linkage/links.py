"""Linking two tables, or finding the duplicates in one: from Arrow to tables of pairs and clusters.

What must not go in here: how a probability comes about (model.py, estimate.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from broker._native import linkage_index as native
from broker.linkage import blocking, estimate
from broker.linkage.cores import in_order, slices
from broker.linkage.model import LEVELS, Floats, Model, Patterns, levels_of, probability
from broker.linkage.schema import Rows, Schema

TRAINING_ROWS = 50_000
LEAST_PROBABILITY = 0.01  # of pairs that are told at all
LINK, REVIEW = 0.5, 0.05
# Of one pair, either way, when clusters are weighed; and what a pair says that no key brought together.
CLIP, UNCOMPARED = 10.0, -1.0
MODEL = "model"  # in the metadata of a table of pairs
_NOTHING = np.zeros((LEVELS, LEVELS), np.float32)

RowNumbers = npt.NDArray[np.uint32]


class Constraint(StrEnum):
    """How many records of the other table one may be linked to."""

    NONE = "none"
    ONE_TO_ONE = "one to one"  # neither table has duplicates


class Decision(StrEnum):
    """What is to be done with a pair."""

    LINK = "link"
    REVIEW = "review"
    NONE = "none"


def decide(chance: float) -> Decision:
    """Decide by the probability of a match."""
    return Decision.LINK if chance >= LINK else Decision.REVIEW if chance >= REVIEW else Decision.NONE


@dataclass(frozen=True)
class Found:
    """Pairs by row of both tables, with patterns and the logarithm of their odds."""

    left: RowNumbers
    right: RowNumbers
    patterns: Patterns
    log_odds: Floats
    compared: int  # pairs, also those that are not told

    def where(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Found:
        """Take some of the pairs."""
        return Found(self.left[rows], self.right[rows], self.patterns[rows], self.log_odds[rows], self.compared)


@dataclass(frozen=True)
class Linkage:
    """A model, and the table in which it looks records up; of how many records it is as a base."""

    model: Model
    index: native.Index
    size: float

    def find(
        self, rows: Rows, *, within: bool, least: float = LEAST_PROBABILITY, done: Callable[[int], object] = lambda _: None
    ) -> Found:
        """Give all pairs of at least a probability; 0 gives all that were compared. `done` is told how many rows are."""
        bound = np.log(least) - np.log1p(-least) if least > 0 else -np.inf
        # Classes of kin only take from the odds, so what weighs less against strangers can be left out at once.
        enough = float(max(bound - np.log(self.model.matches / self.size) - 0.1, -1e30))
        pieces = []
        for piece in _pieces(self.index, rows, self.model.weights(), enough, within=within):
            pieces.append(piece)
            done(sum(one.rows for one in pieces))
        left, right, patterns = (np.concatenate(column) for column in zip(*(piece.columns for piece in pieces), strict=True))
        compared = sum(piece.compared for piece in pieces)
        found = Found(left, right, patterns, self.model.log_odds(patterns, self.size), compared)
        return found.where(found.log_odds >= bound) if least > 0 else found


def link(left: pa.Table, right: pa.Table, schema: Schema, constraint: Constraint = Constraint.ONE_TO_ONE) -> pa.Table:
    """Link the records of two tables, with a model trained on them.

    Return columns `left` and `right` (rows, u32), `probability` (f64), and the level of each field (u8); `decide` says what a
    probability means, `explain` what came to it.

    Raises:
        UnknownColumn: a table lacks a column of the schema.
    """
    rows, base = schema.pack(left), schema.pack(right)
    linkage = trained(schema, rows, base)
    found = linkage.find(rows, within=False)
    return told(found, linkage.model, settled(found) if constraint is Constraint.ONE_TO_ONE else probability(found.log_odds))


def dedupe(table: pa.Table, schema: Schema) -> pa.Table:
    """Find the pairs of records of one table that are of the same person; columns as of `link`, `left` below `right`.

    Raises:
        UnknownColumn: the table lacks a column of the schema.
    """
    rows = schema.pack(table)
    linkage = trained(schema, rows)
    found = linkage.find(rows, within=True)
    return told(found, linkage.model, probability(found.log_odds))


def cluster(table: pa.Table, schema: Schema) -> RowNumbers:
    """Put the records of one table that are of the same person together: for each row, the first row of its cluster.

    All pairs that are compared are held at once, about 24 bytes each.

    Raises:
        UnknownColumn: the table lacks a column of the schema.
    """
    rows = schema.pack(table)
    return clustered(trained(schema, rows).find(rows, within=True, least=0.0), len(rows))


def clustered(found: Found, rows: int) -> RowNumbers:
    """Put so many rows together by all pairs of theirs that were compared."""
    found = found.where(np.argsort(-found.log_odds, kind="stable"))
    clusters = np.empty(rows, np.uint32)
    native.cluster(rows, found.left, found.right, found.log_odds, 0.0, CLIP, UNCOMPARED, clusters)
    return clusters


# --- training ---------------------------------------------------------------------------------------------------------


def trained(schema: Schema, left: Rows, right: Rows | None = None) -> Linkage:
    """Train a model on two packed tables, or on one and itself; their rows get the rarity of their values."""
    within = right is None
    base = left if right is None else right
    agreement, shares = estimate.rarities(schema, [left] if within else [left, base])
    rules = blocking.choose(schema, base)
    index = native.Index(rules.plan(schema), base, rules.cap)
    step = max(1, len(left) // TRAINING_ROWS)
    sampled = np.concatenate([piece.columns[2] for piece in _pieces(index, left, _NOTHING, 0.0, within=within, step=step)])
    patterns, counts = np.unique(sampled, return_counts=True)
    pairs = max(1.0, len(left) * (len(left) - 1) / 2 if within else float(len(left) * len(base)))
    seen = estimate.Observed(
        agreement=agreement,
        shares=shares,
        random=estimate.random_levels(schema, left, base),
        patterns=patterns,
        counts=np.asarray(counts * float(step), np.float64),
        pairs=pairs,
    )
    fitted = estimate.fit(schema, seen, 0.3 * min(len(left), len(base)) + 1.0)
    size = max(2.0, pairs / max(1, len(left)))
    matches, *kin = (fitted.pairs / pairs * size).tolist()
    return Linkage(Model(schema, rules, fitted.levels, matches, tuple(kin)), index, size)


class _Piece(NamedTuple):
    rows: int  # that were looked up
    columns: tuple[RowNumbers, RowNumbers, Patterns]
    compared: int


def _pieces(
    index: native.Index, rows: Rows, weights: npt.NDArray[np.float32], least: float, *, within: bool, step: int = 1
) -> Iterator[_Piece]:
    """Look up every so many rows, in slices; there is always one piece."""

    def look_up(part: slice) -> _Piece:
        first, count = part.start * step, part.stop - part.start
        left, right, patterns, _, compared, _ = index.find(rows, first, step, count, weights, least, within)
        columns = np.frombuffer(left, np.uint32), np.frombuffer(right, np.uint32), np.frombuffer(patterns, np.uint64)
        return _Piece(count, columns, compared)

    parts = slices(len(range(0, len(rows), step)))
    yield from in_order(functools.partial(look_up, part) for part in parts or [slice(0, 0)])


# --- telling ----------------------------------------------------------------------------------------------------------


def settled(found: Found) -> Floats:
    """Give probabilities where a record has at most one match: the others that it could be linked to count against each."""
    odds = np.exp(np.minimum(found.log_odds, 500.0))
    rivals = np.zeros(len(odds))
    for side in (found.left, found.right):
        if len(side):
            rivals += np.bincount(side, odds)[side] - odds
    return np.asarray(odds / (1.0 + odds + np.maximum(rivals, 0.0)))


def told(found: Found, model: Model, chances: Floats) -> pa.Table:
    """Write pairs as a table, the likeliest first of each left row, with the model in the metadata of its schema."""
    kept = np.flatnonzero(chances >= LEAST_PROBABILITY)
    kept = kept[np.lexsort((-chances[kept], found.left[kept]))]
    fields = [field.name for field in model.schema.fields]
    levels = levels_of(found.patterns[kept], len(fields))
    columns = {"left": found.left[kept], "right": found.right[kept], "probability": chances[kept]}
    pairs = pa.table(columns | {name: np.ascontiguousarray(levels[:, place]) for place, name in enumerate(fields)})
    return pairs.replace_schema_metadata({MODEL: model.to_json()})


def explain(pairs: pa.Table, row: int) -> dict[str, tuple[int, float]]:
    """Tell, for a pair of such a table, the level of each field and the bits that it speaks for a match, or against it."""
    model = Model.from_json(pairs.schema.metadata[MODEL.encode()])
    levels = [pairs[field.name][row].as_py() for field in model.schema.fields]
    return model.explain(sum(level << 4 * place for place, level in enumerate(levels)))
