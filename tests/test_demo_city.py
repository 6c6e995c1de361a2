"""The synthetic city and its catalogue: the same for a seed, nobody real in it, and everything refers to something."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy
from stdnum.cn import uscc
from stdnum.iso7064 import mod_11_2

from broker.demo import city as city_module
from broker.demo import people
from broker.demo.catalogue import Addresses, catalogue, sqlite_url, write_app_keys, write_catalogue
from broker.demo.city import absent_resident_id, absent_uscc, build_city, open_city, sample_residents
from broker.demo.consumers import CONSUMERS
from broker.demo.interfaces import QUESTIONS, absent_arguments, sample_arguments
from broker.demo.people import Draw
from broker.demo.postgresql import copy_city
from broker.demo.tables import TABLES
from broker.demo.vocabulary import WORDS
from broker.model import toml
from broker.model.catalogue import Catalogue, Interface, Level, SemanticType, ShareType, SqlOperation
from broker.model.semantics import canonical
from broker.policy.directory import read
from broker.policy.validate import problems
from broker.upstream.check import connector_problems
from tests.postgres import PostgresMissing, running_postgres

SMALL = {"persons": 2_000, "companies": 400, "licences": 1_000}
KEYS = dict.fromkeys(CONSUMERS, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")  # RFC 8032, test 1


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("city") / "city.db"
    build_city(path, seed=7, **SMALL)
    return path


@pytest.fixture(scope="module")
def addresses(city: Path) -> Addresses:
    return Addresses("http://127.0.0.1:1", "http://127.0.0.1:2", "127.0.0.1:3", sqlite_url(city))


@pytest.fixture(scope="module")
def whole(addresses: Addresses) -> Catalogue:
    return catalogue(addresses, KEYS)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with closing(open_city(path)) as connection:
        for name, table in TABLES.items():
            for row in connection.execute(
                f"SELECT {', '.join(table.columns)} FROM {name} ORDER BY {table.key.replace(' ', ', ')}"
            ):
                digest.update(repr((name, row)).encode())
    return digest.hexdigest()


def _values(path: Path, kind: SemanticType) -> Iterator[Any]:
    with closing(open_city(path)) as connection:
        for name, table in TABLES.items():
            for column in table.columns:
                if WORDS[column].type is kind:
                    yield from (v for (v,) in connection.execute(f"SELECT {column} FROM {name}") if v is not None)


def _rows(path: Path, query: str) -> list[Any]:
    with closing(open_city(path)) as connection:
        return connection.execute(query).fetchall()


# --- the city -----------------------------------------------------------------------------------------------------------


def test_a_seed_means_the_same_city_and_another_seed_another(city: Path, tmp_path: Path) -> None:
    build_city(tmp_path / "same.db", seed=7, **SMALL)
    build_city(tmp_path / "other.db", seed=8, **SMALL)
    assert _digest(tmp_path / "same.db") == _digest(city)
    assert _digest(tmp_path / "other.db") != _digest(city)


def test_a_city_has_the_sizes_that_were_asked_for(city: Path) -> None:
    counts = [_rows(city, f"SELECT count(*) FROM {table}")[0][0] for table in ("person", "company", "licence")]
    assert counts == [2_000, 400, 1_000]


def test_the_right_city_is_reused_and_a_wrong_one_replaced(tmp_path: Path) -> None:
    path = tmp_path / "city.db"
    assert build_city(path, seed=1, persons=300, companies=20, licences=20)
    assert not build_city(path, seed=1, persons=300, companies=20, licences=20)
    assert build_city(path, seed=1, persons=301, companies=20, licences=20)
    path.write_bytes(b"not a database at all, but long enough to be looked at as one" * 100)
    assert build_city(path, seed=1, persons=301, companies=20, licences=20)


def test_a_build_that_fails_leaves_the_old_city_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "city.db"
    build_city(path, seed=1, persons=300, companies=20, licences=20)
    before = path.read_bytes()

    def interrupted(draw: Draw, groups: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(city_module.HOLDINGS, "passport", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_city(path, seed=2, persons=300, companies=20, licences=20)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["city.db"]


def test_progress_names_every_table_with_its_rows(tmp_path: Path) -> None:
    told: dict[str, int] = {}
    build_city(tmp_path / "city.db", seed=1, persons=300, companies=20, licences=20, progress=told.__setitem__)
    assert told.keys() == TABLES.keys()
    assert told["person"] == 300
    assert min(told.values()) > 0


def test_every_number_is_well_formed_and_nobodys(city: Path) -> None:
    residents, bodies = set(_values(city, SemanticType.RESIDENT_ID)), set(_values(city, SemanticType.USCC))
    assert (len(residents), len(bodies)) == (2_000, 400)
    assert all(number.startswith("99") and mod_11_2.is_valid(number) for number in residents)
    assert all(code[2:4] == "99" and uscc.is_valid(code) for code in bodies)
    assert {phone[:3] for (phone,) in _rows(city, "SELECT phone FROM person")} == {"154"}
    assert all(people.CITY in address for (address,) in _rows(city, "SELECT address FROM person"))


@pytest.mark.parametrize("kind", SemanticType)
def test_every_value_is_in_its_canonical_form(city: Path, kind: SemanticType) -> None:
    values = {str(value) for value in _values(city, kind)}
    assert values
    assert {value for value in values if canonical(kind, value) != value} == set()


def test_a_number_says_what_the_register_says(city: Path) -> None:
    for number, birth, sex in _rows(city, "SELECT resident_id, birth_date, sex FROM person"):
        assert number[6:14] == birth.replace("-", "")
        assert int(number[16]) % 2 == (sex == "男")


def test_the_people_hang_together(city: Path) -> None:
    """The dead have a day of death and nobody else has; mothers and spouses exist; the heads of companies are alive."""
    assert _rows(city, "SELECT DISTINCT status, death_date IS NULL FROM person ORDER BY status") == [
        ("CANCELLED", 1),
        ("DECEASED", 0),
        ("VALID", 1),
    ]
    orphans = "SELECT count(*) FROM {} x LEFT JOIN person p ON p.resident_id = x.{} AND p.name = x.{} WHERE p.name IS NULL"
    for table, number, name in (
        ("birth", "mother_id", "mother_name"),
        ("marriage", "spouse_id", "spouse_name"),
        ("real_estate", "owner_id", "owner_name"),
        ("company", "representative_id", "legal_representative"),
    ):
        assert _rows(city, orphans.format(table, number, name)) == [(0,)]
    dead = "SELECT count(*) FROM company c JOIN person p ON p.resident_id = c.representative_id WHERE p.status <> 'VALID'"
    assert _rows(city, dead) == [(0,)]
    assert _rows(city, "SELECT count(*) FROM birth b JOIN person p ON p.resident_id = b.mother_id WHERE p.sex = '男'") == [(0,)]


def test_names_are_common_ones_with_a_few_that_are_not() -> None:
    draw = Draw("names")
    common = Counter(people.surnames(draw, 20_000)).most_common(4)
    assert {name for name, _ in common} == {"王", "李", "张", "刘"}
    given = people.given_names(draw, 20_000)["女"]
    assert {len(name) for name in given} == {1, 2}
    assert any(ord(name) > 0xFFFF for name in given if len(name) == 1), "one outside the basic plane"
    assert all(name.count("·") == 1 for name in people.minority_names(draw, 50))


def test_the_city_has_people_with_transliterated_names(city: Path) -> None:
    assert _rows(city, "SELECT count(*) FROM person WHERE name LIKE '%·%'")[0][0] > 0


def test_samples_are_the_same_for_a_seed_and_of_the_status_asked(city: Path) -> None:
    first = sample_residents(city, 20, seed=3)
    assert first == sample_residents(city, 20, seed=3)
    assert first != sample_residents(city, 20, seed=4)
    assert len({person["resident_id"] for person in first}) == 20
    assert {person["status"] for person in sample_residents(city, 5, status="DECEASED")} == {"DECEASED"}


def test_the_absent_are_well_formed_and_absent(city: Path) -> None:
    for kind, absent in ((SemanticType.RESIDENT_ID, absent_resident_id()), (SemanticType.USCC, absent_uscc())):
        assert canonical(kind, absent) == absent
        assert absent not in set(_values(city, kind))


# --- the catalogue ------------------------------------------------------------------------------------------------------


def test_there_are_62_interfaces_of_three_levels(whole: Catalogue) -> None:
    level = {provider.id: provider.level for provider in whole.providers}
    assert Counter(level[interface.provider] for interface in whole.interfaces) == {
        Level.NATIONAL: 25,
        Level.PROVINCIAL: 16,
        Level.CITY: 21,
    }
    assert len({interface.provider for interface in whole.interfaces}) == 30
    assert len({interface.resource for interface in whole.interfaces}) == 62


def test_there_are_892_resources_of_52_departments(whole: Catalogue) -> None:
    assert len({resource.code for resource in whole.resources}) == len(whole.resources) == 892
    assert len(whole.providers) == len({resource.provider for resource in whole.resources}) == 52
    assert [p.id for p in whole.providers if p.endpoint is None] == [p.id for p in whole.providers][30:]
    assert len({(resource.provider, resource.name) for resource in whole.resources}) == 892
    shared = Counter(resource.share_type for resource in whole.resources)
    assert 0 < shared[ShareType.NOT_SHARED] < 50
    assert all(shared[kind] > 200 for kind in (ShareType.CONDITIONAL, ShareType.UNCONDITIONAL))
    mounted = {interface.resource for interface in whole.interfaces}
    assert all(r.share_type is ShareType.CONDITIONAL for r in whole.resources if r.code in mounted)
    assert all(resource.items and resource.classification and resource.published for resource in whole.resources)


def test_only_departments_that_count_every_question_are_not_asked_for_the_sake_of_asking(whole: Catalogue) -> None:
    level = {provider.id: provider.level for provider in whole.providers}
    for interface in whole.interfaces:
        assert interface.probe.keys() == ({} if level[interface.provider] is Level.NATIONAL else interface.arguments).keys()


def test_every_connector_and_codec_is_there(whole: Catalogue) -> None:
    spoken = Counter(type(provider.endpoint).__name__ for provider in whole.providers)
    assert spoken.keys() == {"HttpEndpoint", "GrpcEndpoint", "SqlEndpoint", "NoneType"}
    assert spoken["GrpcEndpoint"] >= 3
    assert {getattr(i.operation, "codec", "json") for i in whole.interfaces} == {"json", "msgpack"}
    assert {getattr(i.operation, "method", "POST") for i in whole.interfaces} >= {"GET", "POST"}


def test_the_directory_reads_back_as_what_was_written(addresses: Addresses, whole: Catalogue, tmp_path: Path) -> None:
    assert write_catalogue(tmp_path, addresses, KEYS) == whole
    trees = {file.name: tomllib.loads(file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()}
    assert trees.keys() == {
        "providers.toml",
        "resources.toml",
        "interfaces-national.toml",
        "interfaces-provincial.toml",
        "interfaces-city.toml",
        "consumers.toml",
        "grants.toml",
    }
    tree: dict[str, list[Any]] = {}
    for name in sorted(trees, key=lambda name: (name == "interfaces-city.toml", "provincial" in name)):
        for kind, elements in trees[name].items():
            tree.setdefault(kind, []).extend(elements)
    by_id = {interface.id: interface for interface in msgspec.convert(tree, Catalogue).interfaces}
    assert by_id == {interface.id: interface for interface in whole.interfaces}
    rest = {kind: elements for kind, elements in tree.items() if kind != "interfaces"}
    assert msgspec.convert(rest, Catalogue) == msgspec.structs.replace(whole, interfaces=())


def test_the_broker_finds_nothing_wrong_with_it(addresses: Addresses, tmp_path: Path) -> None:
    write_catalogue(tmp_path, addresses, KEYS)
    contents = read(tmp_path)
    assert contents.problems == []
    assert problems(contents, connector_problems) == []


def test_departments_have_names_of_their_own_for_things(whole: Catalogue) -> None:
    renamed = {interface.provider for interface in whole.interfaces if interface.operation.fields}
    assert len(renamed) >= 15
    basic = next(interface for interface in whole.interfaces if interface.id == "national.person.basic")
    assert basic.operation.fields["name"] == "XM"
    assert basic.operation.parameters == {"GMSFHM": "{resident_id}"}  # type: ignore[union-attr]


@pytest.mark.parametrize("interface", QUESTIONS)
def test_an_interface_is_consistent_and_its_words_distinct(whole: Catalogue, interface: str) -> None:
    found = next(i for i in whole.interfaces if i.id == interface)
    assert found.subject.argument in found.arguments
    assert found.subject.answer in found.answer
    assert len(set(found.operation.fields.values())) == len(found.operation.fields)
    if isinstance(found.operation, SqlOperation):
        assert all(f":{argument}" in found.operation.query for argument in found.arguments)


@pytest.mark.parametrize("interface", QUESTIONS)
def test_a_question_finds_one_record_by_index_and_none_for_the_absent(city: Path, interface: str) -> None:
    question = QUESTIONS[interface]
    with closing(open_city(city)) as connection:
        for arguments in sample_arguments(city, interface, 5):
            assert len(connection.execute(question.query, arguments).fetchall()) == 1
        absent = absent_arguments(city, interface)
        assert connection.execute(question.query, absent).fetchall() == []
        plan = connection.execute(f"EXPLAIN QUERY PLAN {question.query}", absent).fetchall()
    assert not [step for *_, step in plan if step.startswith("SCAN")]


def test_what_must_be_current_is_never_kept(whole: Catalogue) -> None:
    kept = {interface.id: interface.freshness for interface in whole.interfaces}
    for interface in ("national.credit.enterprise", "national.credit.person", "national.person.deceased"):
        assert not kept[interface].cacheable
    population = kept["national.person.basic"]
    assert (population.ttl_s, population.stale_while_revalidate_s, population.stale_if_error_s) == (3600, 600, 86_400)
    fund = kept["provincial.housing.fund"]
    assert (fund.cacheable, fund.ttl_s, fund.stale_if_error_s) == (True, 1, 600)


def test_grants_differ_by_consumer(whole: Catalogue) -> None:
    grants = {(grant.consumer, grant.interface): grant for grant in whole.grants}
    assert set(grants["civil-affairs", "national.person.basic"].fields) == {"name", "status", "address"}
    assert set(grants["notary-office", "national.person.basic"].fields) == {"name", "status"}
    assert ("housing-bureau", "national.person.basic") not in grants
    citizen = grants["citizen-app", "national.person.basic"]
    assert (citizen.rate_per_second, citizen.burst) == (5, 5)
    notary = [interface for consumer, interface in grants if consumer == "notary-office"]
    assert (len(notary), len({QUESTIONS[interface].department for interface in notary})) == (28, 10)
    load = {interface for consumer, interface in grants if consumer == "load-test"}
    assert load == QUESTIONS.keys()


def test_a_consumer_without_a_key_has_none(addresses: Addresses) -> None:
    consumers = {consumer.id: consumer.keys for consumer in catalogue(addresses, {"tax-hall": KEYS["tax-hall"]}).consumers}
    assert [consumer for consumer, keys in consumers.items() if keys] == ["tax-hall"]


def test_app_keys_are_private_and_stay(tmp_path: Path) -> None:
    write_app_keys(tmp_path / "secrets")
    first = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    write_app_keys(tmp_path / "secrets")
    assert first == {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert len(first) == len(set(first.values())) == 10
    assert {stat.S_IMODE((tmp_path / "secrets" / name).stat().st_mode) for name in first} == {0o600}


def test_toml_reads_back_whatever_the_text() -> None:
    element = {
        "text": 'quote " backslash \\ line \n tab \t del \x7f 人·名 \U0002c029',
        "flags": [True, False],
        "numbers": [1, -2.5],
        "short": {"1401": "a", "dotted.key": {"x": 1}},
        "long": {f"key{number}": "x" * 20 for number in range(10)} | {"inner": {"y": "z" * 120}},
    }
    assert tomllib.loads(toml.document({"things": [element, {"id": 2}]})) == {"things": [element, {"id": 2}]}
    with pytest.raises(TypeError):
        toml.document({"things": [{"nothing": None}]})


def test_a_city_is_opened_for_reading_only(city: Path) -> None:
    with closing(open_city(city)) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM person")


def test_the_resource_codes_name_the_department(whole: Catalogue) -> None:
    units: dict[str, set[str]] = {}
    for resource in whole.resources:
        units.setdefault(resource.provider, set()).add(resource.code.partition("/")[0])
    assert all(len(codes) == 1 for codes in units.values())
    assert len(set.union(*units.values())) == len(units)


def _interface(whole: Catalogue, interface: str) -> Interface:
    return next(i for i in whole.interfaces if i.id == interface)


def test_a_verification_compares_and_does_not_show(whole: Catalogue, city: Path) -> None:
    verify = _interface(whole, "national.person.verify")
    assert set(verify.answer) == {"resident_id", "status", "name_match"}
    (arguments,) = sample_arguments(city, verify.id, 1)
    with closing(open_city(city)) as connection:
        query = QUESTIONS[verify.id].query
        assert connection.execute(query, arguments).fetchone()[-1] == "1"
        assert connection.execute(query, {**arguments, "name": "无此人"}).fetchone()[-1] == "0"


def test_a_city_in_postgresql_answers_the_same(city: Path) -> None:
    """Parameters are bound as the broker binds them: as text with its type said, which PostgreSQL takes seriously."""
    try:
        with running_postgres() as server:
            copy_city(city, server.url("postgresql"))
            engine = sqlalchemy.create_engine(server.url())
            with engine.connect() as there, closing(open_city(city)) as here:
                for question in (q for q in QUESTIONS.values() if q.owner.level is Level.CITY):
                    for arguments in [*sample_arguments(city, question.id, 3), absent_arguments(city, question.id)]:
                        found = [tuple(row) for row in there.execute(sqlalchemy.text(question.query), arguments)]
                        assert found == here.execute(question.query, arguments).fetchall(), question.id
            engine.dispose()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
