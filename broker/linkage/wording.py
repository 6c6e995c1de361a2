"""Levels, kinds of fields and atoms of blocking in words: names for files, and plain sentences for who reads a report.

What must not go in here: how two values get their level (ext/linkage_compare.h), what a level weighs (model.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from broker.linkage.blocking import Atom, Rule
from broker.linkage.model import DIFFERENT, LEVELS, MISSING, SAME
from broker.linkage.schema import Kind, Schema


class Wording(NamedTuple):
    """A level: its name in files, and what it means."""

    name: str
    meaning: str


_MISSING = Wording("missing", "not known of one of both; counts neither way")
_DIFFERENT = Wording("different", "different")
_NOT_USED = Wording("not_used", "does not occur")
# By level from SAME on: how many records have one value, by steps of eight (ext/linkage_compare.c).
_FIRST_RARE, _STEP = 64, 8

_NAME = (
    Wording("surname_only", "nothing but the surname is the same"),
    Wording("one_differs", "one character of three or more is another; names in letters: somewhat alike"),
    Wording("one_less", "one character is left out"),
    Wording("swapped", "two neighbouring characters of the given name are swapped"),
    Wording("same_shape", "written with characters of nearly the same shape; names in letters: alike"),
    Wording("same_sound", "written with characters of the same sound; names in letters: nearly the same"),
    Wording("letters", "written in letters (pinyin) on one side, with the same reading"),
)
_TEXT = (
    Wording("weakly_alike", "weakly alike (Jaro-Winkler from 0.70)"),
    Wording("alike", "alike (from 0.80)"),
    Wording("well_alike", "well alike (from 0.88)"),
    Wording("nearly_same", "nearly the same (from 0.94)"),
    Wording("begins", "one begins with the other"),
)
_PARTS = (
    *_TEXT,
    Wording("swapped_alike", "much like what stands in the other part of the name"),
    Wording("swapped", "stands in the other part of the name: given name and surname are swapped"),
)
_CODE = (
    Wording("alike", "alike (Jaro-Winkler from 0.88)"),
    Wording("one_slip", "one slip: a character wrong, left out, added, or two swapped"),
)

# By kind, the levels behind DIFFERENT in their order.
_BETWEEN: Mapping[Kind, tuple[Wording, ...]] = {
    Kind.PERSON_NAME: _NAME,
    Kind.GIVEN_NAME: _PARTS,
    Kind.SURNAME: _PARTS,
    Kind.RESIDENT_ID: (
        Wording("other_wrong", "different, and one of both is not a right number"),
        Wording("one_slip", "one slip: a digit wrong, or two neighbours swapped"),
    ),
    Kind.IDENTIFIER: _CODE,
    Kind.DATE: (
        Wording("same_year", "the same year only"),
        Wording("same_month_day", "the same month and day, another year"),
        Wording("near_year", "the same month and day, a year or two apart"),
        Wording("one_slip", "one slip: a digit wrong, or two neighbours swapped"),
        Wording("day_month", "day and month are swapped"),
    ),
    Kind.PHONE: (Wording("one_slip", "one slip: a digit wrong, or two neighbours swapped"),),
    Kind.ADDRESS: (
        Wording("same_region", "the same region only"),
        Wording("same_street", "the same street or community, another house"),
        Wording("same_house", "the same house, another dwelling"),
        Wording("same_dwelling", "the same house; the dwelling is named on one side only"),
    ),
    Kind.TEXT: _TEXT,
    Kind.NUMBER: _CODE,
    Kind.CATEGORY: (),
}

KIND_TITLES: Mapping[Kind, tuple[str, str]] = {
    Kind.PERSON_NAME: ("name of a person", "姓名"),
    Kind.GIVEN_NAME: ("given name, in letters", "名"),
    Kind.SURNAME: ("surname, in letters", "姓"),
    Kind.RESIDENT_ID: ("resident id", "公民身份号码"),
    Kind.IDENTIFIER: ("identifier", "证件号码"),
    Kind.DATE: ("date", "日期"),
    Kind.PHONE: ("telephone", "电话"),
    Kind.ADDRESS: ("Chinese address", "地址"),
    Kind.TEXT: ("text", "文本"),
    Kind.NUMBER: ("number or short code", "编号"),
    Kind.CATEGORY: ("one of a few values", "类别"),
}

_ATOMS: Mapping[Atom, str] = {
    Atom.VALUE: "the same {field}",
    Atom.SURNAME: "the same surname in {field}",
    Atom.SYLLABLES: "the same sound of {field}",
    Atom.LETTERS: "the same letters of {field}",
    Atom.YEAR: "the same year of {field}",
    Atom.MONTH_DAY: "the same month and day of {field}",
    Atom.STREET: "the same street and house in {field}",
    Atom.PREFIX: "the same beginning of {field}",
    Atom.SOUND: "the same sound of {field}",
    Atom.PARTS: "a part of {field} in common",
    Atom.BOTH: "the same {field} together with its other part, in either order",
}


def wording(kind: Kind, level: int) -> Wording:
    """Return the words for a level of a kind of field."""
    if level in (MISSING, DIFFERENT):
        return (_MISSING, _DIFFERENT)[level]
    if level >= SAME:
        return _same(kind, level - SAME)
    between = _BETWEEN[kind]
    return between[level - DIFFERENT - 1] if level - DIFFERENT <= len(between) else _NOT_USED


def _same(kind: Kind, step: int) -> Wording:
    """Word agreement by how rare the value is; the first level is of what many have, or of what is not counted."""
    if kind in (Kind.CATEGORY, Kind.RESIDENT_ID):
        return Wording("same", "the same") if step == 0 else _NOT_USED
    low, high = _FIRST_RARE * _STEP ** (step - 1), _FIRST_RARE * _STEP**step
    if step == 0:
        return Wording("same", f"the same; more than 1 record in {_FIRST_RARE} has the value")
    if SAME + step == LEVELS - 1:
        return Wording(f"same_1_in_{low}", f"the same; at most 1 record in {_round(low)} has the value")
    return Wording(f"same_1_in_{low}", f"the same; 1 record in {_round(low)} to {_round(high)} has the value")


def _round(count: int) -> str:
    """Write a bound with two digits that count."""
    digits = len(str(count)) - 2
    return f"{round(count, -digits):,}"


def names_of_levels(kind: Kind) -> list[str]:
    """Return the names of all levels of a kind, by level."""
    return [wording(kind, level).name for level in range(LEVELS)]


def rule_in_words(schema: Schema, rule: Rule) -> str:
    """Say what two records must have in common to be compared by a rule."""
    return " and ".join(_ATOMS[Atom(atom)].format(field=schema.fields[place].name) for place, atom in rule)
