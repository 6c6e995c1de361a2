"""The report of a linkage and what it is made of: true numbers, well-formed, of one piece, and without anybody's data."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest

from bench.linkage_schemas import POPULATION
from broker.linkage import Constraint, Decision, Kind, Schema, cluster, dedupe, link
from broker.linkage.blocking import Atom
from broker.linkage.outcome import Outcome, Thresholds, examine
from broker.linkage.report import About, page, percent, share
from broker.linkage.wording import names_of_levels, rule_in_words, wording
from tests.link_kit import FIELDS, few_random_pairs, people
from tests.linkage_kit import level, table

XHTML = "{http://www.w3.org/1999/xhtml}"
ABOUT = About(("records.csv", "people.csv"), ((), ("备注 <b>",)), 1.25, "0.1.0")


@pytest.fixture(autouse=True, scope="module")
def quickly() -> Iterator[None]:
    with few_random_pairs():
        yield


@functools.cache
def linked() -> Outcome:
    records, register = people()
    return examine(records, register, POPULATION)


@functools.cache
def deduped() -> Outcome:
    return examine(pa.concat_tables(reversed(people())), None, POPULATION, clusters=True)


def told(outcome: Outcome, about: About = ABOUT) -> ET.Element:
    return ET.fromstring(page(outcome, about))


def text(element: ET.Element) -> str:
    return " ".join(element.itertext())


def rows_below(root: ET.Element, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    main = list(root.find(f".//{XHTML}main") or [])
    at = next(place for place, one in enumerate(main) if one.tag[-2:] in ("h2", "h3") and text(one).startswith(heading))
    found = next(one for one in main[at:] if one.find(f".//{XHTML}tbody") is not None)
    return [["".join(cell.itertext()) for cell in row] for row in found.iter(f"{XHTML}tr")][1:]


# --- the outcome --------------------------------------------------------------------------------------------------------


def test_an_outcome_is_what_linking_gives() -> None:
    records, register = people()
    assert linked().pairs.equals(link(records, register, POPULATION))
    free = examine(records, register, POPULATION, Constraint.NONE)
    assert free.pairs.equals(link(records, register, POPULATION, Constraint.NONE))
    both = pa.concat_tables([register, records])
    assert deduped().pairs.equals(dedupe(both, POPULATION))
    assert deduped().clusters is not None
    assert np.array_equal(deduped().clusters, cluster(both, POPULATION))  # type: ignore[arg-type]


def test_counts_and_what_is_expected_are_right() -> None:
    outcome, (records, register) = linked(), people()
    counts = [outcome.count(decision) for decision in Decision]
    assert sum(counts) == outcome.compared > len(outcome.chances) > 0
    keys = [table["key"].to_pylist() for table in (records, register)]
    links = outcome.pairs.filter(pa.array(outcome.chances >= 0.5)).to_pylist()
    right = [keys[0][pair["left"]][1:] == keys[1][pair["right"]][1:] for pair in links]
    truth = len({key[1:] for key in keys[0]} & {key[1:] for key in keys[1]})
    assert outcome.expected.links == len(links)
    assert abs(outcome.expected.precision - sum(right) / len(links)) <= 0.005
    assert abs(outcome.expected.recall - sum(right) / truth) <= 0.01
    assert outcome.linked_rows("left") == len({pair["left"] for pair in links})


def test_progress_is_told_by_stage() -> None:
    heard: list[tuple[str, int, int]] = []
    records, register = people()
    examine(records, register, POPULATION, told=lambda *what: heard.append(what))
    assert [stage for stage, _, _ in heard] == ["training", "linking", "linking"]
    assert heard[-1] == ("linking", records.num_rows, records.num_rows)


# --- the page -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [linked, deduped])
def test_a_page_is_of_one_piece_and_holds_no_data(outcome: functools._lru_cache_wrapper[Outcome]) -> None:
    written = page(outcome(), ABOUT)
    root = ET.fromstring(written)
    tags = {element.tag.removeprefix(XHTML) for element in root.iter()}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "a", "form"})
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/1999/xhtml)|\son\w+=", written)
    values = {value for table in people() for name in (*FIELDS, "key") if name != "sex" for value in table[name].to_pylist()}
    shown = set(re.findall(r"[^\s,.;:·()<>\"]+", text(root)))
    assert not shown & values
    assert not [value for value in values if value and len(value) >= 8 and value in written]


def test_what_comes_in_is_escaped() -> None:
    hostile = "<script>alert(1)</script>&\"'"
    records, register = (one.rename_columns([hostile, *one.column_names[1:]]) for one in people())
    kinds = {hostile if field.name == "resident_id" else field.name: field.kind for field in POPULATION.fields}
    about = About((hostile, hostile), ((hostile,), ()), 0.1, hostile)
    root = told(examine(records, register, Schema.of(kinds)), about)
    assert hostile in text(root)
    assert not list(root.iter(f"{XHTML}script"))


def test_the_figures_are_those_of_the_outcome() -> None:
    outcome, root = linked(), told(linked())
    figures = {text(one[0]): (one[1].text or "") for one in root.iter(f"{XHTML}div") if one.find(f"{XHTML}dt") is not None}
    assert figures["rows, left table"] == f"{outcome.rows[0]:,}"
    assert figures["compared, 比对"] == f"{outcome.compared:,}"
    assert figures["links, 关联"] == f"{outcome.count(Decision.LINK):,}"
    assert figures["to review, 待核"] == f"{outcome.count(Decision.REVIEW):,}"
    assert figures["expected precision, 准确率"] == percent(outcome.expected.precision)
    bars = [one.text or "0" for one in root.iter(f"{XHTML}text") if one.get("class") == "count"]
    assert sum(int(count.replace(",", "")) for count in bars) == len(outcome.chances)


def test_weights_are_those_of_the_model() -> None:
    outcome, root = linked(), told(linked())
    for place, field in enumerate(outcome.schema.fields):
        words = {wording(field.kind, level).meaning: level for level in range(1, 16)}
        rows = rows_below(root, field.name)
        assert len(rows) >= 2
        for row in rows:
            found = words[row[0]]
            assert float(row[4].replace("−", "-")) == pytest.approx(outcome.model.bits[place, found], abs=0.051)
            assert row[1] == share(outcome.model.levels[0, place, found])
        bits = [float(row[4].replace("−", "-")) for row in rows]
        assert bits == sorted(bits, reverse=True)
        seen = sum(int(row[3].replace(",", "")) for row in rows)
        assert seen == (outcome.pairs[field.name].to_numpy() > 0).sum()


def test_patterns_and_clusters_add_up() -> None:
    rows = rows_below(told(linked()), "The commonest patterns")
    counts = [int(row[0].replace(",", "")) for row in rows]
    assert counts == sorted(counts, reverse=True)
    for count, row in zip(counts, rows, strict=True):
        assert sum(int(cell.replace(",", "")) for cell in row[-3:] if cell) == count
    sizes = rows_below(told(deduped(), ABOUT._replace(files=("a",), unused=((),))), "How many rows one person has")
    assert sum(int(row[0]) * int(row[1].replace(",", "")) for row in sizes) == deduped().rows[0]


def test_a_page_of_nothing_in_common() -> None:
    one = table(name=["张三", "李四"], day=["1990-01-02", "1991-03-04"])
    other = table(name=["王五", "赵六"], day=["1950-01-02", "1951-03-05"])
    schema = Schema.of({"name": Kind.PERSON_NAME, "day": Kind.DATE})
    outcome = examine(one, other, schema, thresholds=Thresholds(0.9, 0.8))
    assert outcome.count(Decision.LINK) == 0
    assert "fewer than" in text(told(outcome))


# --- words --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "one", "other", "name"),
    [
        (Kind.PERSON_NAME, "张晓明", "张晓明", "same"),
        (Kind.PERSON_NAME, "张晓明", "张小明", "same_sound"),
        (Kind.PERSON_NAME, "张晓明", "张明晓", "swapped"),
        (Kind.PERSON_NAME, "张晓明", "张明", "one_less"),
        (Kind.PERSON_NAME, "张晓明", "张晓刚", "one_differs"),
        (Kind.PERSON_NAME, "张晓明", "张国强", "surname_only"),
        (Kind.PERSON_NAME, "张晓明", "zhang xiaoming", "letters"),
        (Kind.PERSON_NAME, "张晓明", "李国强", "different"),
        (Kind.PERSON_NAME, "张晓明", None, "missing"),
        (Kind.DATE, "1990-02-03", "1990-03-02", "day_month"),
        (Kind.DATE, "1990-02-03", "1989-02-03", "near_year"),
        (Kind.DATE, "1990-02-03", "1975-02-03", "same_month_day"),
        (Kind.DATE, "1990-02-03", "1990-11-28", "same_year"),
        (Kind.PHONE, "13905718264", "13905718246", "one_slip"),
        (Kind.IDENTIFIER, "AB123456", "AB123465", "one_slip"),
        (Kind.TEXT, "marylebone", "mary", "begins"),
        (Kind.TEXT, "wollongong", "wolongong", "nearly_same"),
        (Kind.CATEGORY, "男", "女", "different"),
    ],
)
def test_a_level_is_called_what_it_is(kind: Kind, one: str, other: str | None, name: str) -> None:
    assert wording(kind, level(kind, one, other)).name == name


def test_names_of_levels_are_told_apart() -> None:
    for kind in Kind:
        names = [name for name in names_of_levels(kind) if name != "not_used"]
        assert len(names) == len(set(names))
        assert {"missing", "different", "same"} <= set(names)
    assert wording(Kind.DATE, 10).meaning == "the same; 1 record in 64 to 510 has the value"


def test_shares_can_be_told_apart_however_small() -> None:
    shares: Sequence[float] = (1.0, 0.5, 0.0123, 0.0099, 1e-4, 1e-6)
    assert [share(part) for part in shares] == ["100.0%", "50.0%", "1.2%", "1 in 100", "1 in 10,000", "1 in 1,000,000"]
    assert percent(1.0) == "above 99.99%"
    assert percent(0.987654) == "98.77%"


def test_rules_in_words() -> None:
    assert rule_in_words(POPULATION, ((1, Atom.VALUE), (3, Atom.YEAR))) == "the same name and the same year of birth_date"
