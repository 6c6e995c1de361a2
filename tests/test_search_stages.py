"""The stages of a search: those with the rarest keys are compared first, and nobody who is as likely is left out for it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from broker._native.search import Search
from broker.demo.synthetic import Register, Settings, generate
from broker.linkage import persons
from broker.model.catalogue import PersonSearch
from broker.records.person_packing import PersonPacking
from tests import query_kit as kit
from tests.support.people import resident_id

KINDS = ("name", "resident_id", "birth_date")
NAME, BORN = "王强", "1985-11-22"
Person = tuple[str, str]  # a name and a birth date


def crowd(count: int) -> list[Person]:
    """Enough others to tell what is rare."""
    batches = generate(Settings(people=count, seed=3), Register.POPULATION)
    return [(row["name"], str(row["birth_date"])) for batch in batches for row in batch.to_pylist()]


@cache
def searched(people: tuple[Person, ...]) -> Search:
    packing = PersonPacking(PersonSearch(**{kind: kind for kind in KINDS}))
    ids = [resident_id(number) for number in range(len(people))]
    texts = {"name": [name for name, _ in people], "resident_id": ids, "birth_date": [born for _, born in people]}
    records = packing.pack({kind: pa.array(texts[kind]) for kind in packing.fields})
    learned = packing.learn(records)
    rows = [row.tobytes() for row in records]
    built = kit.build(sorted(number.encode() for number in ids), rows, np.asarray(learned.keys(records)), learned.cap)
    return Search(built.index(), learned.plan, *persons.search_table(learned.model, len(people)))


def slots(search: Search, name: str, born: str) -> list[int]:
    known = {"name": name, "birth_date": born}
    return [found[0] for found in search.find(tuple(known.get(kind) for kind in KINDS), 32)]


def born_in(year: int, count: int) -> list[str]:
    return [f"{year}-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(count)]


SAME_YEAR = tuple((NAME, born) for born in born_in(1985, 280))  # more than share a key: it is dropped
SAME_DAY = tuple((NAME, f"{year}-11-22") for year in range(1920, 1980))
BORN_THEN = tuple((name, BORN) for name in ("王" + other for other in "伟芳娜敏静丽勇艳杰娟涛明超秀霞平刚桂玉萍红鹏华飞")) * 3
OTHERS = tuple(crowd(2000))


@pytest.mark.parametrize("place", [0, 1000, -1], ids=["first", "between", "last"])
def test_who_agrees_on_all_is_found_however_many_share_each_key(place: int) -> None:
    """A key that was dropped says nothing of who has it, and is not the rarest."""
    people = [*SAME_YEAR, *SAME_DAY, *BORN_THEN, *OTHERS]
    place %= len(people) + 1
    people.insert(place, (NAME, BORN))
    held = [slot for slot, person in enumerate(people) if person == (NAME, BORN)]
    found = slots(searched(tuple(people)), NAME, BORN)
    assert place in found[: len(held)]


def test_namesakes_of_one_day_are_all_found() -> None:
    people = (*OTHERS, *SAME_DAY, *[(NAME, BORN)] * 30)
    assert set(slots(searched(people), NAME, BORN)[:30]) == set(range(len(people) - 30, len(people)))


def test_who_is_misspelt_is_looked_for_among_all_who_share_a_key() -> None:
    people = (*OTHERS, *BORN_THEN, ("王锵", BORN))
    assert slots(searched(people), "王强", BORN)[0] == len(people) - 1
