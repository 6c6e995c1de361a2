"""What the people of a block are called: families share a surname or a father's name, brothers and sisters a character.

What must not go in here: what names are made of (names.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from broker.demo.synthetic import name_tables as tables
from broker.demo.synthetic import names
from broker.demo.synthetic.draws import Codes, Draws, Flags, Ints, weighted
from broker.demo.synthetic.households import CHILD, FATHER, HEAD, RESIDENT, SPOUSE, TWIN, Members, years_of
from broker.demo.synthetic.names import MALE, Characters

DOTTED_SHARE, WHOLE_SHARE = 0.016, 0.004  # of households
_GENERATION_CHARACTER = 0.45  # share of households whose children share one
ETHNICITIES = (*tables.ETHNICITIES, *tables.DOTTED_ETHNICITIES, *tables.UNDOTTED_ETHNICITIES)
_FIRST_DOTTED = len(tables.ETHNICITIES)
_FIRST_WHOLE = _FIRST_DOTTED + len(tables.DOTTED_ETHNICITIES)
_ETHNICITY_SLOTS = weighted(list(tables.ETHNICITIES.values()), 1024)


class Named(NamedTuple):
    """Names (rows x WIDTH of code points) and ethnicities (indexes of ETHNICITIES)."""

    names: Characters
    ethnicity: Codes


def named(seed: int, block: int, people: Members) -> Named:
    """Name the people of a block."""
    draws = Draws(seed, block, "names")
    years, count = years_of(people.birth), len(people.birth)
    given = names.given_names(draws, years, people.sex)
    _share_generation_character(draws, people, given)
    found = names.with_surname(_surnames(draws, people), given)
    lots = _family_lots(draws, people)
    dotted = lots < DOTTED_SHARE * 65_536
    whole = (lots >= 60_000) & (lots < 60_000 + WHOLE_SHARE * 65_536)
    found[dotted] = _in_two_parts(draws, people)[dotted]
    found[whole] = names.whole_names(draws, people.sex)[whole]
    ethnicity = _ETHNICITY_SLOTS[_family_lots(draws, people) % len(_ETHNICITY_SLOTS)].astype(np.int64)
    ethnicity[dotted] = _FIRST_DOTTED + lots[dotted] % len(tables.DOTTED_ETHNICITIES)
    ethnicity[whole] = _FIRST_WHOLE + draws.below(len(tables.UNDOTTED_ETHNICITIES), count)[whole]
    return Named(found, ethnicity)


def _family_lots(draws: Draws, people: Members) -> Ints:
    """Draw from 0 to 65,535 for a family each, and for everybody in a home each."""
    of_family = draws.below(65_536, len(people.starts))[people.household]
    return np.where(people.role == RESIDENT, draws.below(65_536, len(people.role)), of_family)


def _surnames(draws: Draws, people: Members) -> Codes:
    own, other = (names.surnames(draws, len(people.starts)) for _ in range(2))
    father = np.where(people.sex[people.starts] == MALE, own, other)
    found = names.surnames(draws, len(people.role))  # of mothers, and of those in homes
    for roles, source in (((HEAD, FATHER), own), ((SPOUSE,), other), ((CHILD, TWIN), father)):
        rows = np.isin(people.role, roles)
        found[rows] = source[people.household[rows]]
    return found


def _share_generation_character(draws: Draws, people: Members, given: Characters) -> None:
    """Give the first character of the first child to the others, in some families; no two are called the same."""
    alike = draws.chance(_GENERATION_CHARACTER, len(people.starts))[people.household]
    later = people.sibling != np.arange(len(people.sibling))
    first = people.sibling
    shared = later & alike & (given[:, 0] != 0) & (given[first, 0] != 0)
    given[shared, 0] = given[first[shared], 0]
    for earlier in (first, np.arange(len(first)) - 1):  # the one before may be the mother, for whom it does no harm
        others = given[later]
        names.tell_apart(others, given[earlier[later]])
        given[later] = others


def _in_two_parts(draws: Draws, people: Members) -> Characters:
    count = len(people.sex)
    own = names.own_names(draws, people.sex)
    father = names.own_names(draws, np.full(count, MALE))
    young = _with_a_father(people)
    index = people.head[young] + (people.sex[people.head[young]] != MALE)
    father[young] = own[index]
    return names.in_two_parts(own, father)


def _with_a_father(people: Members) -> Flags:
    """Say whose father lives with them: all children but those of mothers alone."""
    spouse = np.minimum(people.head + 1, len(people.role) - 1)
    lone_mother = (people.sex[people.head] != MALE) & (people.role[spouse] != SPOUSE)
    return np.isin(people.role, (CHILD, TWIN)) & ~lone_mother


