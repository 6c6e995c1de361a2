"""How a model is found without labels: what strangers agree on from random pairs, the rest by expectation-maximisation.

The levels of strangers are fixed: agreement on a value from how frequent values are, all else from random pairs (as Splink
does). Matches, and the kin who are taken for them, are fitted to the patterns of candidate pairs (Dempster, Laird and Rubin
1977, as Winkler 1988 has it for linkage). Priors are weak counts that keep a level that was never seen possible.
What must not go in here: reading tables, choosing links.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from broker._native import linkage, linkage_index
from broker.linkage.cores import do_all, in_order, slices
from broker.linkage.model import DIFFERENT, LEVELS, MISSING, SAME, Floats, Patterns, levels_of
from broker.linkage.schema import Kind, Rows, Schema

RANDOM_PAIRS = 1_000_000
ROUNDS = 60
_SEED = 20_180_501
_STRENGTH = 10.0  # pairs that the prior of a field counts as
_ID_PAIR = 3  # the level of a resident id with a slip, see ext/linkage_compare.h
_SURNAME, _ONE_DIFFERS = 2, 3

# Two resident ids that are both right and differ are two people's. That somebody's record has the number of another is so rare
# that no table tells how rare: namesakes, who are as few, would be counted for it. So this is not fitted, and such pairs are at
# most for review.
CONTRADICTION = 1e-5


@dataclass(frozen=True)
class Observed:
    """What was seen of a pair of tables.

    Attributes:
        agreement: by field and level from SAME on, the probability that random rows agree on a value of that rarity.
        shares: likewise, the share of rows that have one.
        random: probability of each level among random pairs, by field; of what is not missing.
        patterns: distinct patterns of candidate pairs.
        counts: how many pairs there are of each, in the whole of both tables.
        pairs: of both tables, compared or not.
    """

    agreement: Floats
    shares: Floats
    random: Floats
    patterns: Patterns
    counts: Floats
    pairs: float


def rarities(schema: Schema, tables: Sequence[Rows]) -> tuple[Floats, Floats]:
    """Count values over both tables, write their rarity into the rows, and give agreement and shares by field and level."""
    agreement, shares = np.zeros((2, len(schema.fields), LEVELS))
    counts = (functools.partial(linkage.count_rarity, schema.layout, place, tables) for place in range(len(schema.fields)))
    for place, (field, (found, _, _)) in enumerate(zip(schema.fields, in_order(counts), strict=True)):
        counted = field.kind not in (Kind.CATEGORY, Kind.RESIDENT_ID)
        for bits, chance in enumerate(found):
            level = SAME + (min(6, (bits - 3) // 3) if bits >= 6 and counted else 0)
            agreement[place, level] += chance
            shares[place, level] += chance * 2.0**bits
    return agreement, shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)


def random_levels(schema: Schema, left: Rows, right: Rows) -> Floats:
    """Compare random rows of two tables; give the shares of levels among what is not missing."""
    draw = np.random.default_rng(_SEED)
    count = min(RANDOM_PAIRS, 20 * len(left) * len(right))
    lefts = draw.integers(0, len(left), count).astype(np.uint32)
    rights = draw.integers(0, len(right), count).astype(np.uint32)
    patterns = np.empty(count, np.uint64)
    columns = ((lefts[part], rights[part], patterns[part]) for part in slices(count))
    do_all(functools.partial(linkage_index.compare, schema.layout, left, right, *each) for each in columns)
    distinct, times = np.unique(patterns, return_counts=True)
    levels = levels_of(distinct, len(schema.fields))
    found = np.stack([np.bincount(column, times, LEVELS) for column in levels.T]).astype(np.float64)
    found[:, MISSING] = 0
    return np.asarray(found, np.float64)


# --- beginnings -------------------------------------------------------------------------------------------------------


def first_matches(observed: Observed) -> Floats:
    """What one would think of matches before looking: mostly the same, now and then nearly, seldom different."""
    fields = len(observed.shares)
    found = np.zeros((fields, LEVELS))
    found[:, SAME:] = 0.9 * observed.shares[:, SAME:]
    found[:, DIFFERENT + 1 : SAME] = 0.06 / (SAME - DIFFERENT - 1)
    found[:, DIFFERENT] = 0.04
    return _filled(found)


def strangers(observed: Observed, matches: Floats, share: float) -> Floats:
    """What is left of random pairs without the matches among them."""
    count = observed.random.sum(axis=1, keepdims=True)
    found = (observed.random + 0.5 / LEVELS) / (count + 0.5)
    agreed = observed.agreement[:, SAME:]
    known = agreed.sum(axis=1, keepdims=True) > 0
    found[:, SAME:] = np.where(known, agreed, found[:, SAME:])
    found = np.maximum(found - share * matches, 0.05 * found)
    near = found[:, DIFFERENT:SAME]
    near *= (1 - found[:, SAME:].sum(axis=1, keepdims=True)) / near.sum(axis=1, keepdims=True)
    return _filled(found)


def _filled(found: Floats) -> Floats:
    found = np.maximum(found, 1e-12)
    found[:, MISSING] = 1.0
    return found


_SHARED = frozenset((Kind.ADDRESS, Kind.SURNAME, Kind.TEXT, Kind.NUMBER, Kind.PHONE))


def first_kin(schema: Schema, matches: Floats, others: Floats) -> Floats:
    """What one would think of those who live together, and of those born together: never one name, never one number."""
    found = np.stack([others, others])
    for place, field in enumerate(schema.fields):
        if field.kind in _SHARED:
            found[:, place] = 0.6 * matches[place] + 0.4 * others[place]
        if field.kind is Kind.DATE:
            found[1, place] = matches[place]
        if field.kind is Kind.PERSON_NAME:
            found[:, place, _SURNAME] = 0.5
            found[:, place, _ONE_DIFFERS] = 0.3
            found[:, place, 1:] /= found[:, place, 1:].sum(axis=1, keepdims=True)
    return found


def _tells_kin(schema: Schema) -> bool:
    """Whether it can be seen who lives together; where it cannot, classes of kin would take in matches."""
    return any(field.kind in (Kind.ADDRESS, Kind.PHONE) for field in schema.fields)


def _fixed(schema: Schema) -> npt.NDArray[np.bool_]:
    """Levels that kin have no more often than strangers: those that say that it is the same person."""
    fixed = np.zeros((len(schema.fields), LEVELS), np.bool_)
    for place, field in enumerate(schema.fields):
        if field.kind in (Kind.PERSON_NAME, Kind.GIVEN_NAME, Kind.IDENTIFIER):
            fixed[place, 4 if field.kind is Kind.PERSON_NAME else 3 :] = True
        if field.kind is Kind.RESIDENT_ID:
            fixed[place, _ID_PAIR:] = True
    return fixed


# --- expectation and maximisation ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """Probabilities of levels by class (matches, strangers, kin), and pairs of the classes but strangers."""

    levels: Floats
    pairs: Floats


def fit(schema: Schema, observed: Observed, expected_matches: float) -> Fit:
    """Fit all classes to the patterns of candidate pairs."""
    levels = levels_of(observed.patterns, len(schema.fields))
    prior = _contradicted(schema, first_matches(observed))
    classes = np.stack([prior, strangers(observed, prior, 0.0)])
    pairs = np.array([expected_matches])
    for turn in range(ROUNDS):
        if turn == ROUNDS // 3 and _tells_kin(schema):
            kin = first_kin(schema, classes[0], classes[1])
            kin_prior, fixed = kin.copy(), _fixed(schema)
            classes, pairs = np.concatenate([classes, kin]), np.concatenate([pairs, pairs[:1], 0.1 * pairs[:1]])
        members = observed.counts * _responsibilities(levels, classes, pairs, observed.pairs)
        pairs = np.maximum(members.sum(axis=1), 1e-3)
        classes[0] = _contradicted(schema, _levels(levels, members[0], prior))
        classes[1] = strangers(observed, classes[0], min(0.5, pairs[0] / observed.pairs))
        for place in range(2, len(classes)):
            found = _levels(levels, members[place - 1], kin_prior[place - 2])
            classes[place] = _filled(np.where(fixed, np.minimum(found, classes[1]), found))
    return Fit(classes, pairs)


def _contradicted(schema: Schema, matches: Floats) -> Floats:
    for place, field in enumerate(schema.fields):
        if field.kind is Kind.RESIDENT_ID:
            matches[place, DIFFERENT] = CONTRADICTION
    return matches


def _responsibilities(levels: np.ndarray, classes: Floats, pairs: Floats, total: float) -> Floats:
    """Give, by class but strangers, how likely a pair of each pattern is of it."""
    shares = np.concatenate([pairs[:1], [max(total - pairs.sum(), 0.5 * total)], pairs[1:]]) / total
    logs = np.log(np.maximum(shares, 1e-300))[:, None] + sum(
        np.log(classes[:, place])[:, levels[:, place]] for place in range(levels.shape[1])
    )
    logs -= logs.max(axis=0)
    likely = np.exp(logs)
    likely /= likely.sum(axis=0)
    return np.delete(likely, 1, axis=0)


def _levels(levels: np.ndarray, members: Floats, prior: Floats) -> Floats:
    """Give the shares of levels among the members of a class, with the prior as so many pairs more."""
    found = np.stack([np.bincount(column, members, LEVELS) for column in levels.T]).astype(np.float64)
    found[:, MISSING] = 0
    found[:, 1:] += _STRENGTH * prior[:, 1:] / prior[:, 1:].sum(axis=1, keepdims=True)
    return _filled(found / found.sum(axis=1, keepdims=True))
