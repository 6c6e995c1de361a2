"""What is in force, written as a directory: applied it changes nothing, whatever the values."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.demo.catalogue import Addresses, write_catalogue
from broker.demo.consumers import CONSUMERS
from broker.model import toml
from broker.model.catalogue import Catalogue, Group, HttpEndpoint, Provider, Resource
from broker.policy import export, resource_rows, spreadsheet
from broker.policy.directory import read
from broker.policy.resource_rows import Surroundings
from tests.support.catalogue import grant, interface, provider
from tests.support.running import RunningBroker

KEYS = dict.fromkeys(CONSUMERS, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")  # RFC 8032, test 1
NOWHERE = Addresses("http://127.0.0.1:1", "http://127.0.0.1:1", "127.0.0.1:1", "sqlite+aiosqlite:////nowhere/city.db")


@pytest.fixture
def broker(tmp_path: Path) -> RunningBroker:
    return RunningBroker(tmp_path)


def _json(broker: RunningBroker, *arguments: str | Path) -> Any:
    done = broker.run_here("catalogue", *map(str, arguments), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_was_applied_is_exported_and_applies_to_no_difference(tmp_path: Path, broker: RunningBroker) -> None:
    written = write_catalogue(tmp_path / "demo", NOWHERE, KEYS)
    _json(broker, "apply", tmp_path / "demo")
    told = _json(broker, "export", tmp_path / "out", "--resources-csv", tmp_path / "resources.csv")
    assert (told["resources"], told["interfaces"], told["providers"]) == (892, 62, 52)
    assert {Path(file).name for file in told["files"]} == {
        *(f"{kind}.toml" for kind in ("providers", "resources", "bases", "interfaces", "consumers", "groups", "grants")),
        "resources.csv",
    }
    assert broker.run_here("catalogue", "diff", str(tmp_path / "out")).stdout == "no difference\n"
    assert _json(broker, "apply", tmp_path / "out")["version"] == 1, "applied, it is no new revision"
    _the_csv_is_the_same_resources(tmp_path / "resources.csv", written)


def _the_csv_is_the_same_resources(file: Path, written: Catalogue) -> None:
    around = Surroundings({provider.id: provider.name for provider in written.providers}, {})
    found = resource_rows.resources_of(file.name, spreadsheet.read(file).rows, around)
    assert (found.rows, found.bad, found.ignored) == (892, (), ())
    assert {one.code: one for one in found.resources} == {one.code: one for one in written.resources}


def test_what_is_withheld_is_exported_and_stays_as_it_is(tmp_path: Path, broker: RunningBroker) -> None:
    write_catalogue(tmp_path / "demo", NOWHERE, KEYS)
    _json(broker, "apply", tmp_path / "demo")
    ended = {"pause": "tax-hall.national.tax.income", "revoke": "tax-hall.national.tax.rating"}
    for verb, key in ended.items():
        assert broker.run_here("grant", verb, key, "--reason", "r").returncode == 0
    before = [broker.run_here("grant", "show", key, "--json").stdout for key in ended.values()]
    assert _json(broker, "export", tmp_path / "out")["grants"] == _json(broker, "check", tmp_path / "demo")["grants"]
    difference = _json(broker, "diff", tmp_path / "out")["difference"]
    assert {part: found for part, found in difference.items() if found} == {"withheld": sorted(ended.values())}
    _json(broker, "apply", tmp_path / "out")
    assert [broker.run_here("grant", "show", key, "--json").stdout for key in ended.values()] == before


def test_a_directory_that_holds_toml_is_left_alone(tmp_path: Path, broker: RunningBroker) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.toml").write_text("")
    done = broker.run_here("catalogue", "export", str(tmp_path / "out"))
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.toml"]


@pytest.mark.parametrize("below", ["x", "x/y/z"])
def test_a_directory_within_a_catalogue_is_not_exported_into(tmp_path: Path, broker: RunningBroker, below: str) -> None:
    live = tmp_path / "catalogue"
    export.write(Catalogue(providers=(Provider(id="q", name="某局", level="CITY"),)), live)
    before = sorted(live.rglob("*"))
    done = broker.run_here("catalogue", "export", str(live / below))
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert "which is a catalogue" in done.stderr
    assert sorted(live.rglob("*")) == before, "nothing was made"


def test_toml_of_another_kind_above_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "broker.toml").write_text('[grpc]\naddress = "127.0.0.1:1"\n')
    export.write(Catalogue(), tmp_path / "out")
    assert read(tmp_path / "out").catalogue() == Catalogue()


def test_an_empty_control_plane_is_exported_as_an_empty_catalogue(tmp_path: Path, broker: RunningBroker) -> None:
    _json(broker, "export", tmp_path / "out")
    assert read(tmp_path / "out").catalogue() == Catalogue()


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path, broker: RunningBroker) -> None:
    (tmp_path / "out").touch()
    done = broker.run_here("catalogue", "export", str(tmp_path / "out"))
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)


async def test_a_running_broker_serves_on_from_what_was_exported(tmp_path: Path, broker: RunningBroker) -> None:
    write_catalogue(tmp_path / "demo", NOWHERE, KEYS)
    await asyncio.to_thread(_json, broker, "apply", tmp_path / "demo")
    broker.start()
    try:
        before = await asyncio.to_thread(broker.run, "status", "--json")
        await asyncio.to_thread(_json, broker, "export", tmp_path / "out")
        await asyncio.to_thread(_json, broker, "apply", tmp_path / "out")
        after = await asyncio.to_thread(broker.run, "status", "--json")
        digests = [json.loads(done.stdout)["snapshot_digest"] for done in (before, after)]
        assert digests[0] == digests[1]
    finally:
        assert broker.stop() == 0


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


@settings(deadline=None)  # it writes files, and a busy disk is not what is tested
@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=4), st.floats(0.001, 1e6), st.integers(0, 10**12))
def test_any_text_and_number_survives(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    basis: str,
    constants: dict[str, str],
    rate: float,
    quota: int,
) -> None:
    """Value by value as the directory reads them, before any rule between values."""
    asked = interface(title=name)
    operation = msgspec.structs.replace(asked.operation, parameters={**constants, "id": "{resident_id}"})
    values: dict[str, Any] = {
        "providers": (provider("http://127.0.0.1:1", name=name), Provider(id="q", name=basis, level="CITY")),
        "interfaces": (msgspec.structs.replace(asked, operation=operation, probe={"resident_id": basis}),),
        "groups": (Group(id="g", name=name, members=("a", "b")),),
        "grants": (grant(legal_basis=basis, rate_per_second=rate, quota_per_day=quota),),
    }
    directory = tmp_path_factory.mktemp("any")
    for kind, some in values.items():
        export.write_values(directory / f"{kind}.toml", kind, some)
    contents = read(directory)
    assert contents.problems == []
    assert contents.catalogue() == msgspec.convert(values, Catalogue)


def test_defaults_are_left_out_and_tags_are_not() -> None:
    assert toml.plain(Provider(id="a", name="b", level="CITY", endpoint=HttpEndpoint(base_url="http://x"))) == {
        "id": "a",
        "name": "b",
        "level": "CITY",
        "endpoint": {"connector": "http", "base_url": "http://x"},
    }
    assert toml.plain(Resource(code="A", name="b", provider="c")) == {"code": "A", "name": "b", "provider": "c"}
