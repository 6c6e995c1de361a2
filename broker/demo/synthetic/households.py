"""Who lives with whom: couples, their children, twins, parents, and homes of up to thousands.

Everybody of a block stands in columns, household by household, in the order of `_KINDS`: the head first. What must not go in
here: names and numbers of people (names.py, numbers.py), who is left out of the base (world.py).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.demo.people import AS_OF
from broker.demo.synthetic.draws import Codes, Draws, Flags, Ints, weighted
from broker.demo.synthetic.settings import Settings

HOUSEHOLDS = 24_000  # a block: about 60,000 people
EPOCH_ORDINAL = 719_163  # 1970-01-01
TODAY = AS_OF.toordinal() - EPOCH_ORDINAL
PLACEHOLDER_BIRTH = -25_567  # 1900-01-01
YEAR = 365.2425
HEAD, SPOUSE, CHILD, TWIN, FATHER, MOTHER, RESIDENT = range(7)
YOUNG = (CHILD, TWIN)

_HOMES = 6  # a block, besides the largest; of 20 to 600 people
_HOME_SIZES = np.array([round(20 * 30 ** (step / 1000)) for step in range(1000)], dtype=np.int64)  # small ones are more common
_LARGEST_EVERY = 16  # blocks
_CARE_SHARE = 0.5


class Kind(NamedTuple):
    """A kind of household: how common, who is in it, how old the head is."""

    weight: float
    roles: tuple[int, ...]
    ages: tuple[int, int]


_KINDS = (
    Kind(25, (HEAD,), (20, 90)),
    Kind(24, (HEAD, SPOUSE), (24, 90)),
    Kind(24, (HEAD, SPOUSE, CHILD), (26, 60)),
    Kind(10, (HEAD, SPOUSE, CHILD, CHILD), (29, 58)),
    Kind(2, (HEAD, SPOUSE, CHILD, CHILD, CHILD), (31, 58)),
    Kind(4, (HEAD, CHILD), (26, 58)),
    Kind(6, (HEAD, SPOUSE, CHILD, MOTHER), (26, 55)),
    Kind(4, (HEAD, SPOUSE, CHILD, FATHER, MOTHER), (28, 50)),
)
_MOST = max(len(kind.roles) for kind in _KINDS) + 1


@dataclass(frozen=True)
class Members:
    """The people of a block before they have names: one entry a person, and `starts`: one a household.

    birth is in days since 1970-01-01; sex is 1 for men; head is the index of the household's first person and sibling that of
    the first child of the house (one's own index without one).
    """

    household: Ints
    role: Codes
    sex: Codes
    birth: Ints
    head: Ints
    sibling: Ints
    starts: Ints
    care: Flags  # a household: it is a care home (only of the last ones, the homes)


def _with_twin(roles: tuple[int, ...]) -> tuple[int, ...]:
    first = roles.index(CHILD)
    return (*roles[: first + 1], TWIN, *roles[first + 1 :])


@functools.lru_cache(maxsize=8)
def _kinds(twin_births: float) -> tuple[Codes, Codes, Codes, Codes]:
    """Slots of kinds, their sizes, their roles (kinds x the most members), the ages of their heads."""
    plain = [kind._replace(weight=kind.weight * (1 - twin_births)) if CHILD in kind.roles else kind for kind in _KINDS]
    twins = [k._replace(weight=k.weight * twin_births, roles=_with_twin(k.roles)) for k in _KINDS if CHILD in k.roles]
    kinds = plain + (twins if twin_births else [])
    roles = np.array([[*kind.roles, *[0] * (_MOST - len(kind.roles))] for kind in kinds], dtype=np.int8)
    sizes = np.array([len(kind.roles) for kind in kinds], dtype=np.int64)
    return weighted([k.weight for k in kinds]), sizes, roles, np.array([kind.ages for kind in kinds], dtype=np.int64)


def members(settings: Settings, block: int) -> Members:
    """Draw the people of a block; homes are its last households."""
    draws = Draws(settings.seed, block, "households")
    slots, sizes, roles, ages = _kinds(settings.twin_births)
    kind = draws.pick(slots, HOUSEHOLDS)
    homes = _home_sizes(settings, draws, block)
    size = np.concatenate([sizes[kind], homes])
    starts = np.cumsum(size) - size
    household = np.repeat(np.arange(len(size), dtype=np.int64), size)
    position = np.arange(len(household), dtype=np.int64) - starts[household]
    private = household < HOUSEHOLDS
    role = np.full(len(household), RESIDENT, dtype=np.int8)
    role[private] = roles[kind[household[private]], position[private]]
    head, sibling = starts[household], _first_children(household, role)
    care = np.concatenate([np.zeros(HOUSEHOLDS, bool), draws.chance(_CARE_SHARE, len(homes))])
    sex = _sexes(draws, role, head)
    birth = _births(draws, ages[kind], role, head, sibling)
    _settle_residents(draws, birth, ~private, care[household])
    birth[draws.chance(settings.placeholder_births, len(birth)) & (role != TWIN)] = PLACEHOLDER_BIRTH
    return Members(household, role, sex, birth, head, sibling, starts, care)


def _home_sizes(settings: Settings, draws: Draws, block: int) -> Ints:
    sizes = _HOME_SIZES[draws.below(len(_HOME_SIZES), _HOMES)]
    largest = [settings.largest_home] if block % _LARGEST_EVERY == 0 else []
    return np.concatenate([np.minimum(sizes, settings.largest_home), np.array(largest, dtype=np.int64)])


def _first_children(household: Ints, role: Codes) -> Ints:
    sibling = np.arange(len(household), dtype=np.int64)
    young = np.flatnonzero((role == CHILD) | (role == TWIN))
    first = young[np.searchsorted(household[young], household[young])]
    sibling[young] = first
    return sibling


def _sexes(draws: Draws, role: Codes, head: Ints) -> Codes:
    count = len(role)
    sex = draws.chance(0.512, count).astype(np.int8)
    heads = draws.chance(0.7, count).astype(np.int8)
    sex[role == HEAD] = heads[role == HEAD]
    sex[role == SPOUSE] = 1 - sex[head[role == SPOUSE]]
    sex[role == FATHER], sex[role == MOTHER] = 1, 0
    return sex


def _years(draws: Draws, low: float, high: float, count: int) -> Ints:
    """Draw spans of years, in days."""
    return draws.between(int(low * YEAR), int(high * YEAR), count)


def _births(draws: Draws, ages: Codes, role: Codes, head: Ints, sibling: Ints) -> Ints:
    """Heads by the ages of their kind; wives and husbands of about that age; children when the head was 24 to 38."""
    count, heads = len(role), role == HEAD
    low, span = ages[:, 0] * 365, (ages[:, 1] - ages[:, 0]) * 365
    birth = np.full(count, TODAY, dtype=np.int64)
    birth[heads] = TODAY - low - draws.below(span, len(span)) - 40
    of_head = birth[head]
    birth = np.where(role == SPOUSE, of_head + _years(draws, -4, 4, count), birth)
    parents = (role == FATHER) | (role == MOTHER)
    birth = np.where(parents, of_head - _years(draws, 22, 34, count), birth)
    oldest = of_head + draws.between(24 * 366, 24 * 366 + 1, count)
    span = np.clip(np.minimum(TODAY - 1 - oldest, int(14 * YEAR)), 1, None)
    first = (oldest + draws.below(span, count))[sibling]
    gap = draws.between(330, 2500, count)  # days between brothers and sisters
    later = np.where(first + gap < TODAY, first + gap, first - gap)
    own = np.where((sibling == np.arange(count)) | (role == TWIN), first, later)
    return np.where((role == CHILD) | (role == TWIN), own, birth)


def _settle_residents(draws: Draws, birth: Ints, resident: Flags, care: Flags) -> None:
    """Give those in homes their ages, in place: the old in care homes, 17 to 45 in dormitories."""
    count = int(resident.sum())
    old, young = _years(draws, 65, 97, count), _years(draws, 17, 45, count)
    birth[resident] = TODAY - np.where(care[resident], old, young)


def years_of(birth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the years of birth dates."""
    return np.asarray(birth.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970)
