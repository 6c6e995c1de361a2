"""Which errors records have: drawn by their rates, taken back where they cannot happen, told as the truth.

The same for people and for legal persons: an error is in one column, a record has at most one in each, and one that has errors
in two columns or three is a case of its own. What must not go in here: what an error does to a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from broker.demo.synthetic.columns import replaced, words
from broker.demo.synthetic.draws import Codes, Draws, Flags, Ints, weighted
from broker.demo.synthetic.settings import EXACT, SEVERAL, Error

NO_ERROR = -1
_TWO_TO_THREE = ((2, 3), (3, 1))  # three records with two errors for one with three


class Errors:
    """The errors of records: a row a record, a column for each that can be wrong, indexes of the kinds or NO_ERROR."""

    def __init__(self, kinds: Mapping[str, Error], wrong: Codes | None = None) -> None:
        self._kinds, self._names = kinds, tuple(kinds)
        self._columns = tuple(dict.fromkeys(kind.column for kind in kinds.values()))
        self._wrong = wrong if wrong is not None else np.empty((0, len(self._columns)), dtype=np.int64)

    def drawn(self, draws: Draws, given: Mapping[str, float], count: int) -> Errors:
        """Draw errors of the same kinds by their rates, as if each could happen to every record."""
        rates = {name: given.get(name, 0.0) for name in (*self._names, SEVERAL)}
        case = self._one_of(draws, rates | {EXACT: 1 - sum(rates.values())}, count)
        found = np.full((count, len(self._columns)), NO_ERROR, dtype=np.int64)
        single = np.flatnonzero(case < len(self._names))
        column_of = np.array([self._columns.index(kind.column) for kind in self._kinds.values()])
        found[single, column_of[case[single]]] = case[single]
        several = np.flatnonzero(case == len(self._names))
        chosen = self._sets()[draws.below(len(self._sets()), len(several))]
        for place, column in enumerate(self._columns):
            usual = {name: rates[name] for name, kind in self._kinds.items() if kind.column == column and not kind.seldom}
            if any(usual.values()):
                rows = several[chosen[:, place]]
                found[rows, place] = self._one_of(draws, usual, len(rows))
        return Errors(self._kinds, found)

    def _one_of(self, draws: Draws, rates: Mapping[str, float], count: int) -> Codes:
        """Draw cases by their rates, as indexes of the kinds, then several, then exact."""
        index = {name: index for index, name in enumerate((*self._names, SEVERAL, EXACT))}
        possible = [name for name, rate in rates.items() if rate > 0]
        indexes = np.array([index[name] for name in possible], dtype=np.int64)
        return indexes[draws.pick(weighted([rates[name] for name in possible]), count)]

    def _sets(self) -> Flags:
        """Give the sets of columns that are wrong together, as flags; those of two stand more often than those of three."""
        places = range(len(self._columns))
        sets = [own for size, times in _TWO_TO_THREE for _ in range(times) for own in combinations(places, size)]
        return np.array([[place in own for place in places] for own in sets])

    def of(self, rows: Ints, absent: Flags) -> Errors:
        """Take the errors of some records; those of absent people have none."""
        found = self._wrong[rows]
        found[absent] = NO_ERROR
        return Errors(self._kinds, found)

    def having(self, error: str) -> Flags:
        """Say which records have an error."""
        column = self._columns.index(self._kinds[error].column)
        return np.asarray(self._wrong[:, column] == self._names.index(error), dtype=np.bool_)

    def take_back(self, column: str, rows: Ints | Flags) -> None:
        """Leave a column of some records right."""
        self._wrong[rows, self._columns.index(column)] = NO_ERROR

    def slipped(self, draws: Draws, column: str, right: pa.Array, slips: Mapping[str, Any]) -> pa.Array:
        """Write the values of a column wrong where it has an error of these slips; take back those that cannot happen."""
        errors = self._wrong[:, self._columns.index(column)]
        lots = draws.lots(len(errors))
        slip_of = {self._names.index(name): slip for name, slip in slips.items()}
        rows = np.flatnonzero(np.isin(errors, list(slip_of)))
        values = pc.take(right, pa.array(rows)).to_pylist()
        drawn = zip(values, errors[rows].tolist(), lots[rows].tolist(), strict=True)
        slipped = [slip_of[error](value, lot) for value, error, lot in drawn]
        self.take_back(column, rows[np.array([value is None for value in slipped], dtype=np.bool_)])
        wrong = [own if value is None else value for value, own in zip(slipped, values, strict=True)]
        mask = np.zeros(len(errors), dtype=np.bool_)
        mask[rows] = True
        return replaced(right, mask, pa.array(wrong, right.type))

    def cases(self, absent: Codes, classes: Mapping[str, float]) -> pa.Array:
        """Name the case of every record; absent has -1, or an index of the classes of the absent."""
        wrong = self._wrong != NO_ERROR
        count = wrong.sum(axis=1)
        first = self._wrong[np.arange(len(wrong)), np.argmax(wrong, axis=1)]
        case = np.where(count == 0, 0, np.where(count == 1, 2 + first, 1))
        return words((EXACT, SEVERAL, *self._names, *classes), np.where(absent < 0, case, 2 + len(self._names) + absent))

    def lists(self) -> pa.Array:
        """Name all errors of every record, joined by a plus sign; "" for a record without."""
        wrong = np.flatnonzero((self._wrong != NO_ERROR).any(axis=1))
        packed = (self._wrong[wrong] + 1) @ (len(self._names) + 1) ** np.arange(len(self._columns))  # few sets come up
        _, examples, which = np.unique(packed, return_index=True, return_inverse=True)
        rows = [[self._names[error] for error in self._wrong[wrong[row]] if error != NO_ERROR] for row in examples]
        index = np.zeros(len(self._wrong), dtype=np.int64)
        index[wrong] = 1 + which
        return words(["", *("+".join(row) for row in rows)], index)
