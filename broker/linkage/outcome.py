"""One linkage, from two tables or one to all that can be told about it: pairs, model, counts, expected errors, clusters.

    outcome = examine(left, right, schema)
    outcome.pairs, outcome.decisions, outcome.expected

What must not go in here: how a probability comes about (model.py), how it is shown (report.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from broker.linkage import links
from broker.linkage.links import Constraint, Decision, RowNumbers
from broker.linkage.model import Floats, Model, probability
from broker.linkage.schema import Schema

FEW_ROWS = 300  # below, a model has too little to learn from
Told = Callable[[str, int, int], None]  # what is being done, how many rows of it, of how many


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Tell nobody."""


class Thresholds(NamedTuple):
    """From which probability on a pair is a link, and from which on it is for review."""

    link: float = links.LINK
    review: float = links.REVIEW


USUAL = Thresholds()


class Expected(NamedTuple):
    """What the probabilities themselves say of the links: sums over pairs, not counted against any truth.

    Attributes:
        matches: pairs of one person among all that were told.
        linked: those of them that are links.
        reviewed: those of them that are for review.
        links: how many links there are.
    """

    matches: float
    linked: float
    reviewed: float
    links: int

    @property
    def precision(self) -> float:
        """Return the share of links that are right; 1 where there are none."""
        return self.linked / self.links if self.links else 1.0

    @property
    def recall(self) -> float:
        """Return the share of matches, among pairs that were compared, that are linked; 1 where there are none."""
        return self.linked / self.matches if self.matches else 1.0


@dataclass(frozen=True)
class Outcome:
    """A linkage that is done.

    Attributes:
        schema: the fields.
        model: what it was decided by.
        rows: of the left table and of the right one; of one table, twice the same.
        within: whether duplicates of one table were looked for.
        constraint: how many records of the other table one may be linked to.
        compared: pairs that were compared.
        dropped: keys that too many records share to look anybody up by.
        pairs: table as of `links.link`: left, right, probability, and the level of each field.
        thresholds: of what is a link and what is for review.
        clusters: for each row of one table, the first row of its cluster; None where they were not asked for.
    """

    schema: Schema
    model: Model
    rows: tuple[int, int]
    within: bool
    constraint: Constraint
    compared: int
    dropped: int
    pairs: pa.Table
    thresholds: Thresholds
    clusters: RowNumbers | None

    @cached_property
    def chances(self) -> Floats:
        """Probabilities of the pairs."""
        return np.asarray(self.pairs["probability"].to_numpy())

    @cached_property
    def decisions(self) -> npt.NDArray[np.uint8]:
        """Decisions on the pairs: places in `list(Decision)`."""
        link, review = (self.chances >= least for least in self.thresholds)
        return np.asarray(np.where(link, 0, np.where(review, 1, 2)), np.uint8)

    def count(self, decision: Decision) -> int:
        """Count the pairs of a decision; of those left alone, all that were compared."""
        told = int((self.decisions == list(Decision).index(decision)).sum())
        return told + self.compared - len(self.chances) if decision is Decision.NONE else told

    @property
    def expected(self) -> Expected:
        """What is to be expected of the links."""
        sums = [float(self.chances[self.decisions == place].sum()) for place in range(3)]
        return Expected(sum(sums), sums[0], sums[1], self.count(Decision.LINK))

    def linked_rows(self, side: str) -> int:
        """Count the rows of a side (`left` or `right`) that have a link; of one table, rows on either side."""
        linked = self.pairs.filter(pa.array(self.decisions == 0))
        sides = ("left", "right") if self.within else (side,)
        return len(np.unique(np.concatenate([linked[name].to_numpy() for name in sides])))

    @property
    def cluster_sizes(self) -> dict[int, int]:
        """How many clusters there are of each size, smallest first; nothing where they were not asked for."""
        if self.clusters is None:
            return {}
        _, members = np.unique(self.clusters, return_counts=True)
        return dict(zip(*(found.tolist() for found in np.unique(members, return_counts=True)), strict=True))


def examine(
    left: pa.Table,
    right: pa.Table | None,
    schema: Schema,
    constraint: Constraint = Constraint.ONE_TO_ONE,
    thresholds: Thresholds = USUAL,
    *,
    clusters: bool = False,
    told: Told = _silent,
) -> Outcome:
    """Link two tables, or find the duplicates of one, with a model trained on them.

    `clusters`: also put the records of one table together; all pairs that are compared are then held at once, about 24 bytes
    each. `told` hears of stages "training" and "linking".

    Raises:
        UnknownColumn: a table lacks a column of the schema.
    """
    rows = schema.pack(left)
    base = None if right is None else schema.pack(right)
    told("training", 0, 0)
    linkage = links.trained(schema, rows, base)
    all_of_them = clusters and base is None
    least = 0.0 if all_of_them else links.LEAST_PROBABILITY
    told("linking", 0, len(rows))
    found = linkage.find(rows, within=base is None, least=least, done=lambda count: told("linking", count, len(rows)))
    alone = base is None or constraint is Constraint.NONE
    return Outcome(
        schema=schema,
        model=linkage.model,
        rows=(len(rows), len(rows if base is None else base)),
        within=base is None,
        constraint=constraint if base is not None else Constraint.NONE,
        compared=found.compared,
        dropped=linkage.index.dropped,
        pairs=links.told(found, linkage.model, probability(found.log_odds) if alone else links.settled(found)),
        thresholds=thresholds,
        clusters=links.clustered(found, len(rows)) if all_of_them else None,
    )
