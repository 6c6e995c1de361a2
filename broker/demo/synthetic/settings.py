"""What makes a synthetic population the same population: its seed, its size, and how often what goes wrong.

The rates are of the kind reported for administrative registers of people (a few per cent of movers a year, a per cent of
miskeyed fields, a tenth of addresses written as somebody is used to), not measured in any real one. What must not go in here:
how an error is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

MOST_PEOPLE = 300_000_000  # what the invented division codes have numbers for
EXACT, SEVERAL = "exact", "several"


class Error(NamedTuple):
    """The column it is in, and its default rate among all records of people who are in the base."""

    column: str
    rate: float
    seldom: bool = False  # it cannot happen to most records


# An error that cannot happen to a record (the last digit X of a number that has none) leaves the record as it was, so that a
# rate is one of the records to which it can happen. The seldom ones are never among "several".
ERRORS: Mapping[str, Error] = MappingProxyType(
    {
        "id_digit": Error("resident_id", 0.008),
        "id_transposed": Error("resident_id", 0.004),
        "id_15": Error("resident_id", 0.02),
        "id_lower_x": Error("resident_id", 0.05, seldom=True),
        "id_wide_x": Error("resident_id", 0.01, seldom=True),
        "id_missing": Error("resident_id", 0.05),
        "name_homophone": Error("name", 0.01),
        "name_lookalike": Error("name", 0.004),
        "name_traditional": Error("name", 0.004, seldom=True),
        "name_transposed": Error("name", 0.002, seldom=True),
        "name_dropped": Error("name", 0.002, seldom=True),
        "name_spaced": Error("name", 0.006),
        "name_dot": Error("name", 0.05, seldom=True),
        "name_pinyin": Error("name", 0.003),
        "name_rare": Error("name", 0.1, seldom=True),
        "birth_swapped": Error("birth_date", 0.003, seldom=True),
        "birth_year": Error("birth_date", 0.003),
        "birth_digit": Error("birth_date", 0.003),
        "birth_placeholder": Error("birth_date", 0.002),
        "moved": Error("address", 0.1),
        "address_written": Error("address", 0.15),
        "phone_changed": Error("phone", 0.08),
        "phone_missing": Error("phone", 0.04),
    }
)
RATES: Mapping[str, float] = MappingProxyType({name: error.rate for name, error in ERRORS.items()} | {SEVERAL: 0.03})
# Shares of all records that are of somebody who is not in the base.
ABSENT: Mapping[str, float] = MappingProxyType(
    {"absent": 0.03, "absent_twin": 0.002, "absent_sibling": 0.003, "absent_namesake": 0.005}
)
CASES: tuple[str, ...] = (EXACT, *ERRORS, SEVERAL, *ABSENT)


@dataclass(frozen=True)
class Settings:
    """All that a population depends on. The people of a smaller one are the first of a bigger one with the same rest.

    Attributes:
        people: rows of the base, 1 to 300 million.
        seed: any whole number from 0 to 2**64 - 1.
        coverage: share of the base's people of whom there is an observed record.
        errors: probability of each error of `ERRORS`, and of "several", for a record of somebody in the base; what is
            left out never happens, and what is left over to 1 is exact.
        absent: share of each class of `ABSENT` among all observed records; what is left out never happens.
        twin_births: share of first births that are of twins (about 1.2 % of births in China).
        without_phone: share of grown-ups below 75 without any phone; children and the old have fewer, by the same measure.
        placeholder_phones: share of phones that are a number written to fill in the form.
        placeholder_births: share of people whose birth date, in the register and in their number, is 1900-01-01.
        largest_home: people at the one address of the largest care homes and dormitories, one in about a million people.

    Raises:
        ValueError: a value is out of its range, or a rate is not one of an error there is; names the setting.
    """

    people: int
    seed: int = 20180501
    coverage: float = 0.6
    errors: Mapping[str, float] = field(default_factory=lambda: RATES)
    absent: Mapping[str, float] = field(default_factory=lambda: ABSENT)
    twin_births: float = 0.012
    without_phone: float = 0.03
    placeholder_phones: float = 0.002
    placeholder_births: float = 0.0001
    largest_home: int = 5_000

    def __post_init__(self) -> None:
        check_setting("people", 1 <= self.people <= MOST_PEOPLE)
        check_setting("seed", 0 <= self.seed < 1 << 64)
        check_setting("largest_home", 1 <= self.largest_home <= 5_000)
        for name in ("coverage", "twin_births", "without_phone", "placeholder_phones", "placeholder_births"):
            check_setting(name, 0 <= getattr(self, name) <= 1)
        check_rates("errors", self.errors, RATES, 1.0)
        check_rates("absent", self.absent, ABSENT, 0.5)


def check_setting(name: str, good: bool) -> None:
    """Refuse a setting by its name."""
    if not good:
        raise ValueError(f"{name} is out of range")


def check_rates(name: str, rates: Mapping[str, float], known: Mapping[str, float], most: float) -> None:
    """Refuse rates of errors there are not, negative ones, and those that are too much together."""
    unknown = rates.keys() - known.keys()
    if unknown:
        raise ValueError(f"{name}: there is no {min(unknown)}")
    check_setting(name, all(rate >= 0 for rate in rates.values()) and sum(rates.values()) <= most)
