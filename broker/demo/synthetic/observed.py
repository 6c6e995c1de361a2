"""What other departments hold of a block's people: who is in it, what is wrong with each record, and the records themselves.

Which error a record has is drawn first, as a number for each column that can have one; then every column is made right and the
wrong ones are put in. What must not go in here: how a value is miswritten (slips.py), what the base holds (registers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from broker.demo.synthetic import places, slips
from broker.demo.synthetic.columns import dates, replaced, spelled, words
from broker.demo.synthetic.draws import Codes, Draws, Flags, Ints, weighted
from broker.demo.synthetic.numbers import BLOCKS_OF_CITY, NO_PHONE, district_of, phone_numbers, phone_texts, text
from broker.demo.synthetic.settings import ABSENT, ERRORS, EXACT, SEVERAL, Settings
from broker.demo.synthetic.world import PRESENT, World

SOURCES = ("民政", "人社", "卫健", "教育", "住建", "医保")
COLUMNS = tuple(dict.fromkeys(error.column for error in ERRORS.values()))
NO_ERROR = -1
_NAMES = tuple(ERRORS)
_FRESH_PHONES = 80_000  # from this place on, numbers of a block that nobody in its world has
_STAYS_IN_THE_DISTRICT = 0.7  # of those who move
_SETS = [pair for size, share in ((2, 3), (3, 1)) for _ in range(share) for pair in combinations(range(len(COLUMNS)), size)]
_IN_SET = np.array([[column in chosen for column in range(len(COLUMNS))] for chosen in _SETS])


@dataclass(frozen=True)
class Records:
    """Records in their order: whose they are (rows of the world's people), and the error of each column.

    errors: rows x columns of indexes into `ERRORS`, or NO_ERROR.
    """

    rows: Ints
    errors: Codes


def chosen(settings: Settings, world: World, known: Flags) -> Records:
    """Choose whom departments know of those who are known at all, in which order, and what is wrong."""
    draws = Draws(settings.seed, world.block, "observed")
    count = len(known)
    order = draws.order(count)
    covered = draws.chance(settings.coverage, count) | (world.people.absent != PRESENT)
    errors = _errors(settings, draws, count)
    errors[world.people.absent != PRESENT] = NO_ERROR
    rows = order[(covered & known)[order]]
    return Records(rows, errors[rows])


def _errors(settings: Settings, draws: Draws, count: int) -> Codes:
    """Draw the errors of records, as if each could happen."""
    rates = [settings.errors.get(name, 0.0) for name in (*_NAMES, SEVERAL)]
    limits = np.cumsum(rates)
    case = np.searchsorted(limits, draws.lots(count) / 2.0**64, side="right")
    several = case == len(_NAMES)
    sets = _IN_SET[draws.below(len(_SETS), count)]
    found = np.full((count, len(COLUMNS)), NO_ERROR, dtype=np.int64)
    for place, column in enumerate(COLUMNS):
        own = [index for index, name in enumerate(_NAMES) if ERRORS[name].column == column]
        single = np.isin(case, own)
        found[single, place] = case[single]
        if any(rates[index] for index in own):
            rows = several & sets[:, place]
            found[rows, place] = _one_of(draws, own, rates, count)[rows]
    return found


def _one_of(draws: Draws, errors: list[int], rates: list[float], count: int) -> Codes:
    possible = [index for index in errors if rates[index]]
    return np.array(possible)[draws.pick(weighted([rates[index] for index in possible]), count)]


# --- the records --------------------------------------------------------------------------------------------------------


class Writing:
    """The columns of records being written; what could not go wrong is taken back from the errors."""

    def __init__(self, settings: Settings, world: World, records: Records) -> None:
        self.draws = Draws(settings.seed, world.block, "slips")
        self.world, self.rows = world, records.rows
        self.people = world.people.taken(records.rows)
        self.errors = records.errors.copy()

    def columns(self) -> dict[str, pa.Array]:
        """Write them; afterwards `errors` is what is really wrong."""
        return {
            "resident_id": self._resident_ids(),
            "name": self._slipped("name", spelled(self.people.names), slips.NAME_SLIPS),
            "birth_date": self._slipped("birth_date", dates(self.people.birth), slips.BIRTH_SLIPS),
            "address": self._addresses(),
            "phone": self._phones(),
        }

    def _with(self, error: str) -> Flags:
        """Say which records have an error."""
        return np.asarray(self.errors[:, COLUMNS.index(ERRORS[error].column)] == _NAMES.index(error), dtype=np.bool_)

    def _take_back(self, column: str, rows: Ints | Flags) -> None:
        self.errors[rows, COLUMNS.index(column)] = NO_ERROR

    def _slipped(self, column: str, right: pa.Array, kinds: Mapping[str, Any]) -> pa.Array:
        """Write the values of a column wrong where it has one of these errors."""
        errors = self.errors[:, COLUMNS.index(column)]
        lots = self.draws.lots(len(errors))
        slip_of = {_NAMES.index(name): slip for name, slip in kinds.items()}
        rows = np.flatnonzero(np.isin(errors, list(slip_of)))
        values = pc.take(right, pa.array(rows)).to_pylist()
        slipped = [
            slip_of[error](value, lot)
            for value, error, lot in zip(values, errors[rows].tolist(), lots[rows].tolist(), strict=True)
        ]
        self._take_back(column, rows[np.array([value is None for value in slipped], dtype=np.bool_)])
        wrong = [value if value is not None else right for value, right in zip(slipped, values, strict=True)]
        mask = np.zeros(len(errors), dtype=np.bool_)
        mask[rows] = True
        return replaced(right, mask, pa.array(wrong, right.type))

    def _resident_ids(self) -> pa.Array:
        written = self._slipped("resident_id", text(self.world.resident_ids[self.rows]), slips.ID_SLIPS)
        return pc.if_else(pa.array(self._with("id_missing")), pa.scalar(None, pa.string()), written)

    def _phones(self) -> pa.Array:
        numbers, changed = self.people.phone.copy(), self._with("phone_changed")
        numbers[changed] = phone_numbers(self.world.block, _FRESH_PHONES + np.arange(int(changed.sum())))
        missing = self._with("phone_missing")
        self._take_back("phone", missing & (numbers == NO_PHONE))
        numbers[missing] = NO_PHONE
        return phone_texts(numbers)

    def _addresses(self) -> pa.Array:
        city = places.city_of(self.world.block // BLOCKS_OF_CITY)
        right = pc.take(city.addresses(self.world.dwellings), pa.array(self.people.dwelling))
        dwellings = self.world.dwellings[self.people.dwelling]
        moved, rewritten = self._with("moved"), self._with("address_written")
        dwellings[moved] = self._new_homes(int(moved.sum()))
        styles = np.zeros(len(moved), dtype=np.int64)
        styles[rewritten] = self.draws.between(1, len(places.STYLES) - 1, int(rewritten.sum()))
        wrong = moved | rewritten
        return replaced(right, wrong, city.addresses(dwellings[wrong], styles[wrong]))

    def _new_homes(self, count: int) -> Codes:
        home = district_of(self.world.block)
        others = (home + 1 + self.draws.below(places.DISTRICTS - 1, count)) % places.DISTRICTS
        stays = self.draws.chance(_STAYS_IN_THE_DISTRICT, count)
        return places.dwellings(self.draws, np.where(stays, home, others))

    # --- the truth ------------------------------------------------------------------------------------------------------

    def cases(self) -> pa.Array:
        """Name the class of every record."""
        wrong = self.errors != NO_ERROR
        count = wrong.sum(axis=1)
        first = self.errors[np.arange(len(wrong)), np.argmax(wrong, axis=1)]
        options = (EXACT, SEVERAL, *_NAMES, *ABSENT)
        case = np.where(count == 0, 0, np.where(count == 1, 2 + first, 1))
        absent = self.people.absent
        case = np.where(absent == PRESENT, case, 2 + len(_NAMES) + absent)
        return words(options, case)

    def error_lists(self) -> pa.Array:
        """Name all errors of every record, joined by a plus sign; "" for a record without."""
        packed = (self.errors + 1) @ (len(_NAMES) + 1) ** np.arange(len(COLUMNS))  # few sets of errors come up
        _, examples, which = np.unique(packed, return_index=True, return_inverse=True)
        lists = ["+".join(_NAMES[error] for error in self.errors[row] if error != NO_ERROR) for row in examples]
        return words(lists, which)
