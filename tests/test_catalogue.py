"""Catalogue directories: every error is listed with file and key, and a directory is applied whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from broker.cli.catalogue import read_valid
from broker.errors import CatalogueRefused, ConfigurationError, DirectoryUnusable
from broker.policy.store import ControlPlane

GOOD = """
[[providers]]
id = "national.police"
name = "公安部"
level = "NATIONAL"
endpoint = {connector = "http", base_url = "http://127.0.0.1:1"}

[[interfaces]]
id = "national.person.basic"
title = "人口基本信息"
provider = "national.police"
arguments.resident_id = {type = "resident_id"}
answer.resident_id = {type = "resident_id"}
answer.name = {type = "person_name"}
subject = {argument = "resident_id", answer = "resident_id"}
operation = {connector = "http", path = "/person", parameters = {id = "{resident_id}"}}

[[consumers]]
id = "tax-hall"
name = "办税大厅"
keys = [{id = "k1", public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}]

[[grants]]
id = "g1"
consumer = "tax-hall"
interface = "national.person.basic"
purposes = ["subsidy-check"]
fields = ["name"]
valid_from = 2020-01-01T00:00:00Z
valid_until = 2099-01-01T00:00:00Z
"""

# What is changed in the good file, and what must be said about it.
BROKEN = [
    ('level = "NATIONAL"', 'level = "TOWN"', "providers[0] (national.police).level"),
    ('name = "公安部"', "", "providers[0] (national.police).name: is required"),
    ('base_url = "http://127.0.0.1:1"', 'base_url = "ftp://x"', ".endpoint.base_url"),
    ('connector = "http", base', 'connector = "carrier-pigeon", base', ".endpoint"),
    ('title = "人口基本信息"', 'title = "x"\ncolour = "red"', ".colour: is not a known key"),
    ('{type = "person_name"}', '{type = "nickname"}', ".answer.name.type"),
    ('provider = "national.police"', 'provider = "nobody"', ".provider: no provider `nobody`"),
    ('argument = "resident_id", answer', 'argument = "other", answer', ".subject.argument: `other` is not an argument"),
    ('answer = "resident_id"}', 'answer = "name"}', ".subject.answer: must have the semantic type"),
    ('answer = "resident_id"}', 'answer = "else"}', ".subject.answer: `else` is not a field"),
    ('{id = "{resident_id}"}', '{id = "{who}"}', "`{who}` is not an argument"),
    ('{id = "{resident_id}"}', '{id = "1"}', ".arguments.resident_id: is not sent to the provider"),
    (
        'parameters = {id = "{resident_id}"}',
        'parameters = {id = "{resident_id}"}, fields = {age = "x"}',
        ".operation.fields.age",
    ),
    ('path = "/person"', 'path = "/person", envelope = {code = "code"}', ".operation.envelope.success"),
    ("[[consumers]]", "freshness = {cacheable = true}\n[[consumers]]", ".freshness.ttl_s: must be above 0"),
    ("[[consumers]]", "freshness = {ttl_s = 5}\n[[consumers]]", ".freshness.cacheable: must be true"),
    ("[[consumers]]", "side_effect = true\nfreshness = {cacheable = true, ttl_s = 5}\n[[consumers]]", "side effects"),
    ("[[consumers]]", 'resource = "R1"\n[[consumers]]', ".resource: no resource `R1`"),
    ('base_url = "http://127.0.0.1:1"}', 'base_url = "http://127.0.0.1:1", dialect = "klingon"}', "dialect: `klingon`"),
    ('public_key = "11qYAYKx', 'public_key = "!!qYAYKx', "keys[0].public_key"),
    ('consumer = "tax-hall"', 'consumer = "nobody"', "grants[0] (g1).consumer: no consumer `nobody`"),
    ('interface = "national.person.basic"', 'interface = "nothing"', "grants[0] (g1).interface: no interface `nothing`"),
    ('fields = ["name"]', 'fields = ["name", "salary"]', "fields: `salary` is not a field"),
    ('fields = ["name"]', "fields = []", "grants[0] (g1).fields"),
    ("valid_from = 2020-01-01T00:00:00Z", "valid_from = 2020-01-01T00:00:00", "grants[0] (g1).valid_from"),
    ("valid_until = 2099", "valid_until = 2019", "valid_until: must be later"),
    ("[[grants]]", "[[favours]]\nx = 1\n[[grants]]", "unknown key `favours`"),
    ("[[grants]]", "[grants]", "`grants` must be an array of tables"),
    ("[[grants]]", "[[grants", "not valid TOML"),
]


def _write(directory: Path, content: str, name: str = "all.toml") -> Path:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(content, encoding="utf-8")
    return directory


def _refused(directory: Path) -> tuple[str, ...]:
    with pytest.raises(CatalogueRefused) as refusal:
        read_valid(directory)
    return refusal.value.problems


def test_a_good_directory_is_read(tmp_path: Path) -> None:
    catalogue = read_valid(_write(tmp_path, GOOD))
    assert [grant.id for grant in catalogue.grants] == ["g1"]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN, ids=[row[2] for row in BROKEN])
def test_each_error_names_file_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    problems = _refused(_write(tmp_path, GOOD.replace(old, new, 1)))
    assert any(said in problem for problem in problems), problems
    assert all(problem.startswith("all.toml") for problem in problems)


def test_every_error_is_listed_not_only_the_first(tmp_path: Path) -> None:
    broken = GOOD.replace('level = "NATIONAL"', "level = 3\nx = 1").replace('type = "person_name"', "type = 4")
    _write(tmp_path, broken.replace('fields = ["name"]', "fields = 5"))
    _write(tmp_path, "no toml", "second.toml")
    problems = _refused(tmp_path)
    for said in ("[0] (national.police).level", "(national.police).x", ".answer.name.type", "(g1).fields", "second.toml"):
        assert sum(said in problem for problem in problems) == 1, problems


def test_duplicates_across_files_are_found(tmp_path: Path) -> None:
    _write(_write(tmp_path, GOOD), GOOD, "copy.toml")
    problems = _refused(tmp_path)
    assert len([p for p in problems if "stands already at all.toml" in p]) == 4


def test_an_empty_directory_is_not_an_empty_catalogue(tmp_path: Path) -> None:
    with pytest.raises(DirectoryUnusable):
        read_valid(tmp_path)


def _control(directory: Path) -> ControlPlane:
    return ControlPlane(f"sqlite:///{directory}/control.db")


def test_applying_tells_what_changed_and_counts_revisions(tmp_path: Path) -> None:
    control = _control(tmp_path)
    catalogue = read_valid(_write(tmp_path / "c", GOOD))
    assert control.difference(catalogue).count("added") == 4
    version, difference = control.apply(catalogue)
    assert (version, difference.count("added")) == (1, 4)
    assert control.apply(catalogue)[0] == 1, "nothing changed, so no new revision"
    changed = read_valid(_write(tmp_path / "c", GOOD.replace('"subsidy-check"', '"loan-check"')))
    version, difference = control.apply(changed)
    assert (version, difference.changed, difference.added, difference.removed) == (2, {"grants": ("g1",)}, {}, {})
    without = read_valid(_write(tmp_path / "c", GOOD[: GOOD.index("[[grants]]")]))
    assert control.apply(without)[1].removed == {"grants": ("g1",)}
    assert control.read() == (3, without)


def test_what_fails_half_way_changes_nothing(tmp_path: Path) -> None:
    control = _control(tmp_path)
    control.apply(read_valid(_write(tmp_path / "c", GOOD)))
    before = control.read()
    with create_engine(f"sqlite:///{tmp_path}/control.db").begin() as connection:
        connection.execute(text("CREATE TRIGGER no BEFORE INSERT ON catalogue_revision BEGIN SELECT RAISE(ABORT, 'no'); END"))
    with pytest.raises(Exception, match="no"):
        control.apply(read_valid(_write(tmp_path / "c", GOOD.replace("subsidy-check", "loan-check"))))
    assert control.read() == before


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    _control(tmp_path).close()
    with create_engine(f"sqlite:///{tmp_path}/control.db").begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer version"):
        _control(tmp_path)


def test_an_unusable_database_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"control\.url"):
        ControlPlane("no url")
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryUnusable):
        ControlPlane(f"sqlite:///{tmp_path}/file/control.db")
