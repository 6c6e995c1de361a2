"""Catalogue directories: every error is listed with file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from broker.cli.catalogue import read_valid
from broker.errors import CatalogueRefused, DirectoryUnusable
from broker.model.catalogue import (
    Code,
    ConsumerKey,
    FieldName,
    FileName,
    GrpcOperation,
    HeaderText,
    HttpEndpoint,
    HttpOperation,
    Identifier,
)

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

BASE_URL = 'base_url = "http://127.0.0.1:1"'
PARAMETERS = '{id = "{resident_id}"}'
PATH = 'path = "/person"'

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
    (PARAMETERS, '{id = "ID:{resident_id}"}', ".operation.parameters.id: must be one {argument}"),
    (PARAMETERS, '{id = "{resident_id}{resident_id}"}', ".operation.parameters.id: must be one {argument}"),
    (PARAMETERS, '{id = "{resident_id}\\n"}', ".operation.parameters.id: must be one {argument}"),
    (PARAMETERS, '{id = "{resident_id}", k = "{Name}"}', ".operation.parameters.k: must be one {argument}"),
    (PARAMETERS, '{id = "{resident_id}", k = "}"}', ".operation.parameters.k: must be one {argument}"),
    (
        'parameters = {id = "{resident_id}"}',
        'parameters = {id = "{resident_id}"}, fields = {age = "x"}',
        ".operation.fields.age",
    ),
    ('path = "/person"', 'path = "/person", envelope = {code = "code"}', ".operation.envelope.success"),
    (PATH, f'{PATH}, envelope = {{success = ["0"]}}', ".operation.envelope.success: is never looked at"),
    (PATH, f'{PATH}, envelope = {{not_found = ["1"]}}', ".operation.envelope.not_found: is never looked at"),
    (PATH, f'{PATH}, envelope = {{faults = {{2 = "timeout"}}}}', ".operation.envelope.faults: is never looked at"),
    (
        PATH,
        f'{PATH}, envelope = {{code = "c", success = ["0", "1"], not_found = ["1"]}}',
        ".operation.envelope.not_found: `1` stands in `success` too",
    ),
    (
        PATH,
        f'{PATH}, envelope = {{code = "c", success = ["0"], faults = {{0 = "timeout"}}}}',
        ".operation.envelope.faults: `0` stands in `success` too",
    ),
    (
        PATH,
        f'{PATH}, envelope = {{code = "c", success = ["0"], not_found = ["1"], faults = {{1 = "timeout"}}}}',
        ".operation.envelope.faults: `1` stands in `not_found` too",
    ),
    (PATH, 'path = "person"', ".operation.path"),
    (PATH, f'{PATH}, service_id = "a\\r\\nb"', ".operation.service_id"),
    ("[[consumers]]", "timeout_ms = 99\n[[consumers]]", "(national.person.basic).timeout_ms"),
    (
        f"{PATH}, parameters = {PARAMETERS}}}",
        f'{PATH}, method = "GET", parameters = {PARAMETERS}}}\nside_effect = true',
        "must be POST",
    ),
    (BASE_URL, 'base_url = "http://me@city.example"', ".endpoint.base_url"),
    (BASE_URL, 'base_url = "http://me:TOP@city.example"', ".endpoint.base_url"),
    (BASE_URL, 'base_url = "http://city.example/"', ".endpoint.base_url"),
    (BASE_URL, 'base_url = "http://city.example:http"', ".endpoint.base_url"),
    (BASE_URL, 'base_url = "http://city.example:0"', ".endpoint.base_url: the port must be 1 to 65535"),
    (BASE_URL, 'base_url = "http://[::1]:65536"', ".endpoint.base_url: the port must be 1 to 65535"),
    (BASE_URL, 'base_url = "http://::1:80"', ".endpoint.base_url"),
    (BASE_URL, 'base_url = "http://[1:2]:80"', ".endpoint.base_url: what stands in brackets is not an IPv6 address"),
    (BASE_URL, f'{BASE_URL}, requester_id = "我们"', ".endpoint.requester_id"),
    (BASE_URL, f'{BASE_URL}, requester_id = "a b"', ".endpoint.requester_id"),
    (BASE_URL, f'{BASE_URL}, app_key_file = "../key"', ".endpoint.app_key_file"),
    (BASE_URL, f'{BASE_URL}, app_key_file = ".."', ".endpoint.app_key_file"),
    (BASE_URL, f'{BASE_URL}, secret_path = "secret"', ".endpoint.secret_path"),
    (f'connector = "http", {BASE_URL}', 'connector = "sql", url = "x", password_file = "/etc/pw"', ".endpoint.password_file"),
    ("[[consumers]]", "freshness = {cacheable = true}\n[[consumers]]", ".freshness.ttl_s: must be above 0"),
    ("[[consumers]]", "freshness = {ttl_s = 5}\n[[consumers]]", ".freshness.cacheable: must be true"),
    ("[[consumers]]", "side_effect = true\nfreshness = {cacheable = true, ttl_s = 5}\n[[consumers]]", "side effects"),
    ("[[consumers]]", 'sensitive = true\naudit = "buffered"\n[[consumers]]', ".audit: must be durable where sensitive"),
    ("[[consumers]]", 'audit = "off"\n[[consumers]]', ".audit"),
    ("[[consumers]]", 'resource = "R1"\n[[consumers]]', ".resource: no resource `R1`"),
    ('endpoint = {connector = "http", base_url = "http://127.0.0.1:1"}', "", "provider: `national.police` has no endpoint"),
    ("[[consumers]]", 'probe = {who = "x"}\n[[consumers]]', ".probe.who: is not an argument"),
    ("[[consumers]]", 'probe = {who = "x"}\n[[consumers]]', ".probe.resident_id: is required"),
    ("[[consumers]]", 'probe = {resident_id = "1"}\n[[consumers]]', ".probe.resident_id: must be a resident id"),
    (
        "[[consumers]]",
        'side_effect = true\nprobe = {resident_id = "990101198001010003"}\n[[consumers]]',
        ".probe: an interface with side effects",
    ),
    (
        "[[consumers]]",
        '[[resources]]\ncode = "A"\nname = " x"\nprovider = "national.police"\n[[consumers]]',
        "resources[0] (A).name",
    ),
    ('base_url = "http://127.0.0.1:1"}', 'base_url = "http://127.0.0.1:1", dialect = "klingon"}', "dialect: `klingon`"),
    ('public_key = "11qYAYKx', 'public_key = "!!qYAYKx', "keys[0].public_key"),
    ('consumer = "tax-hall"', 'consumer = "nobody"', "grants[0] (g1).consumer: no consumer or group `nobody`"),
    (
        "[[grants]]",
        '[[consumers]]\nid = "operator"\nname = "x"\n[[grants]]',
        "(operator).id: `operator` and `clock` are reserved",
    ),
    ("[[grants]]", '[[consumers]]\nid = "clock"\nname = "x"\n[[grants]]', "(clock).id: `operator` and `clock` are reserved"),
    (
        "[[grants]]",
        '[[groups]]\nid = "operator"\nname = "x"\nmembers = []\n[[grants]]',
        "(operator).id: `operator` and `clock`",
    ),
    ('interface = "national.person.basic"', 'interface = "nothing"', "grants[0] (g1).interface: no interface `nothing`"),
    ('fields = ["name"]', 'fields = ["name", "salary"]', "fields: `salary` is not a field"),
    ('fields = ["name"]', "fields = []", "grants[0] (g1).fields"),
    ("valid_from = 2020-01-01T00:00:00Z", "valid_from = 2020-01-01T00:00:00", "grants[0] (g1).valid_from"),
    ("valid_until = 2099", "valid_until = 2019", "valid_until: must be later"),
    ("[[grants]]", "[[favours]]\nx = 1\n[[grants]]", "unknown key `favours`"),
    ("[[grants]]", "[grants]", "`grants` must be an array of tables"),
    ("[[grants]]", "[[grants", "not valid TOML"),
]


def write(directory: Path, content: str, name: str = "all.toml") -> Path:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(content, encoding="utf-8")
    return directory


def _refused(directory: Path) -> tuple[str, ...]:
    with pytest.raises(CatalogueRefused) as refusal:
        read_valid(directory)
    return refusal.value.problems


def test_a_good_directory_is_read(tmp_path: Path) -> None:
    catalogue = read_valid(write(tmp_path, GOOD))
    assert [grant.id for grant in catalogue.grants] == ["g1"]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN, ids=[row[2] for row in BROKEN])
def test_each_error_names_file_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    problems = _refused(write(tmp_path, GOOD.replace(old, new, 1)))
    assert any(said in problem for problem in problems), problems
    assert all(problem.startswith("all.toml") for problem in problems)


def test_every_error_is_listed_not_only_the_first(tmp_path: Path) -> None:
    broken = GOOD.replace('level = "NATIONAL"', "level = 3\nx = 1").replace('type = "person_name"', "type = 4")
    write(tmp_path, broken.replace('fields = ["name"]', "fields = 5"))
    write(tmp_path, "no toml", "second.toml")
    problems = _refused(tmp_path)
    for said in ("[0] (national.police).level", "(national.police).x", ".answer.name.type", "(g1).fields", "second.toml"):
        assert sum(said in problem for problem in problems) == 1, problems


def test_duplicates_across_files_are_found(tmp_path: Path) -> None:
    write(write(tmp_path, GOOD), GOOD, "copy.toml")
    problems = _refused(tmp_path)
    assert len([p for p in problems if "stands already at all.toml" in p]) == 4


def test_an_empty_directory_is_not_an_empty_catalogue(tmp_path: Path) -> None:
    with pytest.raises(DirectoryUnusable):
        read_valid(tmp_path)


@pytest.mark.parametrize("url", ["https://city.example", "http://10.0.0.1:65535", "http://[2001:db8::1]", "http://[::1]:8080"])
def test_an_address_may_have_a_port_and_may_be_ipv6(tmp_path: Path, url: str) -> None:
    (provider,) = read_valid(write(tmp_path, GOOD.replace("http://127.0.0.1:1", url))).providers
    assert provider.endpoint == HttpEndpoint(base_url=url)


def _type(struct: type, field: str) -> Any:
    return get_type_hints(struct, include_extras=True)[field]


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (Identifier, "a.b-1"),
        (FieldName, "name"),
        (Code, "A/1"),
        (HeaderText, "R990101"),
        (FileName, "a.key"),
        (_type(HttpEndpoint, "base_url"), "http://a"),
        (_type(HttpEndpoint, "secret_path"), "/secret"),
        (_type(HttpOperation, "path"), "/a"),
        (_type(GrpcOperation, "method"), "/a.B/C"),
        (_type(ConsumerKey, "public_key"), "A" * 43 + "="),
    ],
)
def test_a_line_end_is_not_part_of_a_name(kind: Any, good: str) -> None:
    assert msgspec.convert(good, kind) == good
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(f"{good}\n", kind)
