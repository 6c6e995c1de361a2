"""Those who are taken for somebody else: twins, brothers, sisters and namesakes of people in the base, themselves not in it.

They are what a linker fails on: a twin has the surname, birth date, birthplace and often the address of the present one. What
must not go in here: strangers, who are like nobody (world.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from broker.demo.synthetic import names, places
from broker.demo.synthetic.draws import Codes, Draws, Ints
from broker.demo.synthetic.households import TODAY, YEAR, years_of
from broker.demo.synthetic.numbers import NO_PHONE, district_of, phone_numbers
from broker.demo.synthetic.settings import ABSENT, Settings
from broker.demo.synthetic.world import PRESENT, People, World, ages_of, completed, settled

_TWINS_OF_ONE_SEX = 0.65
_TWINS_ALIKE, _SIBLINGS_ALIKE = 0.7, 0.45  # share with the same first character
_GROWN_UP_AT_HOME = 0.3  # share that lives where the present one lives
_SAME_BIRTHDAY, _SAME_YEAR = 0.2, 0.4  # of namesakes; those of the same year include those of the same day
_NAMESAKE_YEARS = 8
_PHONE_FROM = 14

Change = Callable[[Draws, People], People]


def world(settings: Settings, block: int) -> World:
    """Make a block of people: the settled, then those who are taken for one of them."""
    people, dwellings = settled(settings, block)
    present = np.flatnonzero(people.absent == PRESENT)
    share = settings.coverage / (1 - sum(settings.absent.values()))
    groups, count = [people], len(people.place)
    for kind, change in _CHANGES.items():
        draws = Draws(settings.seed, block, kind)
        like = present[draws.chance(settings.absent.get(kind, 0.0) * share, len(present))]
        if len(like):
            other, homes = _elsewhere(draws, block, change(draws, people.taken(like)), len(dwellings), count)
            dwellings = np.concatenate([dwellings, homes])
            groups.append(replace(other, absent=np.full(len(like), list(ABSENT).index(kind))))
            count += len(like)
    return completed(settings, block, People.joined(groups), dwellings)


def _elsewhere(draws: Draws, block: int, people: People, dwellings: int, count: int) -> tuple[People, Codes]:
    """Move those out who do not live with whom they are like, and give phones of their own to whoever is of the age."""
    fresh = np.arange(len(people.place))
    moved = people.dwelling < 0
    dwelling = np.where(moved, dwellings + fresh, people.dwelling)
    homes = places.dwellings(draws, np.full(len(fresh), district_of(block), dtype=np.int64))
    phone = np.where(ages_of(people.birth) < _PHONE_FROM, NO_PHONE, phone_numbers(block, count + fresh))
    return replace(people, dwelling=dwelling, phone=phone), homes


def _at_home(draws: Draws, people: People) -> Ints:
    stays = people.young | draws.chance(_GROWN_UP_AT_HOME, len(people.place))
    return np.where(stays, people.dwelling, places.NOWHERE)


def _twin(draws: Draws, people: People) -> People:
    same = draws.chance(_TWINS_OF_ONE_SEX, len(people.place))
    sex = np.where(same, people.sex, 1 - people.sex)
    called = names.of_siblings(draws, people.names, years_of(people.birth), sex, _TWINS_ALIKE)
    return replace(people, sex=sex, names=called, dwelling=_at_home(draws, people))


def _sibling(draws: Draws, people: People) -> People:
    count = len(people.place)
    sex = draws.chance(0.512, count).astype(people.sex.dtype)
    gap = draws.between(330, 2500, count)
    younger = draws.chance(0.5, count) & (people.birth + gap < TODAY)
    birth = np.where(younger, people.birth + gap, people.birth - gap)
    birth = np.where(birth < _FIRST_DAY, people.birth + gap, birth)
    called = names.of_siblings(draws, people.names, years_of(birth), sex, _SIBLINGS_ALIKE)
    return replace(people, sex=sex, birth=birth, names=called, dwelling=_at_home(draws, people))


def _namesake(draws: Draws, people: People) -> People:
    count = len(people.place)
    lots = draws.below(1000, count) / 1000
    year = _first_days(people.birth)
    within = year + draws.below(365, count)
    span = int(_NAMESAKE_YEARS * YEAR)
    near = people.birth + draws.between(-span, span, count)
    birth = np.where(lots < _SAME_YEAR, within, near)
    birth = np.where(lots < _SAME_BIRTHDAY, people.birth, np.clip(birth, _FIRST_DAY, TODAY - 1))
    return replace(people, birth=birth, dwelling=np.full(count, places.NOWHERE, dtype=np.int64))


def _first_days(birth: Ints) -> Ints:
    return birth.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)


_FIRST_DAY = -25_566  # 1900-01-02: the day before is a placeholder
_CHANGES: dict[str, Change] = {"absent_twin": _twin, "absent_sibling": _sibling, "absent_namesake": _namesake}
