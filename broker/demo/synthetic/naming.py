"""What the people of a block are called: families share a surname or a father's name, brothers and sisters a character.

What must not go in here: what names are made of (names.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from broker.demo.synthetic import name_tables as tables
from broker.demo.synthetic import names
from broker.demo.synthetic.columns import Characters
from broker.demo.synthetic.draws import SLOTS, Codes, Draws, Flags, Ints, weighted
from broker.demo.synthetic.households import CHILD, FATHER, HEAD, RESIDENT, SPOUSE, TWIN, Members, years_of
from broker.demo.synthetic.names import MALE

DOTTED_SHARE, WHOLE_SHARE = 0.016, 0.004  # of households
_MOST_SIBLINGS = 4
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
    given = names.given_names(draws, years_of(people.birth), people.sex)
    _share_generation_character(draws, people, given)
    found = names.with_surname(_surnames(draws, people), given)
    lots = _family_lots(draws, people)
    dotted = lots < DOTTED_SHARE * SLOTS
    whole = (lots >= 60_000) & (lots < 60_000 + WHOLE_SHARE * SLOTS)
    found[dotted] = _in_two_parts(draws, people, np.flatnonzero(dotted))
    found[whole] = names.whole_names(_name_lots(draws, people)[whole], people.sex[whole])
    ethnicity = _ETHNICITY_SLOTS[_family_lots(draws, people) % len(_ETHNICITY_SLOTS)].astype(np.int64)
    ethnicity[dotted] = _FIRST_DOTTED + lots[dotted] % len(tables.DOTTED_ETHNICITIES)
    ethnicity[whole] = _FIRST_WHOLE + lots[whole] % len(tables.UNDOTTED_ETHNICITIES)
    return Named(found, ethnicity)


def _family_lots(draws: Draws, people: Members) -> Ints:
    """Draw from 0 to 65,535 for a family each, and for everybody in a home each."""
    of_family = draws.below(SLOTS, len(people.starts))[people.household]
    return np.where(people.role == RESIDENT, draws.below(SLOTS, len(people.role)), of_family)


def _name_lots(draws: Draws, people: Members) -> Ints:
    """Draw lots that follow on one another in a family, so that no two of one sex get the same name."""
    return _family_lots(draws, people) + np.arange(len(people.role)) - people.head


def _surnames(draws: Draws, people: Members) -> Codes:
    own, other = (names.surnames(draws, len(people.starts)) for _ in range(2))
    father = np.where(people.sex[people.starts] == MALE, own, other)
    found = names.surnames(draws, len(people.role))  # of mothers, and of those in homes
    by_role = np.full((RESIDENT + 1, len(own)), -1, dtype=np.int64)
    by_role[[HEAD, FATHER]], by_role[SPOUSE], by_role[[CHILD, TWIN]] = own, other, father
    of_family = by_role[people.role, people.household]
    return np.where(of_family < 0, found, of_family)


def _share_generation_character(draws: Draws, people: Members, given: Characters) -> None:
    """Give the first character of the first child to the others, in some families; no two are called the same."""
    alike = draws.chance(_GENERATION_CHARACTER, len(people.starts))[people.household]
    later = np.flatnonzero(people.sibling != np.arange(len(people.sibling)))
    first = people.sibling[later]
    shared = alike[later] & (given[later, 0] != 0) & (given[first, 0] != 0)
    given[later[shared], 0] = given[first[shared], 0]
    _tell_apart(people, given)


def _tell_apart(people: Members, given: Characters) -> None:
    """Call no child like one before it, nor like its parents."""
    children = np.flatnonzero(_is_child(people, np.arange(len(people.role))))
    turns = children - people.sibling[children]
    for turn in range(_MOST_SIBLINGS):  # by now those before have their last names
        rows = children[turns == turn]
        others = given[rows]
        parents = [given[people.head[rows]], given[people.head[rows] + (people.role[people.head[rows] + 1] == SPOUSE)]]
        names.tell_apart(others, [*parents, *(given[rows - before] for before in range(1, turn + 1))])
        given[rows] = others


def _in_two_parts(draws: Draws, people: Members, rows: Ints) -> Characters:
    """Name these people, who with anybody have their whole family."""
    own = names.own_names(_name_lots(draws, people)[rows], people.sex[rows])
    father = names.own_names(draws.below(SLOTS, len(rows)), np.full(len(rows), MALE))
    head = people.head[rows]
    parent = np.minimum(head + (people.sex[head] != MALE), len(people.sex) - 1)  # the head, or who stands behind her
    young = _is_child(people, rows) & (people.sex[parent] == MALE) & ~_is_child(people, parent)
    father[young] = own[np.searchsorted(rows, parent[young])]
    return names.in_two_parts(own, father)


def _is_child(people: Members, rows: Ints) -> Flags:
    return np.asarray((people.role[rows] == CHILD) | (people.role[rows] == TWIN), dtype=np.bool_)
