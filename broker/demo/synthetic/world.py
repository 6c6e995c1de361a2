"""The people of one block, complete, with those whom the base will not know.

A block is a world of its own: it is made from the seed and its number alone, so that blocks can be made in any order and memory
does not grow with their count. Absent people are made like everybody else and then left out, so that nothing but their absence
tells them apart, and the numbers of all stay different. What must not go in here: what other departments hold (observed.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from broker.demo.synthetic import names, places
from broker.demo.synthetic.columns import Characters
from broker.demo.synthetic.draws import Codes, Draws, Flags, Ints
from broker.demo.synthetic.households import CHILD, RESIDENT, TODAY, TWIN, YEAR, Members, members
from broker.demo.synthetic.naming import named
from broker.demo.synthetic.numbers import (
    BLOCKS_OF_CITY,
    ELSEWHERE,
    NO_PHONE,
    Bytes,
    district_of,
    phone_numbers,
    placeholder_phones,
    resident_ids,
)
from broker.demo.synthetic.settings import Settings

PRESENT, STRANGER = -1, 0  # otherwise an index of the classes of ABSENT
STATUSES = ("VALID", "CANCELLED", "DECEASED")
_BLOCK_BITS = 20  # of places: how many may be in a block
_BORN_HERE, _BORN_IN_THE_CITY = 0.78, 0.9  # and the rest elsewhere
_CANCELLED = 0.004
_DEATHS = ((0, 0.0), (20, 0.003), (60, 0.02), (75, 0.1), (90, 0.45))  # from this age: share of those registered
# Below this age: how many in a hundred have a phone of their own, how many that of the house; the rest are without.
_PHONES = ((12, 0, 60), (18, 50, 35), (75, 98, 2), (200, 55, 30))
_DESK_PHONES = 0.7  # share of those in homes who are reached at the desk


@dataclass(frozen=True)
class People:
    """One entry a person, in every column.

    place is the order in which people come into a population; birth is in days since 1970-01-01; born and ethnicity are
    indexes, dwelling is a row of `World.dwellings`; absent is PRESENT or an index of the classes of `ABSENT`.
    """

    place: Ints
    household: Ints
    young: Flags
    sex: Codes
    birth: Ints
    born: Codes
    names: Characters
    ethnicity: Codes
    dwelling: Ints
    phone: Ints
    absent: Codes

    def taken(self, rows: Ints | Flags) -> People:
        """Take some of them."""
        return People(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def joined(cls, groups: Sequence[People]) -> People:
        """Put people one group behind the other."""
        return cls(*(np.concatenate([getattr(group, column.name) for group in groups]) for column in fields(cls)))


@dataclass(frozen=True)
class World:
    """A block: its people, the present and the absent, with their dwellings, numbers and states."""

    block: int
    people: People
    dwellings: Codes
    names: pa.Array
    addresses: pa.Array  # of dwellings
    resident_ids: Bytes
    status: Codes
    numbers: Ints  # of places, different in all blocks

    def up_to(self, present: int) -> Flags:
        """Say who is in a population that ends after so many of the present, in the order of their places."""
        own = self.people.place[self.people.absent == PRESENT]
        if present >= len(own):
            return np.ones(len(self.people.place), dtype=np.bool_)
        return np.asarray(self.people.place < np.sort(own)[present], dtype=np.bool_)


def settled(settings: Settings, block: int) -> tuple[People, Codes]:
    """Make everybody but the relatives and namesakes of somebody: people, and the dwellings they live in."""
    drawn = members(settings, block)
    draws = Draws(settings.seed, block, "world")
    called = named(settings.seed, block, drawn)
    count, households = len(drawn.role), len(drawn.starts)
    absent = draws.chance(_stranger_share(settings), households)[drawn.household] & (drawn.role != RESIDENT)
    people = People(
        place=np.arange(count, dtype=np.int64),
        household=drawn.household,
        young=(drawn.role == CHILD) | (drawn.role == TWIN),
        sex=drawn.sex,
        birth=drawn.birth,
        born=_origins(draws, block, drawn),
        names=called.names,
        ethnicity=called.ethnicity,
        dwelling=drawn.household,
        phone=_phones(settings, draws, block, drawn),
        absent=np.where(absent, STRANGER, PRESENT),
    )
    return people, _dwellings(draws, block, drawn)


def completed(settings: Settings, block: int, people: People, dwellings: Codes) -> World:
    """Number everybody."""
    draws = Draws(settings.seed, block, "status")
    numbers = (block << _BLOCK_BITS) + np.arange(len(people.place))
    found = resident_ids(block, people.born, people.birth, people.sex)
    addresses = places.city_of(block // BLOCKS_OF_CITY).addresses(dwellings)
    called, states = names.spelled(people.names), _states(draws, people.birth)
    return World(block, people, dwellings, called, addresses, found, states, numbers)


def _stranger_share(settings: Settings) -> float:
    """Give the share of people to be left out so that they are the share asked for of the records."""
    odds = settings.absent.get("absent", 0.0) * settings.coverage / (1 - sum(settings.absent.values()))
    return odds / (1 + odds)


def _origins(draws: Draws, block: int, people: Members) -> Codes:
    """Say where people were born: mostly in their district, a few elsewhere in the city, some in one county far away."""
    count, home = len(people.role), district_of(block)
    lots = draws.below(1000, count) / 1000
    other = (home + 1 + draws.below(places.DISTRICTS - 1, count)) % places.DISTRICTS
    found = np.where(lots < _BORN_HERE, home, np.where(lots < _BORN_IN_THE_CITY, other, ELSEWHERE))
    found[people.birth < -25_566] = home  # so many have the placeholder that they need the most serials
    return found[np.where(people.role == TWIN, people.sibling, np.arange(count))]


def _dwellings(draws: Draws, block: int, people: Members) -> Codes:
    districts = np.full(len(people.starts), district_of(block), dtype=np.int64)
    homes = people.role[people.starts] == RESIDENT
    private, shared = places.dwellings(draws, districts), places.institutions(draws, districts, people.care)
    return np.where(homes[:, None], shared, private)


def ages_of(birth: Ints) -> Ints:
    """Give ages in years, nearly."""
    return ((TODAY - birth) / YEAR).astype(np.int64)


def _phones(settings: Settings, draws: Draws, block: int, people: Members) -> Ints:
    """Give everybody a phone of their own, that of the house (of the desk, in a home), or none."""
    count = len(people.role)
    bands = np.searchsorted([below for below, _, _ in _PHONES], ages_of(people.birth), side="right")
    own, shared = (np.array(shares)[bands] / 100 for shares in list(zip(*_PHONES, strict=True))[1:])
    keep = 1 - settings.without_phone
    lots = draws.below(1 << 20, count) / (1 << 20)
    desk = (people.role == RESIDENT) & draws.chance(_DESK_PHONES, count)
    found = phone_numbers(block, np.arange(count))
    fillers = draws.chance(settings.placeholder_phones, count)
    found[fillers] = placeholder_phones(draws.below(16, count))[fillers]
    of_house = found[people.head]
    found = np.where((lots < own * keep) | (people.head == np.arange(count)), found, of_house)
    found[desk] = of_house[desk]
    found[(lots >= (own + shared) * keep) & ~desk] = NO_PHONE
    return found


def _states(draws: Draws, birth: Ints) -> Codes:
    ages = np.array([age for age, _ in _DEATHS])
    dead = np.array([share for _, share in _DEATHS])[np.searchsorted(ages, ages_of(birth), side="right") - 1]
    found = draws.chance(_CANCELLED, len(birth)).astype(np.int64)
    found[draws.chance(dead, len(birth))] = STATUSES.index("DECEASED")
    return found
