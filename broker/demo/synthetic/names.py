"""Names as rows of code points: surnames with a long tail, given names of a generation, names in two parts, rare characters.

A row has WIDTH code points and 0 where there is none, also in the middle: a surname has the first two places whether it needs
them or not, so that whoever renames somebody's twin knows where the given name begins. Shapes: rows x WIDTH, uint32.
What must not go in here: the tables (name_tables.py), who is whose child (households.py), errors (slips.py).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from broker.demo import people
from broker.demo.synthetic import columns
from broker.demo.synthetic import name_tables as tables
from broker.demo.synthetic.columns import Characters, replaced
from broker.demo.synthetic.draws import SLOTS, Codes, Draws, Flags, Ints, weighted

PART = 6  # of a name in two parts
WIDTH = PART + 1 + PART
GIVEN = slice(2, 4)
MALE, FEMALE = 1, 0

_DOT = ord("·")
_DOUBLE_SHARE = 0.01  # of people with a surname
_ANY_TIME_SHARE, _ANY_TIME_SINGLE_SHARE = 0.15, 0.25
_RARE_SHARE = 1 / 300
_GIVEN_SLOTS = 8192
_FLATNESS = 9  # Zipf–Mandelbrot: the most common character of a generation is a tenth of it, not a third
_STARTS = np.array([year for year in tables.GENERATIONS if year], dtype=np.int64)
# For a child that would be called like its brother; the last two by sex, as FEMALE and MALE count.
_FALLBACKS = "宁安和平康宏远"
_OTHER_OWN, _OTHER_WHOLE = ("其曼", "图尔贡"), ("白玛", "洛桑")


def rows(words: Sequence[str], width: int) -> Characters:
    """Spell words as rows of code points, padded with 0."""
    return np.array([[*map(ord, word), *[0] * (width - len(word))] for word in words], dtype=np.uint32)


@functools.cache
def surname_characters() -> Characters:
    """Give every surname there is, in two places, the most common ones first."""
    return rows(list(_surname_weights()), 2)


@functools.cache
def _surname_weights() -> dict[str, float]:
    """Weigh by thousandths: those of the city, then a tail that falls off with its rank, then those of two characters."""
    found: dict[str, float] = {name: weight for weight, names in people.SURNAMES.items() for name in names}
    tail = [name for name in dict.fromkeys(tables.TAIL_SURNAMES) if name not in found]
    found |= {name: 60 / (rank + 40) for rank, name in enumerate(tail)}
    double = (*people.DOUBLE_SURNAMES, *tables.MORE_DOUBLE_SURNAMES.split())
    share = sum(found.values()) * _DOUBLE_SHARE / sum(1 / rank for rank in range(1, len(double) + 1))
    return found | {name: share / rank for rank, name in enumerate(double, 1)}


@functools.cache
def _surname_slots() -> Codes:
    return weighted(list(_surname_weights().values()))


def surnames(draws: Draws, count: int) -> Codes:
    """Draw surnames, as indexes of `surname_characters`."""
    return draws.pick(_surname_slots(), count)


def _slots(common: str, any_time_share: float) -> Characters:
    weights = {char: 1 / (rank + _FLATNESS) for rank, char in enumerate(dict.fromkeys(common))}
    scale = (1 - any_time_share) / sum(weights.values())
    weights = {char: weight * scale for char, weight in weights.items()}
    others = [char for char in dict.fromkeys(tables.ANY_TIME) if char not in weights]
    weights |= dict.fromkeys(others, any_time_share / len(others))
    characters = np.array([*map(ord, weights)], dtype=np.uint32)
    return characters[weighted(list(weights.values()), _GIVEN_SLOTS)]


@functools.cache
def _given_slots() -> tuple[Characters, Characters, Characters, NDArray[np.float64]]:
    """First, second and only characters by fashion (generation x sex), and the share of names with one."""
    fashions = [fashion for pair in tables.GENERATIONS.values() for fashion in pair]
    return (
        np.stack([_slots(fashion.first, _ANY_TIME_SHARE) for fashion in fashions]),
        np.stack([_slots(fashion.second, _ANY_TIME_SHARE) for fashion in fashions]),
        np.stack([_slots(fashion.single, _ANY_TIME_SINGLE_SHARE) for fashion in fashions]),
        np.array([fashion.single_share for fashion in fashions]),
    )


def given_names(draws: Draws, years: Codes, sexes: Codes) -> Characters:
    """Draw given names, rows x 2, after the fashion of the year and sex; one character stands in the second place."""
    count = len(years)
    first, second, single, single_share = _given_slots()
    fashion = np.searchsorted(_STARTS, years, side="right") * 2 + (sexes == FEMALE)
    lots = draws.lots(count).view(np.uint16).reshape(count, 4) % _GIVEN_SLOTS
    found = np.stack([first[fashion, lots[:, 0]], second[fashion, lots[:, 1]]], axis=1)
    alone = draws.chance(single_share[fashion], count)
    found[alone] = np.stack([np.zeros(count, np.uint32), single[fashion, lots[:, 2]]], axis=1)[alone]
    rare = draws.chance(_RARE_SHARE, count)
    characters = np.array([*map(ord, tables.RARE)], dtype=np.uint32)
    found[rare, 1] = characters[draws.below(len(characters), count)][rare]
    return found


def tell_apart(given: Characters, others: Sequence[Characters]) -> None:
    """Change, in place, the second character of given names that are the same as one of up to six others' (all rows x 2)."""
    rows = np.arange(len(given))
    for character in _FALLBACKS:
        own = given[rows]
        same = np.any([(own[:, 0] == other[rows, 0]) & (own[:, 1] == other[rows, 1]) for other in others], axis=0)
        rows = rows[same]
        if not len(rows):
            return
        given[rows, 1] = ord(character)


def with_surname(surname: Codes, given: Characters) -> Characters:
    """Put surnames (indexes) and given names together."""
    found = np.zeros((len(surname), WIDTH), dtype=np.uint32)
    found[:, :2] = surname_characters()[surname]
    found[:, GIVEN] = given
    return found


@functools.cache
def _parts(width: int, kind: str) -> tuple[Characters, Characters]:
    texts = tables.OWN_NAMES if kind == "own" else tables.WHOLE_NAMES
    return rows(texts[0].split(), width), rows(texts[1].split(), width)


def spelled(names: Characters) -> pa.Array:
    """Spell names as strings; the few in two parts apart, so that the others cost four characters and not thirteen."""
    dotted = are_in_two_parts(names)
    return replaced(columns.spelled(names[:, :4]), dotted, columns.spelled(names[dotted]))


def own_names(lots: Ints, sexes: Codes) -> Characters:
    """Give the first parts of names in two parts, rows x PART: neighbouring lots of one sex are different names."""
    return _by_sex(lots, sexes, _parts(PART, "own"))


def in_two_parts(own: Characters, father: Characters) -> Characters:
    """Put together one's own name, a middle dot (U+00B7), and one's father's own name."""
    return np.concatenate([own, np.full((len(own), 1), _DOT, dtype=np.uint32), father], axis=1)


def whole_names(lots: Ints, sexes: Codes) -> Characters:
    """Give names of one part, without a surname: neighbouring lots of one sex are different names."""
    return _by_sex(lots, sexes, _parts(WIDTH, "whole"))


def _by_sex(lots: Ints, sexes: Codes, parts: tuple[Characters, Characters]) -> Characters:
    sons, daughters = (part[lots % len(part)] for part in parts)
    return np.where((sexes == MALE)[:, None], sons, daughters)


def are_in_two_parts(names: Characters) -> Flags:
    """Say which names have a middle dot."""
    return np.asarray(names[:, PART] == _DOT, dtype=np.bool_)


def have_rare(names: Characters) -> Flags:
    """Say which names have a rare character, which only stands at the end of a given name."""
    return np.asarray(np.isin(names[:, GIVEN.stop - 1], [*map(ord, tables.RARE)]), dtype=np.bool_)


def of_siblings(draws: Draws, names: Characters, years: Codes, sexes: Codes, shared: float) -> Characters:
    """Name brothers and sisters: the same surname or father, a share with the same first character, no two the same."""
    found = names.copy()
    given = given_names(draws, years, sexes)
    alike = draws.chance(shared, len(names)) & (names[:, 2] != 0) & (given[:, 0] != 0)
    given[alike, 0] = names[alike, 2]
    tell_apart(given, [names[:, GIVEN]])
    found[:, GIVEN] = given
    lots = draws.below(SLOTS, len(names))
    for kind, others, start in (
        (are_in_two_parts(names), own_names(lots, sexes), _OTHER_OWN),
        (_is_whole(names), whole_names(lots, sexes), _OTHER_WHOLE),
    ):
        width = others.shape[1]
        same = np.all(others == names[:, :width], axis=1)
        others[same] = rows(start, width)[sexes[same]]
        found[kind, :width] = others[kind]
    return found


@functools.cache
def _whole_starts() -> NDArray[np.uint64]:
    """Give the first four characters of every whole name, packed, which tell them from a surname with a given name."""
    return np.unique(_packed(np.concatenate(_parts(WIDTH, "whole"))))


def _packed(names: Characters) -> NDArray[np.uint64]:
    """Pack four places of 16 bits; characters beyond the basic plane lose bits, which no whole name has."""
    places = names[:, :4].astype(np.uint64)
    return np.asarray(places[:, 0] << 48 | places[:, 1] << 32 | places[:, 2] << 16 | places[:, 3], dtype=np.uint64)


def _is_whole(names: Characters) -> Flags:
    return np.isin(_packed(names), _whole_starts())


assert SLOTS % _GIVEN_SLOTS == 0  # noqa: S101 - lots of 16 bits are cut to it without preferring any
