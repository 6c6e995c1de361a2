"""Blocking keys and candidate pairs: all pairs that share a key, and bounded work where too many do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.linkage_schemas import POPULATION
from broker._native import linkage_index as native
from broker.demo.synthetic import Register
from broker.linkage import Kind, Schema
from broker.linkage.blocking import Atom, Blocking, choose
from broker.linkage.model import LEVELS
from tests.linkage_kit import table
from tests.synthetic_kit import population

NOTHING = np.zeros((LEVELS, LEVELS), np.float32)
NAME = Schema.of({"name": Kind.PERSON_NAME, "birth": Kind.DATE})
BY_NAME = Blocking((((0, Atom.VALUE),), ((0, Atom.SYLLABLES), (1, Atom.VALUE))))


def keys_of(plan: native.KeyPlan, rows: np.ndarray) -> list[set[int]]:
    keys = np.empty((len(rows), plan.width), np.uint64)
    plan.keys(rows, keys)
    return [set(row) - {0} for row in keys.tolist()]


def pairs_of(found: tuple[bytes, bytes, bytes, bytes, int, int]) -> set[tuple[int, int]]:
    left, right = (np.frombuffer(column, np.uint32).tolist() for column in found[:2])
    pairs = list(zip(left, right, strict=True))
    assert len(pairs) == len(set(pairs)), "each pair comes once"
    return set(pairs)


def test_all_pairs_that_share_a_key_are_compared() -> None:
    tables = population(people=800, seed=3)
    base, rows = (POPULATION.pack(tables[register]) for register in (Register.POPULATION, Register.OBSERVED))
    blocking = choose(POPULATION, base)
    plan = blocking.plan(POPULATION)
    found = pairs_of(native.Index(plan, base, blocking.cap).find(rows, 0, 1, len(rows), NOTHING, 0.0, False))
    own, others = keys_of(plan, rows), keys_of(plan, base)
    expected = {(i, k) for i, k in itertools.product(range(len(rows)), range(len(base))) if own[i] & others[k]}
    assert expected <= found
    assert len(found) < 3 * len(expected) + 100, "buckets are shared by few keys"
    within = pairs_of(native.Index(plan, base, blocking.cap).find(base, 0, 1, len(base), NOTHING, 0.0, True))
    assert {(i, k) for i, k in itertools.combinations(range(len(base)), 2) if others[i] & others[k]} <= within
    assert all(i < k for i, k in within)


def test_keys_stand_errors_that_rules_are_for() -> None:
    plan = BY_NAME.plan(NAME)
    names = ["张伟明", "张玮明", "张偉明", "ZHANG WEIMING", "李建国", None]
    rows = NAME.pack(table(name=names, birth=["1980-01-02"] * len(names)))
    one, homophone, traditional, letters, other, nobody = keys_of(plan, rows)
    assert one == traditional
    assert len(one & homophone) == 3, "all syllables, with the date"
    assert not one & (letters | other)
    assert nobody == set()


def test_only_pairs_that_weigh_enough_are_kept() -> None:
    weights = NOTHING.copy()
    weights[0, 9:], weights[1, 1], weights[1, 9:] = 5.0, -10.0, 1.0
    rows = NAME.pack(table(name=["张伟明"] * 3, birth=["1980-01-02", "1980-01-02", "1960-05-07"]))
    index = native.Index(BY_NAME.plan(NAME), rows, 100)
    left, right, patterns, sums, compared, cut = index.find(rows, 0, 1, 3, weights, 5.5, True)
    assert (np.frombuffer(left, np.uint32).tolist(), np.frombuffer(right, np.uint32).tolist()) == ([0], [1])
    assert np.frombuffer(sums, np.float32).tolist() == [6.0]
    assert np.frombuffer(patterns, np.uint64).tolist() == [0x99]
    assert (compared, cut) == (3, 0)


def test_a_key_of_everybody_is_in_no_bucket() -> None:
    count = 200_000
    row = NAME.pack_one(("张伟", "1980-01-02"))
    rows = np.frombuffer(row * count, np.uint8).reshape(count, -1)
    index = native.Index(BY_NAME.plan(NAME), rows, 256)
    assert index.dropped == 3 * count
    assert index.find(rows, 0, 1, count, NOTHING, 0.0, True)[4] == 0


def test_a_record_with_too_many_candidates_is_cut_and_counted() -> None:
    birth = [f"{1950 + number // 28}-01-{number % 28 + 1:02}" for number in range(2000)]
    rows = NAME.pack(table(name=["张伟"] * 2000, birth=birth))
    index = native.Index(BY_NAME.plan(NAME), rows, 4000)  # two keys may share a bucket
    *_, compared, cut = index.find(rows, 0, 1, 2000, NOTHING, 0.0, False)
    assert (compared, cut) == (2000 * 1024, 2000)


@pytest.mark.parametrize(
    "rules", [(((2, Atom.VALUE),),), (((0, Atom.YEAR),),), (((1, Atom.SYLLABLES),),), (((0, Atom.SOUND),),)]
)
def test_rules_that_do_not_suit_the_fields_are_refused(rules: tuple[tuple[tuple[int, Atom], ...], ...]) -> None:
    with pytest.raises(ValueError, match="rules"):
        Blocking(rules).plan(NAME)


def test_rows_and_columns_outside_are_refused() -> None:
    rows = NAME.pack(table(name=["张伟"] * 2, birth=[None] * 2))
    index = native.Index(BY_NAME.plan(NAME), rows, 256)
    with pytest.raises(ValueError, match="within the table"):
        index.find(rows, 1, 1, 2, NOTHING, 0.0, True)
    with pytest.raises(ValueError, match="within the table"):
        index.find(rows, 0, 0, 2, NOTHING, 0.0, True)
    with pytest.raises(ValueError, match="256 floats"):
        index.find(rows, 0, 1, 2, np.zeros(16, np.float32), 0.0, True)
    with pytest.raises(ValueError, match="rows of their tables"):
        native.compare(NAME.layout, rows, rows, np.array([2], np.uint32), np.array([0], np.uint32), np.empty(1, np.uint64))
    with pytest.raises(ValueError, match="as long as one another"):
        native.compare(NAME.layout, rows, rows, np.zeros(2, np.uint32), np.zeros(1, np.uint32), np.empty(2, np.uint64))


# --- clusters -----------------------------------------------------------------------------------------------------------


def clusters(rows: int, pairs: list[tuple[int, int, float]]) -> list[int]:
    out = np.empty(rows, np.uint32)
    ordered = sorted(pairs, key=lambda pair: -pair[2])
    left, right = (np.array([pair[side] for pair in ordered], np.uint32) for side in (0, 1))
    native.cluster(rows, left, right, np.array([pair[2] for pair in ordered]), 0.0, 10.0, -1.0, out)
    return out.tolist()


def test_pairs_that_agree_become_one_cluster() -> None:
    assert clusters(5, [(0, 1, 5.0), (1, 2, 4.0), (3, 4, 3.0)]) == [0, 0, 0, 3, 3]
    assert clusters(3, []) == [0, 1, 2]


def test_one_likely_pair_does_not_chain_two_groups_that_contradict_it() -> None:
    groups = [(i, k, 8.0) for group in ((0, 1, 2), (3, 4, 5)) for i, k in itertools.combinations(group, 2)]
    across = [(i, k, -6.0) for i in (0, 1, 2) for k in (3, 4, 5) if (i, k) != (2, 3)]
    assert clusters(6, [*groups, *across, (2, 3, 9.0)])[:2] == [0, 0]
    assert len(set(clusters(6, [*groups, (2, 3, 7.0)]))) == 2, "eight pairs that no key brought together weigh more than one"
    assert len(set(clusters(6, [*groups, (2, 3, 9.0), (1, 3, 1.0)]))) == 1


def test_clusters_are_the_same_however_records_are_numbered() -> None:
    draw = np.random.default_rng(7)
    pairs = [
        (int(i), int(k), float(odds))
        for (i, k), odds in zip(itertools.combinations(range(30), 2), draw.normal(-2, 5, 435), strict=True)
    ]
    number = draw.permutation(30)
    moved = [(int(number[i]), int(number[k]), odds) for i, k, odds in pairs]
    one, other = clusters(30, pairs), clusters(30, moved)
    assert [[one[i] == one[k] for k in range(30)] for i in range(30)] == [
        [other[number[i]] == other[number[k]] for k in range(30)] for i in range(30)
    ]


def test_pairs_of_no_row_are_refused() -> None:
    for pair in ((0, 2, 1.0), (1, 1, 1.0)):
        with pytest.raises(ValueError, match="two rows of the table"):
            clusters(2, [pair])
