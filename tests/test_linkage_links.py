"""Links end to end, against the truth of synthetic populations and of records that are planted."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest

from bench.linkage_schemas import FEBRL, POPULATION
from broker._native import normalise
from broker.demo.synthetic import Register
from broker.linkage import Constraint, Decision, Kind, Model, Schema, cluster, decide, dedupe, explain, link
from broker.linkage import cores as cores_of_linkage
from broker.linkage import links as linking
from broker.linkage.cores import in_order
from broker.linkage.model import Unreadable, probability
from tests.linkage_kit import Ints, Judged, table
from tests.synthetic_kit import population

PEOPLE = 12_000
ABSENT = (("absent", 0.03), ("absent_namesake", 0.02), ("absent_sibling", 0.02), ("absent_twin", 0.02))


class _Rates(dict[str, float]):
    """Settings that can be a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))

    def __lt__(self, other: object) -> bool:
        return False


@functools.cache
def linked(seed: int) -> tuple[Judged, pa.Table]:
    tables = population(people=PEOPLE, seed=seed, absent=_Rates(ABSENT))
    base, observed, truth = (tables[register] for register in (Register.POPULATION, Register.OBSERVED, Register.TRUTH))
    pairs = link(observed, base, POPULATION)
    return Judged(pairs, truth["person_no"].to_numpy(), base["person_no"].to_numpy()), truth


@pytest.mark.parametrize("seed", [11, 12])
def test_a_population_is_linked_and_nobody_absent_is(seed: int) -> None:
    judged, truth = linked(seed)
    cases = np.array(truth["case"].to_pylist())
    absent = np.char.startswith(cases, "absent")
    assert judged.f1(int((~absent).sum())) >= 0.995
    wrong = absent[judged.wrong].sum()
    assert wrong <= 3e-4 * absent.sum() + 1, "of about 1000, of whom two in three are made to be taken for somebody"
    twins = np.isin(np.arange(len(cases)), judged.wrong) & (cases == "absent_twin")
    assert not twins.any()


def test_probabilities_are_what_they_say() -> None:
    judged, _ = linked(11)
    bins = np.clip((judged.chances * 10).astype(int), 0, 9)
    gaps = [
        abs(judged.chances[bins == b].mean() - judged.right[bins == b].mean()) * (bins == b).sum()
        for b in range(10)
        if (bins == b).any()
    ]
    assert sum(gaps) / len(bins) <= 0.01


def test_a_pair_is_explained_by_its_fields() -> None:
    tables = population(people=PEOPLE, seed=11, absent=_Rates(ABSENT))
    pairs = link(tables[Register.OBSERVED].slice(0, 2000), tables[Register.POPULATION], POPULATION)
    told = explain(pairs, int(np.argmax(pairs["probability"].to_numpy())))
    assert list(told) == [field.name for field in POPULATION.fields]
    assert sum(bits for _, bits in told.values()) > 20
    assert all((level == 0) == (bits == 0) for level, bits in told.values())


# --- planted ------------------------------------------------------------------------------------------------------------

HOME = "北云省云鹤市听松区碧月街道霁渡社区霁台巷178号11栋3单元1502室"


def planted(*people: dict[str, str | None]) -> pa.Table:
    """People of the base with what is told of them, and those of it who make it one."""
    return table(**{f.name: [person.get(f.name) for person in people] for f in POPULATION.fields})


@functools.cache
def base() -> tuple[pa.Table, linking.Linkage]:
    tables = population(people=PEOPLE, seed=11, absent=_Rates(ABSENT))
    names = [field.name for field in POPULATION.fields]
    people = tables[Register.POPULATION].select(names)
    observed = tables[Register.OBSERVED].select(names)
    return people, linking.trained(POPULATION, POPULATION.pack(observed), POPULATION.pack(people))


def best(person: dict[str, str | None]) -> tuple[int, float]:
    found = base()[1].find(POPULATION.pack(planted(person)), within=False, least=0.0)
    place = int(np.argmax(found.log_odds)) if len(found.log_odds) else -1
    return (int(found.right[place]), float(probability(found.log_odds[place]))) if place >= 0 else (-1, 0.0)


def somebody() -> tuple[int, dict[str, str | None]]:
    rows = base()[0].to_pylist()
    place = next(
        i for i, row in enumerate(rows) if i > 100 and row["phone"] and len(row["name"]) == 3 and row["name"][2] in "华明国英文"
    )
    return place, {name: str(value) for name, value in rows[place].items()}


@pytest.mark.parametrize("without", [(), ("resident_id",), ("phone", "address"), ("resident_id", "address"), ("name",)])
def test_who_is_in_the_base_is_found(without: tuple[str, ...]) -> None:
    place, person = somebody()
    found, chance = best(person | dict.fromkeys(without))
    assert found == place
    assert decide(chance) is Decision.LINK


def test_a_twin_of_the_household_without_a_number_is_not_linked() -> None:
    _, person = somebody()
    assert person["name"] is not None
    twin = person | {"name": person["name"][:2] + "鹏", "resident_id": None}
    assert decide(best(twin)[1]) is not Decision.LINK
    assert decide(best(twin | {"phone": None})[1]) is not Decision.LINK


def test_a_father_of_the_household_is_not_linked() -> None:
    _, person = somebody()
    assert person["name"] is not None
    father = person | {"name": person["name"][0] + "建鹏", "resident_id": None, "birth_date": "1951-03-04"}
    assert decide(best(father)[1]) is Decision.NONE


def test_a_namesake_born_the_same_day_with_a_number_of_his_own_is_not_linked() -> None:
    _, person = somebody()
    assert person["birth_date"] is not None
    wrong = f"990103{person['birth_date'].replace('-', '')}0440"
    own = {"resident_id": normalise.resident_id_repairs(wrong)[-1], "phone": None, "address": None}
    assert decide(best(person | own)[1]) is not Decision.LINK


def test_two_who_could_be_meant_are_both_for_review() -> None:
    schema = Schema.of({"name": Kind.PERSON_NAME, "birth_date": Kind.DATE})
    tables = population(people=PEOPLE, seed=11, absent=_Rates(ABSENT))
    people = tables[Register.POPULATION].select(["name", "birth_date"]).slice(0, 3000)
    twice = pa.concat_tables([people, people.slice(7, 1)])
    pairs = link(people, twice, schema)
    chances = {(pair["left"], pair["right"]): pair["probability"] for pair in pairs.to_pylist()}
    assert chances[(7, 7)] == pytest.approx(chances[(7, 3000)])
    assert decide(chances[(7, 7)]) is Decision.REVIEW
    free = link(people, twice, schema, Constraint.NONE)
    assert {pair["right"] for pair in free.to_pylist() if pair["left"] == 7 and pair["probability"] > 0.9} == {7, 3000}


# --- duplicates ---------------------------------------------------------------------------------------------------------


def test_duplicates_of_a_table_are_found_and_put_together() -> None:
    tables = population(people=4000, seed=13)
    names = [field.name for field in POPULATION.fields]
    base, observed = tables[Register.POPULATION], tables[Register.OBSERVED]
    both = pa.concat_tables([base.select(names), observed.select(names)]).combine_chunks()
    who = np.concatenate([base["person_no"].to_numpy(), tables[Register.TRUTH]["person_no"].to_numpy()])
    truth = int(np.isin(who[len(base) :], who[: len(base)]).sum())
    assert Judged(dedupe(both, POPULATION), who, who).f1(truth) >= 0.995
    clusters = cluster(both, POPULATION)
    assert (clusters <= np.arange(len(both))).all()
    together = clusters[len(base) :] < len(base)
    assert (who[len(base) :][together] == who[clusters[len(base) :][together]]).mean() >= 0.999
    assert together.sum() >= 0.99 * truth


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_tables_of_hardly_any_rows(rows: int) -> None:
    few = planted(*[{"name": "张伟明", "resident_id": "990101197812240441"}] * rows)
    assert len(dedupe(few, POPULATION)) <= 1
    assert len(link(few, few, POPULATION)) <= rows * rows
    assert len(cluster(few, POPULATION)) == rows


def test_an_address_of_thousands_and_a_phone_of_everybody_link_nobody() -> None:
    count = 5000
    births = [f"{1930 + i % 60}-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(count)]
    names = [chr(0x4E00 + i % 5000) + chr(0x5000 + i * 7 % 3000) for i in range(count)]
    home = planted(
        *({"name": n, "birth_date": b, "address": HOME, "phone": "15866123904"} for n, b in zip(names, births, strict=True))
    )
    pairs = dedupe(home, POPULATION)
    assert (pairs["probability"].to_numpy() >= 0.5).sum() == 0


@pytest.mark.parametrize("cores", [1, 7])
def test_links_are_the_same_on_any_number_of_cores(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = population(people=4000, seed=13)
    alone = link(tables[Register.OBSERVED], tables[Register.POPULATION], POPULATION)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(cores_of_linkage, "_SLICE", 333)
    assert link(tables[Register.OBSERVED], tables[Register.POPULATION], POPULATION).equals(alone, check_metadata=True)


def test_results_come_in_order_and_an_error_in_its_place() -> None:
    def slower_first(number: int) -> int:
        time.sleep(0.02 / (number + 1))
        return 10 // (5 - number)

    results = in_order(functools.partial(slower_first, number) for number in range(9))
    assert [next(results) for _ in range(5)] == [2, 2, 3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


# --- models -------------------------------------------------------------------------------------------------------------


def test_a_saved_model_says_the_same() -> None:
    model = base()[1].model
    read = Model.from_json(model.to_json())
    patterns = np.array([0x999999, 0x911111, 0x190933, 0x000000], np.uint64)
    np.testing.assert_allclose(read.log_odds(patterns, 1000.0), model.log_odds(patterns, 1000.0))
    assert read.blocking == model.blocking
    explained = model.explain(0x1101D3)
    assert explained["resident_id"][0] == 3
    assert explained["resident_id"][1] > 5
    assert explained["birth_date"] == (0, 0.0) or explained["sex"][0] == 1


@pytest.mark.parametrize(
    "damage",
    [
        (b'"format":1', b'"format":2'),
        (b'"cap"', b'"cab"'),
        (b'"levels":[', b'"levels":[[],'),
        (b'"name":0', b'"name":77'),
        (b'"rules":[[[0,0]]', b'"rules":[[[0,6]]'),
        (b"{", b""),
    ],
)
def test_what_is_no_model_is_refused(damage: tuple[bytes, bytes]) -> None:
    written = base()[1].model.to_json()
    assert damage[0] in written
    with pytest.raises(Unreadable):
        Model.from_json(written.replace(*damage, 1))


# --- data of others -----------------------------------------------------------------------------------------------------


def _given(variable: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"{variable} names no data")
    return Path(os.environ[variable])


def _febrl(name: str) -> tuple[pa.Table, Ints]:
    text = pv.ConvertOptions(strings_can_be_null=True, null_values=[""], column_types=dict.fromkeys(_HEADINGS, pa.string()))
    read = pv.ReadOptions(column_names=_HEADINGS, skip_rows=1)
    rows = pv.read_csv(_given("BROKER_FEBRL") / name, read, convert_options=text)
    return rows, np.array([int(value.split("-")[1]) for value in rows["rec_id"].to_pylist()])


_HEADINGS = ["rec_id", *(field.name for field in FEBRL.fields)]


@pytest.mark.parametrize(("name", "truth"), [("dataset1.csv", 500), ("dataset2.csv", 1934), ("dataset3.csv", 6538)])
def test_febrl_duplicates(name: str, truth: int) -> None:
    rows, who = _febrl(name)
    assert Judged(dedupe(rows, FEBRL), who, who).f1(truth) >= 0.999


def test_febrl_links() -> None:
    (one, own), (other, others) = _febrl("dataset4a.csv"), _febrl("dataset4b.csv")
    assert Judged(link(one, other, FEBRL), own, others).f1(5000) >= 0.999


def test_historical_clusters() -> None:
    rows = pq.read_table(_given("BROKER_HISTORICAL"))
    kinds = {"first_name": Kind.GIVEN_NAME, "surname": Kind.SURNAME, "dob": Kind.DATE, "birth_place": Kind.TEXT}
    kinds |= {"postcode_fake": Kind.NUMBER, "gender": Kind.CATEGORY, "occupation": Kind.TEXT}
    _, who = np.unique(rows["cluster"].to_pylist(), return_inverse=True)
    clusters = cluster(rows, Schema.of(kinds)).astype(np.int64)
    told, truth, right = (_pairs(of) for of in (clusters, who, clusters * len(rows) + who))
    assert 2 * right / (told + truth) >= 0.87


def _pairs(of: Ints) -> int:
    _, counts = np.unique(of, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())
