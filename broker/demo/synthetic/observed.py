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
from broker.demo.synthetic.columns import dates, replaced, words
from broker.demo.synthetic.draws import Codes, Draws, Flags, Ints, weighted
from broker.demo.synthetic.names import are_in_two_parts, have_rare
from broker.demo.synthetic.numbers import BLOCKS_OF_CITY, NO_PHONE, district_of, phone_numbers, phone_texts, text
from broker.demo.synthetic.settings import ABSENT, ERRORS, EXACT, SEVERAL, Settings
from broker.demo.synthetic.world import PRESENT, World

SOURCES = ("民政", "人社", "卫健", "教育", "住建", "医保")
COLUMNS = tuple(dict.fromkeys(error.column for error in ERRORS.values()))
NO_ERROR = -1
_NAMES = tuple(ERRORS)
_INDEX = {name: index for index, name in enumerate((*ERRORS, SEVERAL, EXACT))}
_COLUMN_OF = np.array([COLUMNS.index(error.column) for error in ERRORS.values()])
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
    rates = {name: settings.errors.get(name, 0.0) for name in (*_NAMES, SEVERAL)}
    case = _one_of(draws, rates | {EXACT: 1 - sum(rates.values())}, count)
    found = np.full((count, len(COLUMNS)), NO_ERROR, dtype=np.int64)
    single = np.flatnonzero(case < len(_NAMES))
    found[single, _COLUMN_OF[case[single]]] = case[single]
    several = np.flatnonzero(case == len(_NAMES))
    sets = _IN_SET[draws.below(len(_SETS), len(several))]
    for place, column in enumerate(COLUMNS):
        usual = {name: rates[name] for name, error in ERRORS.items() if error.column == column and not error.seldom}
        if any(usual.values()):
            rows = several[sets[:, place]]
            found[rows, place] = _one_of(draws, usual, len(rows))
    return found


def _one_of(draws: Draws, rates: Mapping[str, float], count: int) -> Codes:
    """Draw cases by their rates, as indexes of ERRORS, then several, then exact."""
    possible = [name for name, rate in rates.items() if rate > 0]
    indexes = np.array([_INDEX[name] for name in possible], dtype=np.int64)
    return indexes[draws.pick(weighted([rates[name] for name in possible]), count)]


# --- the records --------------------------------------------------------------------------------------------------------


class Writing:
    """The columns of records being written; what could not go wrong is taken back from the errors."""

    def __init__(self, settings: Settings, world: World, records: Records) -> None:
        self.draws = Draws(settings.seed, world.block, "slips")
        self.world, self.rows = world, records.rows
        self.errors = records.errors.copy()
        self._rule_out()

    def _rule_out(self) -> None:
        """Take back, before they are tried one by one, the errors that hardly any record can have."""
        names = self.world.people.names
        ends_in_x = self.world.resident_ids[:, 17] == ord("X")
        possible = {
            "id_lower_x": ends_in_x,
            "id_wide_x": ends_in_x,
            "name_dot": are_in_two_parts(names),
            "name_rare": have_rare(names),
        }
        for error, rows in possible.items():
            self._take_back(ERRORS[error].column, self._with(error) & ~rows[self.rows])

    def columns(self) -> dict[str, pa.Array]:
        """Write them; afterwards `errors` is what is really wrong."""
        return {
            "resident_id": self._resident_ids(),
            "name": self._slipped("name", pc.take(self.world.names, pa.array(self.rows)), slips.NAME_SLIPS),
            "birth_date": self._slipped("birth_date", dates(self.world.people.birth[self.rows]), slips.BIRTH_SLIPS),
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
        written = self._slipped("resident_id", text(self.world.resident_ids.take(self.rows, axis=0)), slips.ID_SLIPS)
        return pc.if_else(pa.array(self._with("id_missing")), pa.scalar(None, pa.string()), written)

    def _phones(self) -> pa.Array:
        numbers, changed = self.world.people.phone[self.rows], self._with("phone_changed")
        numbers[changed] = phone_numbers(self.world.block, _FRESH_PHONES + np.arange(int(changed.sum())))
        missing = self._with("phone_missing")
        self._take_back("phone", missing & (numbers == NO_PHONE))
        numbers[missing] = NO_PHONE
        return phone_texts(numbers)

    def _addresses(self) -> pa.Array:
        city = places.city_of(self.world.block // BLOCKS_OF_CITY)
        right = pc.take(self.world.addresses, pa.array(self.world.people.dwelling[self.rows]))
        dwellings = self.world.dwellings[self.world.people.dwelling[self.rows]]
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
        absent = self.world.people.absent[self.rows]
        case = np.where(absent == PRESENT, case, 2 + len(_NAMES) + absent)
        return words(options, case)

    def error_lists(self) -> pa.Array:
        """Name all errors of every record, joined by a plus sign; "" for a record without."""
        packed = (self.errors + 1) @ (len(_NAMES) + 1) ** np.arange(len(COLUMNS))  # few sets of errors come up
        _, examples, which = np.unique(packed, return_index=True, return_inverse=True)
        lists = ["+".join(_NAMES[error] for error in self.errors[row] if error != NO_ERROR) for row in examples]
        return words(lists, which)
