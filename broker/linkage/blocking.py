"""Which pairs are compared at all: rules over atoms of fields, chosen for a table by how many candidates they bring.

A rule is one atom that tells people apart by itself, or two atoms of different fields of which at least one is a whole value.
All of them are tried on a sample; a rule stays if it brings few candidates and no coarser rule that stays brings them anyway.
What must not go in here: how atoms are read from a record (ext/linkage_keys.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations

import numpy as np

from broker._native import linkage_index as native
from broker.linkage.schema import Kind, Rows, Schema


class Atom(IntEnum):
    """A part of a value; the order is that of `AtomKind` in ext/linkage_keys.h."""

    VALUE = 0
    SURNAME = 1
    SYLLABLES = 2
    LETTERS = 3
    YEAR = 4
    MONTH_DAY = 5
    STREET = 6
    PREFIX = 7
    SOUND = 8
    PARTS = 9
    BOTH = 10


# By kind: the atoms that are a whole value, and those that are a part of one. A surname is read with the given name.
ATOMS: Mapping[Kind, tuple[tuple[Atom, ...], tuple[Atom, ...]]] = {
    Kind.PERSON_NAME: ((Atom.VALUE,), (Atom.SYLLABLES, Atom.LETTERS)),
    Kind.GIVEN_NAME: ((Atom.BOTH,), (Atom.PARTS,)),
    Kind.SURNAME: ((), ()),
    Kind.RESIDENT_ID: ((Atom.VALUE,), ()),
    Kind.IDENTIFIER: ((Atom.VALUE,), (Atom.PREFIX,)),
    Kind.DATE: ((Atom.VALUE,), (Atom.YEAR, Atom.MONTH_DAY)),
    Kind.PHONE: ((Atom.VALUE,), ()),
    Kind.ADDRESS: ((Atom.VALUE,), (Atom.STREET,)),
    Kind.TEXT: ((Atom.SOUND,), (Atom.PREFIX,)),
    Kind.NUMBER: ((Atom.VALUE,), ()),
    Kind.CATEGORY: ((), ()),
}
_ALONE = (Atom.VALUE,), (Atom.SOUND,)  # a given name or surname without its partner is a text
COARSER: Mapping[Atom, tuple[Atom, ...]] = {
    Atom.VALUE: (Atom.SYLLABLES, Atom.LETTERS, Atom.YEAR, Atom.MONTH_DAY, Atom.STREET, Atom.PREFIX, Atom.SOUND),
    Atom.BOTH: (Atom.PARTS,),
}

CAP = 256  # records with one key; a key that more have is dropped from the index
_WORK, _LEAST_EXPECTED = 2e6, 8.0  # candidates of a rule in all, where a table is small, and of a record at least
_GROWTH = 1e-6  # more for each record: in tables of tens of millions no rule that is any good brings few
MOST_KEYS = 96
_SAMPLE = 20_000  # rows, or more where
_MOST_FOR_ONE = 32  # one of them would stand for more: two with one key would then be taken for more than the cap

Part = tuple[int, Atom]  # of which field
Rule = tuple[Part, ...]  # one or two


@dataclass(frozen=True)
class Blocking:
    """The rules in force, the most selective first."""

    rules: tuple[Rule, ...]
    cap: int = CAP

    def plan(self, schema: Schema) -> native.KeyPlan:
        """Make what computes the keys."""
        atoms = list(dict.fromkeys(part for rule in self.rules for part in rule))
        places = [(atoms.index(rule[0]), atoms.index(rule[1]) if len(rule) > 1 else None) for rule in self.rules]
        return native.KeyPlan(schema.layout, atoms, places)


def candidates(schema: Schema) -> Iterator[Rule]:
    """Give every rule that may be of use, coarser ones first."""
    fields = [_atoms(schema, index) for index in range(len(schema.fields))]
    for whole, _ in fields:
        yield from ((part,) for part in whole)
    for one, other in combinations(fields, 2):
        for parts, wholes in ((one[1], other[0]), (other[1], one[0])):
            yield from ((whole, part) for part in parts for whole in wholes)
    for one, other in combinations(fields, 2):
        yield from ((first, second) for first in one[0] for second in other[0])


def _atoms(schema: Schema, index: int) -> tuple[list[Part], list[Part]]:
    kind = schema.fields[index].kind
    whole, parts = ATOMS[kind]
    kinds = [field.kind for field in schema.fields]
    if kind in (Kind.GIVEN_NAME, Kind.SURNAME) and (kinds.count(Kind.GIVEN_NAME), kinds.count(Kind.SURNAME)) != (1, 1):
        whole, parts = _ALONE
    return [(index, atom) for atom in whole], [(index, atom) for atom in parts]


def choose(schema: Schema, rows: Rows, most_keys: int = MOST_KEYS) -> Blocking:
    """Choose rules for looking up in these rows."""
    step = max(1, min(len(rows) // _SAMPLE, _MOST_FOR_ONE))
    sample = np.ascontiguousarray(rows[::step])
    kept: list[tuple[float, Rule]] = []
    for rule in candidates(schema):
        if any(_implies(rule, other) for _, other in kept):
            continue
        expected = _expected(schema, rule, sample, len(rows))
        if expected <= max(_WORK / max(1, len(rows)), _LEAST_EXPECTED) + _GROWTH * len(rows):
            kept.append((expected, rule))
    kept.sort(key=lambda pair: pair[0])
    rules = tuple(rule for _, rule in kept)
    while Blocking(rules).plan(schema).width > most_keys:
        rules = rules[:-1]
    return Blocking(rules)


def _implies(rule: Rule, other: Rule) -> bool:
    """Whether records that share a key of the rule also share one of the other."""
    return all(any(_is_finer(own, part) for own in rule) for part in other)


def _is_finer(part: Part, other: Part) -> bool:
    return part[0] == other[0] and (part[1] == other[1] or other[1] in COARSER.get(part[1], ()))


def _expected(schema: Schema, rule: Rule, sample: Rows, count: int) -> float:
    """Tell how many of so many records a record shares a key with, from those in a sample; dropped keys bring none."""
    plan = Blocking((rule,)).plan(schema)
    keys = np.empty((len(sample), plan.width), np.uint64)
    plan.keys(sample, keys)
    _, found = np.unique(keys[keys != 0], return_counts=True)
    scale = count / max(1, len(sample))
    shared = found[(found > 1) & (found * scale <= CAP)].astype(np.float64)
    return float((shared * (shared - 1)).sum() / max(1, len(sample)) * scale)
