"""What operators do with a query index, how a base declares one, and the linkage engine behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from broker.cli.catalogue import read_valid
from broker.errors import CatalogueRefused
from broker.model.catalogue import PersonSearch
from broker.policy.export import write
from broker.records import change
from broker.records.index import Indexes
from broker.records.load import Source, load
from broker.records.packing import PACKINGS
from broker.records.person_packing import PersonPacking
from broker.records.store import Bases, directory_of
from tests.support import records, searched
from tests.support.index_writers import COUNT, DECLARED, rows
from tests.support.people import resident_id
from tests.support.records import BASE
from tests.support.running import RunningBroker


@pytest.fixture(autouse=True)
def packing() -> Iterator[None]:
    PACKINGS.offer(searched.PlainPacking)
    yield
    PACKINGS.offer(PersonPacking)


@pytest.fixture
def broker(tmp_path: Path) -> RunningBroker:
    """Settings and a control plane; no broker needs to run."""
    return RunningBroker(tmp_path)


def told(broker: RunningBroker, *arguments: str) -> dict[str, Any]:
    done = broker.run_here("records", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_operators_build_look_at_and_check_it(broker: RunningBroker) -> None:
    broker.apply(records.catalogue(bases=(DECLARED,)))
    config = broker.config
    load(config, DECLARED, [rows(range(COUNT))], most_bad_rows=0)
    assert told(broker, "index", BASE)["records"] == COUNT
    change.upsert(config, DECLARED, [rows([COUNT])], most_bad_rows=0)
    fact = told(broker, "stat")["bases"][0]["index"]
    assert (fact["state"], fact["changes"], fact["room"]) == ("ok", 1, 4096)
    assert told(broker, "check", BASE)["index"] == "whole"
    (file,) = directory_of(config, BASE).glob("*/search-*.index")
    data = bytearray(file.read_bytes())
    data[4200] ^= 1
    file.write_bytes(data)
    refused = broker.run_here("records", "check", BASE)
    assert (refused.returncode, "its index is wrong" in refused.stderr) == (17, True)
    file.write_bytes(b"")
    assert "run `broker records index`" in told(broker, "stat")["bases"][0]["index"]["state"]


def test_people_are_packed_by_the_linkage_engine_where_nobody_offers_another_way(broker: RunningBroker) -> None:
    PACKINGS.offer(PersonPacking)
    search = {"name": "name", "resident_id": "resident_id", "birth_date": "birth_date", "address": "address"}
    declared = searched.base(search=search)
    broker.apply(records.catalogue(bases=(declared,)))
    people = [
        {
            "resident_id": resident_id(n),
            "name": f"张{chr(0x4E00 + n)}",
            "birth_date": f"19{50 + n % 50}-01-01",
            "address": ADDRESS,
        }
        for n in range(COUNT)
    ]
    assert load(broker.config, declared, [Source("test", people)], most_bad_rows=0).index_bytes
    moved = [*people[:10], people[10] | {"resident_id": resident_id(COUNT)}]
    change.upsert(broker.config, declared, [Source("test", [row | {"address": None} for row in moved])], most_bad_rows=0)
    assert told(broker, "check", BASE)["index"] == "whole"
    bases = Bases(broker.config)
    indexes = Indexes(bases)
    try:
        index = indexes.of(declared)
        packed = PersonPacking(declared.search or PersonSearch(name="name"))
        keys = packed.recall(index.native.learned()).keys(packed.pack(columns(people[7:8])))
        slots, _ = index.native.probe(keys, 100)
        assert resident_id(7) in {(index.native.key(slot) or b"").decode() for slot in slots}
    finally:
        indexes.close()
        bases.close()


ADDRESS = "云鹤市松涛区建设路12号3栋2单元501室"


def columns(people: list[dict[str, str]]) -> dict[str, pa.Array]:
    return {name: pa.array([row[name] for row in people], pa.string()) for name in people[0]}


# --- how a base declares it -----------------------------------------------------------------------------------------------

CATALOGUE = """
[[bases]]
id = "population"
key = ["resident_id"]
fields.resident_id = {type = "resident_id", required = true}
fields.name = {type = "person_name"}
fields.birth_date = {type = "date"}
fields.status = {type = "text"}
search = {name = "name", resident_id = "resident_id", birth_date = "birth_date"}
"""

WRONG = [
    ('name = "name", ', "", "search"),
    ('name = "name", ', 'name = "xm", ', "search.name: `xm` is not a field"),
    ('name = "name", ', 'name = "status", ', "search.name: `status` must be of type person_name"),
    (', birth_date = "birth_date"}', ', sex = "status", phone = "status"}', "search.phone: `status` is searched by already"),
    (', resident_id = "resident_id", birth_date = "birth_date"}', "}", "search: a name alone tells nobody apart"),
    (', birth_date = "birth_date"}', ', shoe_size = "status"}', "search.shoe_size"),
]


def test_a_base_says_by_which_fields_it_is_searched(tmp_path: Path) -> None:
    (tmp_path / "all.toml").write_text(CATALOGUE, encoding="utf-8")
    (declared,) = read_valid(tmp_path).bases
    assert declared.search
    assert declared.search.fields() == {"name": "name", "resident_id": "resident_id", "birth_date": "birth_date"}


@pytest.mark.parametrize(("old", "new", "said"), WRONG, ids=[row[2] for row in WRONG])
def test_a_search_by_what_does_not_suit_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in CATALOGUE
    (tmp_path / "all.toml").write_text(CATALOGUE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CatalogueRefused) as refused:
        read_valid(tmp_path)
    assert any(f"(population).{said}" in problem for problem in refused.value.problems), refused.value.problems


def test_a_search_is_exported_as_it_was_applied(tmp_path: Path) -> None:
    (tmp_path / "all.toml").write_text(CATALOGUE, encoding="utf-8")
    catalogue = read_valid(tmp_path)
    write(catalogue, tmp_path.parent / f"{tmp_path.name}-exported")
    assert read_valid(tmp_path.parent / f"{tmp_path.name}-exported").bases == catalogue.bases
