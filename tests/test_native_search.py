"""The native search: against the model in Python, against looking at everybody, and against anything that is written."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker._native.search import Search
from broker.linkage import persons
from tests.search_kit import PLACES, SCHEMA, Known, indexed, population

PEOPLE, SEED = 4000, 5
ID, NAME, BORN, ADDRESS = (PLACES.index(kind) for kind in ("resident_id", "name", "birth_date", "address"))


def queries(count: int) -> list[tuple[Known, int, str]]:
    """Records of others, most of them with some of the fields hidden."""
    draw = random.Random(1)
    chosen = draw.sample(population(PEOPLE, SEED).observed, count)
    hidden = [[draw.random() < 0.35 for _ in PLACES] for _ in chosen]
    return [
        (tuple(None if hide else text for hide, text in zip(hides, known, strict=True)), owner, case)
        for (known, owner, case), hides in zip(chosen, hidden, strict=True)
    ]


def test_odds_are_those_of_the_model() -> None:
    people = population(PEOPLE, SEED)
    compared = 0
    for known, _, _ in queries(400):
        for _, _, log_odds, _, guard, pattern in people.search.find(known, 32):
            told = people.model.log_odds(np.array([pattern], np.uint64), PEOPLE)[0]
            assert log_odds == pytest.approx(told, abs=1e-6)
            assert bool(guard) == bool(people.model.guarded(np.array([pattern], np.uint64))[0])
            compared += 1
    assert compared > 300


def test_candidates_share_one_probability() -> None:
    for known, _, _ in queries(200):
        found = population(PEOPLE, SEED).search.find(known, 32)
        every = 1 + sum(math.exp(one[2]) for one in found)
        assert [one[1] for one in found] == pytest.approx([math.exp(one[2]) / every for one in found])
        assert [one[2] for one in found] == sorted((one[2] for one in found), reverse=True)


def test_who_is_likeliest_of_everybody_is_found() -> None:
    people, missed, asked = population(PEOPLE, SEED), 0, 0
    for known, _, _ in queries(300):
        odds, row = people.everybody(known)
        if odds > 3 and people.share_a_key(known, row):
            asked += 1
            found = people.search.find(known, 1)
            missed += not found or found[0][2] < min(odds, 9.0) - 1e-6  # beyond that it looks no further
    assert (asked > 200, missed) == (True, 0)


def test_those_who_are_there_are_found_and_those_who_are_not_are_not() -> None:
    people, wrong, missed = population(PEOPLE, SEED), 0, 0
    for known, owner, _ in people.observed:
        found = people.search.find(known, 1)
        linked = found[0][0] if found and found[0][1] >= 0.95 else -1
        wrong += linked not in (owner, -1)
        missed += linked == -1 != owner
    assert wrong <= 1
    assert missed <= 0.01 * len(people.observed)


@pytest.mark.parametrize("slip", ["digit", "swap"])
def test_an_id_with_a_slip_is_repaired(slip: str) -> None:
    people, draw, missed, asked = population(PEOPLE, SEED), random.Random(2), 0, 0
    for known, owner, case in people.observed[:1500]:
        number = known[ID]
        if case != "exact" or number is None or owner < 0:
            continue
        at = draw.randrange(6, 16)
        if slip == "digit":
            number = number[:at] + str((int(number[at]) + draw.randrange(1, 10)) % 10) + number[at + 1 :]
        else:
            number = number[:at] + number[at + 1] + number[at] + number[at + 2 :]
        asked += 1
        found = people.search.find(only_id(number), 32)
        missed += owner not in [one[0] for one in found]
    assert asked > 300
    assert missed == 0


def only_id(number: str) -> Known:
    return tuple(number if place == ID else None for place in range(len(PLACES)))


@pytest.mark.parametrize("wrong", ["110101199913321234", "330101198001010019"])
def test_what_is_wrong_never_speaks_for_anybody(wrong: str) -> None:
    """Neither an id that cannot be right nor an address that differs makes it likelier that somebody is meant."""
    people, compared = population(PEOPLE, SEED), 0
    for known, owner, case in people.observed[:400]:
        if case != "exact" or owner < 0:
            continue
        plain = tuple(text if place in (NAME, BORN) else None for place, text in enumerate(known))
        odds = {one[0]: one[2] for one in people.search.find(plain, 32)}
        for place, other in ((ID, wrong), (ADDRESS, "别云市别处区无名路9999号")):
            more = tuple(other if at == place else text for at, text in enumerate(plain))
            for found in people.search.find(more, 32):
                if found[0] in odds:
                    compared += 1
                    assert found[2] <= odds[found[0]] + 1e-6
    assert compared > 100


def test_of_namesakes_born_on_one_day_none_is_likelier_for_being_looked_at_first() -> None:
    people = population(PEOPLE, SEED)
    same: list[str | None] = [None] * len(PLACES)
    same[NAME], same[BORN] = "司徒清越", "1971-05-06"
    namesakes = np.frombuffer(SCHEMA.pack_one(tuple(same)) * 100, np.uint8).reshape(100, -1)
    rows = np.ascontiguousarray(np.concatenate([people.rows, namesakes]))
    index = indexed(rows, people.model)
    search = Search(index, people.model.blocking.plan(SCHEMA), *persons.search_table(people.model, len(rows)))
    found = search.find(tuple(same), 32)
    assert {one[0] for one in found} <= set(range(PEOPLE, len(rows)))
    assert len(found) == 32
    assert max(one[1] for one in found) < 1 / 32


def test_a_million_of_one_name_take_no_longer() -> None:
    """So to speak: 3,000 of one name, birthday and home share every key but their ids', and those keys are dropped."""
    same = ["330101198001010014", "张伟", "1", "1980-01-01", "云鹤市建设路1号", None]
    rows = np.frombuffer(SCHEMA.pack_one(tuple(same[SCHEMA_ORDER[i]] for i in range(6))) * 3000, np.uint8).reshape(3000, -1)
    rows = rows.copy()
    model = persons.model_of(SCHEMA, rows)
    index = indexed(rows, model)
    assert index.facts()["dropped_buckets"] > 0
    search = Search(index, model.blocking.plan(SCHEMA), *persons.search_table(model, 3000))
    assert len(search.find(tuple(same[SCHEMA_ORDER[i]] for i in range(6)), 32)) <= 32


SCHEMA_ORDER = [("resident_id", "name", "sex", "birth_date", "address", "phone").index(kind) for kind in PLACES]

ODD = ["张伟明", "33010119800101001X", "1980-13-41", "?" * 65_536]
ANYTHING = st.one_of(st.none(), st.text(max_size=80), st.sampled_from(ODD))


@given(st.tuples(*(ANYTHING for _ in PLACES)), st.integers(0, 2**32 - 1))
def test_whatever_is_written_is_searched(known: Known, most: int) -> None:
    found = population(PEOPLE, SEED).search.find(known, most)
    assert len(found) <= min(most, 32)
    assert all(0 <= one[0] < PEOPLE and 0 <= one[1] <= 1 for one in found)


def test_what_does_not_fit_is_refused() -> None:
    people = population(PEOPLE, SEED)
    table = persons.search_table(people.model, PEOPLE)
    index = indexed(people.rows, people.model)
    plan = people.model.blocking.plan(SCHEMA)
    for wrong in (
        table._replace(levels=table.levels[:1]),
        table._replace(pairs=[0.0]),
        table._replace(guards=table.guards[:2]),
    ):
        with pytest.raises(ValueError, match="must be"):
            Search(index, plan, *wrong)
    with pytest.raises(ValueError, match="as many as fields"):
        people.search.find((None,), 1)
    with pytest.raises(TypeError):
        people.search.find((1,) * len(PLACES), 1)  # type: ignore[arg-type]
    index.close()
    with pytest.raises(ValueError, match="closed"):
        Search(index, plan, *table)
