"""What other departments hold of a synthetic population: whom, with which errors, at which rates, and who is absent."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from stdnum.iso7064 import mod_11_2

from broker.demo.synthetic import ABSENT, CASES, ERRORS, SCHEMAS, Register, Settings, generate
from tests.synthetic_kit import SHOWS, Row, population, rows

PEOPLE = 130_000  # three blocks, the third cut


@pytest.fixture(scope="module")
def joined() -> list[tuple[Row, Row, Row | None]]:
    """Records with their truth and the person of the base, if there is one."""
    made = population(people=PEOPLE, seed=7)
    by_number = {person["person_no"]: person for person in rows(made[Register.POPULATION])}
    pairs = zip(rows(made[Register.OBSERVED]), rows(made[Register.TRUTH]), strict=True)
    return [(record, truth, by_number.get(truth["person_no"])) for record, truth in pairs]


def test_records_are_numbered_and_keep_the_truth_to_themselves(joined: list[tuple[Row, Row, Row | None]]) -> None:
    assert [record["record_no"] for record, _, _ in joined] == list(range(len(joined)))
    assert all(record["record_no"] == truth["record_no"] for record, truth, _ in joined)
    assert len({truth["person_no"] for _, truth, _ in joined}) == len(joined)
    assert "person_no" not in SCHEMAS[Register.OBSERVED].names
    numbers = {str(truth["person_no"]) for _, truth, _ in joined}
    assert not any(str(value) in numbers for record, _, _ in joined for value in record.values())


def test_the_stated_share_of_people_is_known_elsewhere(joined: list[tuple[Row, Row, Row | None]]) -> None:
    present = sum(person is not None for _, _, person in joined)
    assert present / PEOPLE == pytest.approx(0.6, abs=0.005)


def test_absent_people_are_absent_and_everybody_else_is_not(joined: list[tuple[Row, Row, Row | None]]) -> None:
    ids = set(population(people=PEOPLE, seed=7)[Register.POPULATION]["resident_id"].to_pylist())
    for record, truth, person in joined:
        assert (person is None) == (truth["case"] in ABSENT)
        if person is None:
            assert record["resident_id"] not in ids
            assert mod_11_2.is_valid(record["resident_id"])
            assert truth["errors"] == ""
    cases = Counter(truth["case"] for _, truth, _ in joined)
    for case, share in ABSENT.items():
        assert cases[case] / len(joined) == pytest.approx(share, rel=0.2), case


def test_the_absent_of_a_small_population_are_absent_from_a_bigger_one() -> None:
    few, many = population(people=20_000, seed=7), population(people=PEOPLE, seed=7)
    absent = few[Register.TRUTH].filter(pc.is_in(few[Register.TRUTH]["case"], pa.array(list(ABSENT))))
    assert absent.num_rows > 300
    assert set(absent["person_no"].to_pylist()).isdisjoint(many[Register.POPULATION]["person_no"].to_pylist())


def _family(name: str) -> str:
    return name.split("·")[1] if "·" in name else name[0]


def test_absent_twins_siblings_and_namesakes_are_like_somebody_present(joined: list[tuple[Row, Row, Row | None]]) -> None:
    present = rows(population(people=PEOPLE, seed=7)[Register.POPULATION])
    people_of = {case: [record for record, truth, _ in joined if truth["case"] == case] for case in ABSENT}
    born = {(p["resident_id"][:14], _family(p["name"])) for p in present}
    twins = [(twin["resident_id"][:14], _family(twin["name"])) in born for twin in people_of["absent_twin"]]
    assert sum(twins) / len(twins) > 0.97, "all but those without a surname"
    homes = {(p["address"], _family(p["name"])) for p in present}
    for case in ("absent_twin", "absent_sibling"):
        beside = [(record["address"], _family(record["name"])) in homes for record in people_of[case]]
        assert 0.3 < sum(beside) / len(beside) < 0.9, case
    names = {p["name"] for p in present}
    assert {record["name"] in names for record in people_of["absent_namesake"]} == {True}
    same_day = {(p["name"], p["birth_date"]) for p in present}
    hard = sum((record["name"], record["birth_date"]) in same_day for record in people_of["absent_namesake"])
    assert 0.1 < hard / len(people_of["absent_namesake"]) < 0.35
    strangers = [(record["name"], record["birth_date"]) in same_day for record in people_of["absent"]]
    assert sum(strangers) / len(strangers) < 0.01


COLUMN = {name: error.column for name, error in ERRORS.items()}


def test_every_error_is_there_and_looks_like_it_and_nothing_else_is_wrong(joined: list[tuple[Row, Row, Row | None]]) -> None:
    seen: Counter[str] = Counter()
    for record, truth, person in joined:
        if person is None:
            continue
        errors = truth["errors"].split("+") if truth["errors"] else []
        for error in errors:
            assert SHOWS[error](person[COLUMN[error]], record[COLUMN[error]]), error
        untouched = {"resident_id", "name", "sex", "birth_date", "address", "phone"} - {COLUMN[error] for error in errors}
        assert {column for column in untouched if person[column] != record[column]} == set(), errors
        expected = "exact" if not errors else errors[0] if len(errors) == 1 else "several"
        assert truth["case"] == expected
        seen[truth["case"]] += 1
    assert seen.keys() == set(CASES) - ABSENT.keys()


# To how many of the records an error can happen, judged from the right values; 1 without an entry.
POSSIBLE = {
    "id_15": lambda person: person["resident_id"][6:8] == "19",
    "id_lower_x": lambda person: person["resident_id"][17] == "X",
    "id_wide_x": lambda person: person["resident_id"][17] == "X",
    "name_transposed": lambda person: len(person["name"]) > 2 and len(set(person["name"][1:])) > 1,
    "name_dropped": lambda person: len(person["name"]) > 2,
    "name_dot": lambda person: "·" in person["name"],
    "birth_swapped": lambda person: person["birth_date"].day <= 12 and person["birth_date"].day != person["birth_date"].month,
    "birth_placeholder": lambda person: person["birth_date"] != dt.date(1900, 1, 1),
    "phone_missing": lambda person: person["phone"] is not None,
}
LOOSE = {"name_homophone": 0.85, "name_lookalike": 0.6, "name_traditional": 0.5, "name_pinyin": 0.85, "name_rare": 0.001}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_come_at_their_rate(error: str, joined: list[tuple[Row, Row, Row | None]]) -> None:
    """Of the records to which they can happen. Those of several that had only one possible error count among the single."""
    known = [(truth, person) for _, truth, person in joined if person is not None]
    possible = sum(POSSIBLE.get(error, lambda _: True)(person) for _, person in known)
    found = sum(truth["case"] == error for truth, _ in known)
    expected = ERRORS[error].rate * possible
    low = expected * LOOSE.get(error, 1.0) * 0.8 - 3 * expected**0.5
    assert low <= found <= expected * 1.25 + 3 * expected**0.5


def test_several_errors_come_at_about_their_rate(joined: list[tuple[Row, Row, Row | None]]) -> None:
    known = [truth for _, truth, person in joined if person is not None]
    several = [truth["errors"].count("+") + 1 for truth in known if truth["case"] == "several"]
    assert 0.024 < len(several) / len(known) <= 0.031
    assert {2, 3} == set(several)


def test_rates_are_settings() -> None:
    settings = Settings(people=5_000, seed=1, errors={"id_digit": 1.0}, absent={})
    truth = pa.Table.from_batches(generate(settings, Register.TRUTH))
    assert set(truth["case"].to_pylist()) == {"id_digit"}
    nothing = Settings(people=5_000, seed=1, coverage=1.0, errors={}, absent={}, placeholder_phones=0.0, placeholder_births=0.0)
    observed = {row["resident_id"]: row for row in rows(pa.Table.from_batches(generate(nothing, Register.OBSERVED)))}
    base = rows(pa.Table.from_batches(generate(nothing, Register.POPULATION)))
    assert len(observed) == len(base) == 5_000
    for person in base:
        for column in ("name", "sex", "birth_date", "address", "phone"):
            assert observed[person["resident_id"]][column] == person[column]
    assert {person["phone"][:3] for person in base if person["phone"]} == {"154"}
