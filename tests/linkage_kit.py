"""What tests of linkage share: schemas, levels of single pairs, values with small slips, pairs judged by the truth.

What must not go in here: tests.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from broker._native import linkage_index
from broker.linkage import Kind, Schema

Ints = npt.NDArray[np.int64]


def levels(schema: Schema, one: tuple[str | None, ...], other: tuple[str | None, ...]) -> tuple[int, ...]:
    """Compare two records."""
    out, row = np.empty(1, np.uint64), np.zeros(1, np.uint32)
    linkage_index.compare(schema.layout, schema.pack_one(one), schema.pack_one(other), row, row, out)
    return tuple(int(out[0]) >> 4 * place & 15 for place in range(len(schema.fields)))


def level(kind: Kind, one: str | None, other: str | None) -> int:
    """Compare two values."""
    return levels(Schema.of({"value": kind}), (one,), (other,))[0]


def miswritten(text: str, alphabet: str, draw: random.Random) -> str:
    """Make up to two slips: a character other, gone, too many, or swapped with the next."""
    found = list(text)
    for _ in range(draw.randrange(3)):
        at = draw.randrange(len(found) + 1)
        match draw.randrange(4):
            case 0 if at < len(found):
                found[at] = draw.choice(alphabet)
            case 1 if at < len(found):
                del found[at]
            case 2:
                found.insert(at, draw.choice(alphabet))
            case _ if at + 1 < len(found):
                found[at], found[at + 1] = found[at + 1], found[at]
    return "".join(found)


class Judged:
    """Links of a table of pairs, judged: `left` and `right` say whose each record is."""

    def __init__(self, pairs: pa.Table, left: Ints, right: Ints, least: float = 0.5) -> None:
        chances = pairs["probability"].to_numpy()
        self.rows, others = pairs["left"].to_numpy(), pairs["right"].to_numpy()
        self.right = left[self.rows] == right[others]
        self.linked = chances >= least
        self.chances = chances

    @property
    def correct(self) -> int:
        return int((self.right & self.linked).sum())

    @property
    def wrong(self) -> Ints:
        """Left rows that are linked to somebody else."""
        return np.asarray(self.rows[~self.right & self.linked], np.int64)

    def f1(self, truth: int) -> float:
        return 2 * self.correct / max(1, int(self.linked.sum()) + truth)


def table(**columns: list[Any]) -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in columns.items()})
