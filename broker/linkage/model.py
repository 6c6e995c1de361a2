"""The model of a linkage: what each level of each field says for and against two records being of the same person.

Fellegi and Sunter 1969 (doi:10.1080/01621459.1969.10501049) with several kinds of pairs that are no match: strangers, and those
who live together or were born together, who agree on much and are not the same. What must not go in here: how the numbers are
found (estimate.py), which pairs become links (links.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt

from broker.linkage.blocking import Atom, Blocking
from broker.linkage.schema import Field, Kind, Schema

LEVELS = 16
MISSING, DIFFERENT, SAME = 0, 1, 9  # levels of every kind of field; see ext/linkage_compare.h for those between

# What no other agreement makes up for. Who lives together shares nearly everything, more than any model of independent fields
# can weigh: a twin has surname, birth date, home and often the phone in common. So without a number that speaks for it, a name
# that differs by an unlike character, or in all but the surname, is never a link; and two right numbers are two people.
GUARDED = 0.45  # the most that such a pair can be: it is for review
_OTHER_NAME = (DIFFERENT, 2, 3)
_SAME_NUMBER = {Kind.RESIDENT_ID: 3, Kind.IDENTIFIER: 3}  # from this level on

Floats = npt.NDArray[np.float64]
Patterns = npt.NDArray[np.uint64]


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model as it is written."""

    fields: dict[str, Kind]
    rules: list[list[tuple[int, int]]]
    cap: int
    matches: float
    kin: list[float]
    levels: list[list[list[float]]]
    format: int = 1


class Unreadable(ValueError):
    """What was saved is no model of this format."""


@dataclass(frozen=True)
class Model:
    """Probabilities of levels by kind of pair, and how many pairs are of each kind.

    Attributes:
        schema: the fields.
        blocking: which pairs are compared.
        levels: probability of a level, by class (matches, strangers, then kin), field and level; 1 for what is missing.
        matches: of one record of the left table in a right one, on average.
        kin: pairs of each class of kin, likewise.
    """

    schema: Schema
    blocking: Blocking
    levels: Floats
    matches: float
    kin: tuple[float, ...]

    @property
    def bits(self) -> Floats:
        """Bits for (positive) or against a match, by field and level, against strangers."""
        return np.asarray(np.log2(self.levels[0]) - np.log2(self.levels[1]))

    def weights(self) -> npt.NDArray[np.float32]:
        """Give what patterns are scored by, in natural logarithms: always 16 fields."""
        found = np.zeros((LEVELS, LEVELS), np.float32)
        found[: len(self.schema.fields)] = self.bits * np.log(2)
        return found

    def log_odds(self, patterns: Patterns, size: float) -> Floats:
        """Give the logarithm of the odds that pairs are matches, in a base of this size."""
        logs = np.stack([log_likelihood(patterns, np.log(levels)) for levels in self.levels])
        logs += self.log_shares(size)[:, None]
        odds = logs[0] - np.logaddexp.reduce(logs[1:])
        return np.asarray(np.where(self.guarded(patterns), np.minimum(odds, np.log(GUARDED / (1 - GUARDED))), odds))

    def log_shares(self, size: float) -> Floats:
        """Give the logarithm of the share of each class in all pairs of a record with a base of this size."""
        strangers = 1 - min(0.5, (self.matches + sum(self.kin)) / size)
        kin = [max(share, 1e-300) / size for share in self.kin]
        return np.asarray(np.log([self.matches / size, strangers, *kin]))

    def guards(self) -> npt.NDArray[np.uint16]:
        """Levels as bits, by field (always 16), that make a guard: another name; the same number; contradicting numbers."""
        found = np.zeros((3, LEVELS), np.uint16)
        for place, field in enumerate(self.schema.fields):
            if field.kind is Kind.PERSON_NAME:
                found[0, place] = sum(1 << level for level in _OTHER_NAME)
            if field.kind in _SAME_NUMBER:
                found[1, place] = sum(1 << level for level in range(_SAME_NUMBER[field.kind], LEVELS))
            if field.kind is Kind.RESIDENT_ID:
                found[2, place] = 1 << DIFFERENT
        return found

    def guarded(self, patterns: Patterns) -> npt.NDArray[np.bool_]:
        """Tell which pairs are at most for review, whatever else they agree on."""
        other, number, contradicted = (self._has(levels, patterns) for levels in self.guards())
        return (other & ~number) | contradicted

    def _has(self, levels: npt.NDArray[np.uint16], patterns: Patterns) -> npt.NDArray[np.bool_]:
        """Tell which patterns have one of some levels, given as bits by field."""
        found = np.zeros(len(patterns), np.bool_)
        for place in range(len(self.schema.fields)):
            found |= (levels[place] >> ((patterns >> np.uint64(4 * place)) & np.uint64(15)).astype(np.uint16)) & 1 != 0
        return found

    def explain(self, pattern: int) -> dict[str, tuple[int, float]]:
        """Tell, by field, the level and its bits."""
        bits = self.bits
        levels = [pattern >> 4 * place & 15 for place in range(len(self.schema.fields))]
        return {f.name: (level, float(bits[place, level])) for place, (f, level) in enumerate(self._told(levels))}

    def _told(self, levels: list[int]) -> Iterable[tuple[Field, int]]:
        return zip(self.schema.fields, levels, strict=True)

    def to_json(self) -> bytes:
        """Write the model."""
        saved = Saved(
            fields={field.name: field.kind for field in self.schema.fields},
            rules=[[(field, int(atom)) for field, atom in rule] for rule in self.blocking.rules],
            cap=self.blocking.cap,
            matches=self.matches,
            kin=list(self.kin),
            levels=self.levels.tolist(),
        )
        return msgspec.json.encode(saved)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read a model.

        Raises:
            Unreadable: it is none, or one of another format.
        """
        try:
            saved = msgspec.json.decode(data, type=Saved)
            schema = Schema.of(saved.fields)
            rules = tuple(tuple((field, Atom(atom)) for field, atom in rule) for rule in saved.rules)
            levels = np.array(saved.levels, np.float64)
            blocking = Blocking(rules, saved.cap)
            blocking.plan(schema)
        except (msgspec.DecodeError, ValueError) as error:
            raise Unreadable("not a model of linkage") from error
        if saved.format != 1 or levels.shape != (2 + len(saved.kin), len(schema.fields), LEVELS) or not (levels > 0).all():
            raise Unreadable("not a model of linkage of this format")
        return cls(schema, blocking, levels, saved.matches, tuple(saved.kin))


def log_likelihood(patterns: Patterns, logs: Floats) -> Floats:
    """Add up, by pattern, the logarithms of its levels."""
    found = np.zeros(len(patterns))
    for place, table in enumerate(logs):
        found += table[(patterns >> np.uint64(4 * place)) & np.uint64(15)]
    return found


def levels_of(patterns: Patterns, fields: int) -> npt.NDArray[np.uint8]:
    """Give the levels of patterns: a row a pattern, a column a field."""
    return np.stack([((patterns >> np.uint64(4 * place)) & np.uint64(15)).astype(np.uint8) for place in range(fields)], axis=1)


def probability(log_odds: Any) -> Floats:
    """Turn logarithms of odds into probabilities."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -700, 700))))
