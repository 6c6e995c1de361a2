"""What other departments hold of a block's people: who is in it, what is wrong with each record, and the records themselves.

What is wrong with a record is drawn first (errors.py); then every column is made right and the wrong values are put in.
What must not go in here: how a value is miswritten (slips.py), what the base holds (registers.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from broker.demo.synthetic import places, slips
from broker.demo.synthetic.columns import dates, replaced
from broker.demo.synthetic.draws import Codes, Draws, Flags, Ints
from broker.demo.synthetic.errors import Errors
from broker.demo.synthetic.names import are_in_two_parts, have_rare
from broker.demo.synthetic.numbers import BLOCKS_OF_CITY, NO_PHONE, district_of, phone_numbers, phone_texts, text
from broker.demo.synthetic.settings import ERRORS, Settings
from broker.demo.synthetic.world import PRESENT, World

SOURCES = ("民政", "人社", "卫健", "教育", "住建", "医保")
_FRESH_PHONES = 80_000  # from this place on, numbers of a block that nobody in its world has
_STAYS_IN_THE_DISTRICT = 0.7  # of those who move


@dataclass(frozen=True)
class Records:
    """Records in their order: whose they are (rows of the world's people), and what is wrong with them."""

    rows: Ints
    errors: Errors


def chosen(settings: Settings, world: World, known: Flags) -> Records:
    """Choose whom departments know of those who are known at all, in which order, and what is wrong."""
    draws = Draws(settings.seed, world.block, "observed")
    count = len(known)
    order = draws.order(count)
    absent = world.people.absent != PRESENT
    covered = draws.chance(settings.coverage, count) | absent
    rows = order[(covered & known)[order]]
    return Records(rows, Errors(ERRORS).drawn(draws, settings.errors, count).of(rows, absent[rows]))


# --- the records --------------------------------------------------------------------------------------------------------


class Writing:
    """The columns of records being written; what could not go wrong is taken back from the errors."""

    def __init__(self, settings: Settings, world: World, records: Records) -> None:
        self.draws = Draws(settings.seed, world.block, "slips")
        self.world, self.rows = world, records.rows
        self.errors = records.errors
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
            self.errors.take_back(ERRORS[error].column, self.errors.having(error) & ~rows[self.rows])

    def columns(self) -> dict[str, pa.Array]:
        """Write them; afterwards `errors` is what is really wrong."""
        return {
            "resident_id": self._resident_ids(),
            "name": self.errors.slipped(self.draws, "name", pc.take(self.world.names, pa.array(self.rows)), slips.NAME_SLIPS),
            "birth_date": self.errors.slipped(
                self.draws, "birth_date", dates(self.world.people.birth[self.rows]), slips.BIRTH_SLIPS
            ),
            "address": self._addresses(),
            "phone": self._phones(),
        }

    def _resident_ids(self) -> pa.Array:
        right = text(self.world.resident_ids.take(self.rows, axis=0))
        written = self.errors.slipped(self.draws, "resident_id", right, slips.ID_SLIPS)
        return pc.if_else(pa.array(self.errors.having("id_missing")), pa.scalar(None, pa.string()), written)

    def _phones(self) -> pa.Array:
        numbers, changed = self.world.people.phone[self.rows], self.errors.having("phone_changed")
        numbers[changed] = phone_numbers(self.world.block, _FRESH_PHONES + np.arange(int(changed.sum())))
        missing = self.errors.having("phone_missing")
        self.errors.take_back("phone", missing & (numbers == NO_PHONE))
        numbers[missing] = NO_PHONE
        return phone_texts(numbers)

    def _addresses(self) -> pa.Array:
        right = pc.take(self.world.addresses, pa.array(self.world.people.dwelling[self.rows]))
        dwellings = self.world.dwellings[self.world.people.dwelling[self.rows]]
        return misplaced(self.draws, self.errors, self.world.block, right, dwellings)


def misplaced(draws: Draws, errors: Errors, block: int, right: pa.Array, dwellings: Codes) -> pa.Array:
    """Write the addresses of those who moved, and of those who write theirs differently; dwellings are changed in place."""
    moved, rewritten = errors.having("moved"), errors.having("address_written")
    dwellings[moved] = _new_homes(draws, block, int(moved.sum()))
    styles = np.zeros(len(moved), dtype=np.int64)
    styles[rewritten] = draws.between(1, len(places.STYLES) - 1, int(rewritten.sum()))
    wrong = moved | rewritten
    city = places.city_of(block // BLOCKS_OF_CITY)
    return replaced(right, wrong, city.addresses(dwellings[wrong], styles[wrong]))


def _new_homes(draws: Draws, block: int, count: int) -> Codes:
    home = district_of(block)
    others = (home + 1 + draws.below(places.DISTRICTS - 1, count)) % places.DISTRICTS
    stays = draws.chance(_STAYS_IN_THE_DISTRICT, count)
    return places.dwellings(draws, np.where(stays, home, others))
