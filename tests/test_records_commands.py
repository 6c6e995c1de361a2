"""`broker records`: what files become, what is refused, and that nobody ever sees half a base."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import sqlalchemy

from broker.records.generations import CURRENT, writing
from tests.support import records
from tests.support.people import resident_id
from tests.support.records import BASE, DEAD, GONE, HEADING, ROWS, WHO, write_csv
from tests.support.running import RunningBroker, wait_until


@pytest.fixture
def broker(tmp_path: Path) -> RunningBroker:
    """Settings and a control plane; no broker needs to run."""
    found = RunningBroker(tmp_path)
    found.apply(records.catalogue())
    return found


def run(broker: RunningBroker, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return broker.run_here("records", *map(str, arguments))


def facts(broker: RunningBroker, *arguments: str | Path) -> dict[str, Any]:
    done = run(broker, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def held(broker: RunningBroker) -> dict[str, dict[str, Any]]:
    """Everything in the base, by key, as it is exported."""
    into = broker.directory / "held.jsonl"
    facts(broker, "export", BASE, "--into", into)
    rows = [json.loads(line) for line in into.read_text(encoding="utf-8").splitlines()]
    return {row["resident_id"]: row for row in rows}


LICENCES = {
    "resident_id": {"type": "licence_no", "title": "证照号", "required": True},
    "name": {"type": "text", "required": True},
}


# --- what files become --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_csv_is_loaded_in_the_encoding_it_has(broker: RunningBroker, tmp_path: Path, encoding: str) -> None:
    found = facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS, encoding=encoding))
    assert (found["rows"], found["stored"], found["bad_rows"]) == (3, 3, 0)
    assert held(broker)[WHO] == {
        "resident_id": WHO,
        "name": "张伟明",
        "birth_date": "1980-01-01",
        "address": "云鹤市松涛区建设路12号3栋2单元501室",
        "status": "正常",
        "until": "2099-12-31",
    }
    assert held(broker)[DEAD]["address"] is None, "an empty cell is nothing"


def test_columns_may_have_the_names_of_fields_and_stand_in_any_order(broker: RunningBroker, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", f"张三;x;{WHO}", heading="name;remark;resident_id")
    found = facts(broker, "load", BASE, file)
    assert (found["stored"], found["left_out_columns"]) == (1, {"a.csv": ["remark"]})
    assert held(broker)[WHO]["name"] == "张三"


def test_json_lines_and_parquet_and_several_files(broker: RunningBroker, tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({"resident_id": WHO, "name": "张三", "birth_date": 19800101}) + "\n\n", encoding="utf-8")
    table = pa.table({"resident_id": [DEAD], "name": ["李四"], "birth_date": pa.array([0], pa.date32())})
    pa.parquet.write_table(table, tmp_path / "b.parquet")
    found = facts(broker, "load", BASE, lines, tmp_path / "b.parquet", write_csv(tmp_path / "c.csv", ROWS[2]))
    assert found["stored"] == 3
    assert [row["birth_date"] for row in held(broker).values()] == ["19800101", "1970-01-01", "19800103"]


def test_what_a_database_holds_is_loaded(broker: RunningBroker, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'city.db'}"
    with sqlalchemy.create_engine(url).begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE person (id TEXT, xm TEXT)"))
        connection.execute(sqlalchemy.text("INSERT INTO person VALUES (:id, '张三')"), {"id": WHO})
    query = "SELECT id AS resident_id, xm AS name FROM person"
    assert facts(broker, "load", BASE, "--from-sql", url, "--query", query)["stored"] == 1
    assert held(broker)[WHO]["name"] == "张三"
    refused = run(broker, "load", BASE, "--from-sql", url, "--query", "SELECT nothing FROM person")
    assert (refused.returncode, "cannot be asked" in refused.stderr) == (17, True)


def test_keys_are_canonical_and_values_as_written(broker: RunningBroker, tmp_path: Path) -> None:
    wide = WHO.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789X"})
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", f"{wide},阿依古丽•买买提,1980年1月1日,,,不知道"))
    assert held(broker)[wide]["name"] == "阿依古丽•买买提"
    found = facts(broker, "upsert", BASE, write_csv(tmp_path / "b.csv", f"{WHO},张三,,,,"))
    assert (found["added"], found["replaced"]) == (0, 1)


def test_values_without_canonical_form_are_kept_and_counted(broker: RunningBroker, tmp_path: Path) -> None:
    found = facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", f"{WHO},张三,不详,,,"))
    assert (found["stored"], found["kept_as_written"]) == (1, {"birth_date": 1})
    assert held(broker)[WHO]["birth_date"] == "不详"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_is_exported_can_be_loaded(broker: RunningBroker, tmp_path: Path, kind: str) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    before = held(broker)
    facts(broker, "export", BASE, "--into", tmp_path / f"b.{kind}")
    assert facts(broker, "load", BASE, tmp_path / f"b.{kind}")["stored"] == 3
    assert held(broker) == before


@pytest.mark.parametrize("before", ["\n", "\n\n"], ids=["one", "two"])
def test_zeros_at_the_beginning_stay_below_blank_lines(broker: RunningBroker, tmp_path: Path, before: str) -> None:
    broker.apply(records.catalogue(bases=(records.base(fields=LICENCES),), interfaces=()))
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", "00123,0571", heading=f"{before}resident_id,name"))
    assert list(held(broker)) == ["00123"]
    assert held(broker)["00123"]["name"] == "0571"


def test_json_lines_may_each_have_other_fields(broker: RunningBroker, tmp_path: Path) -> None:
    lines = [{"公民身份号码": WHO, "姓名": "张三", "x": 1}, {"resident_id": DEAD, "name": "李四", "status": "死亡", "y": None}]
    (tmp_path / "a.jsonl").write_text("\n" + "\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = facts(broker, "load", BASE, tmp_path / "a.jsonl")
    assert (found["stored"], sorted(found["left_out_columns"]["a.jsonl"])) == (2, ["x", "y"])
    assert (held(broker)[WHO]["name"], held(broker)[DEAD]["status"]) == ("张三", "死亡")


def test_an_export_is_for_its_owner_and_takes_its_place_whole(broker: RunningBroker, tmp_path: Path) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    into = tmp_path / "out.csv"
    into.write_text("before")
    data = generation(broker) / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole.replace("李娜".encode(), "李娘".encode()))
    assert run(broker, "export", BASE, "--into", into).returncode == 5
    assert into.read_text() == "before"
    data.write_bytes(whole)
    facts(broker, "export", BASE, "--into", into)
    assert (into.stat().st_mode & 0o777, len(into.read_text(encoding="utf-8").splitlines())) == (0o600, 4)
    assert not list(tmp_path.glob(".*.part"))


# --- what is refused ----------------------------------------------------------------------------------------------------

BAD = {
    "no key": (f",{ROWS[0].partition(',')[2]}", "resident_id", "is required"),
    "a key without canonical form": (ROWS[0].replace(WHO, WHO[:-1] + "?"), "resident_id", "must be a resident id"),
    "a required field": (f"{WHO},,,,,", "name", "is required"),
    "a control character": (f"{WHO},张\x01三,,,,", "name", "must not contain control characters"),
    "a line break in a name": (f'{WHO},"张\n三",,,,', "name", "must not contain control characters"),
    "a long one": (f"{WHO},{'张' * 65_536},,,,", "name", "must not be longer than 4096 characters"),
    "a key twice": (ROWS[0].replace("张伟明", "李四"), "key", "stands in an earlier row already"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_told_and_nothing_changes(broker: RunningBroker, tmp_path: Path, name: str) -> None:
    row, field, rule = BAD[name]
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", ROWS[2]))
    file = write_csv(tmp_path / "b.csv", ROWS[0], row)
    report = tmp_path / "bad.json"
    done = run(broker, "load", BASE, file, "--bad-rows", report)
    assert done.returncode == 17
    assert f"b.csv: row 2: {field}: {rule}" in done.stderr
    (told,) = json.loads(report.read_text(encoding="utf-8"))
    assert (told["file"], told["row"], told["field"]) == ("b.csv", 2, field)
    assert not any(value in done.stderr + report.read_text(encoding="utf-8") for value in (WHO, "李四", "张"))
    assert set(held(broker)) == {GONE}, "what was there before"
    found = facts(broker, "load", BASE, file, "--allow-bad", "1", "--bad-rows", tmp_path / "bad.csv")
    assert (found["rows"], found["stored"], found["bad_rows"]) == (2, 1, 1)
    assert (tmp_path / "bad.csv").read_text(encoding="utf-8-sig").splitlines()[0] == "file,row,field,rule"
    assert held(broker)[WHO]["name"] == "张伟明"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("a.csv", "姓名\n张三\n".encode(), "lacks columns", id="no key column"),
        pytest.param("a.csv", f"{HEADING},resident_id\n".encode(), "two columns are the same field", id="a column twice"),
        pytest.param("a.csv", b"resident_id,name,name\n", "two columns have one name", id="one name twice"),
        pytest.param("a.csv", HEADING.encode() + b"\n", "no row is left", id="no rows"),
        pytest.param("a.csv", b"\xff\xfe\x00", "is neither UTF-8 nor GB18030", id="neither encoding"),
        pytest.param("a.csv", "\n".join((HEADING, *ROWS * 9000)).encode() + b"\n,\xff,,,,\n", "with --encoding", id="late"),
        pytest.param("a.csv", f"{HEADING}\n{ROWS[0]},1,2\n".encode(), "is not what its name says", id="a cell too many"),
        pytest.param("a.jsonl", b"{", "is not what its name says", id="not JSON"),
        pytest.param("a.jsonl", b'{"resident_id": "1", "name": "a"}\n[1]\n', "is not what its name says", id="no object"),
        pytest.param("a.parquet", b"PAR1", "is not what its name says", id="not Parquet"),
        pytest.param("a.xlsx", b"", "must be one of", id="another kind"),
    ],
)
def test_files_that_cannot_be_read_are_refused(
    broker: RunningBroker, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "good.csv", ROWS[2]))
    (tmp_path / name).write_bytes(content)
    done = run(broker, "load", BASE, tmp_path / name)
    assert (done.returncode, says in done.stderr) == (17, True), done.stderr
    assert set(held(broker)) == {GONE}


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array([b"1"]), id="bytes"),
        pytest.param(pa.array([["a"]]), id="a list"),
        pytest.param(pa.array([3.3e17]), id="a number that was rounded"),
        pytest.param(pa.array([10**9], pa.date32()), id="a day that no calendar has"),
    ],
)
def test_what_has_no_text_is_refused(broker: RunningBroker, tmp_path: Path, column: pa.Array) -> None:
    pa.parquet.write_table(pa.table({"resident_id": [WHO], "name": ["张三"], "status": column}), tmp_path / "a.parquet")
    done = run(broker, "load", BASE, tmp_path / "a.parquet")
    assert (done.returncode, "is not what its name says" in done.stderr) == (17, True)


def test_the_same_key_twice_in_a_change_is_wrong(broker: RunningBroker, tmp_path: Path) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    done = run(broker, "upsert", BASE, write_csv(tmp_path / "b.csv", f"{WHO},张三,,,,", f"{WHO},李四,,,,"))
    assert (done.returncode, "row 2: key: stands in an earlier row already" in done.stderr) == (17, True)
    assert held(broker)[WHO]["name"] == "张伟明"


def test_the_command_says_what_it_needs(broker: RunningBroker, tmp_path: Path) -> None:
    assert run(broker, "load", BASE).returncode == 2
    good = write_csv(tmp_path / "good.csv", *ROWS)
    assert "is not in the encoding" not in run(broker, "load", BASE, good, "--encoding", "no-such").stderr
    assert run(broker, "load", BASE, good, "--encoding", "no-such").returncode == 2
    assert "declared are: population" in run(broker, "load", "other", tmp_path / "a.csv").stderr
    assert run(broker, "load", BASE, tmp_path / "no.csv").returncode == 5
    assert "run `broker records load`" in run(broker, "check", BASE).stderr
    assert (
        "must not contain a password" in run(broker, "load", BASE, "--from-sql", "postgresql://a:b@c/d", "--query", "x").stderr
    )
    assert "nothing has been loaded" in json.loads(run(broker, "stat", "--json").stdout)["bases"][0]["state"]


# --- changes ------------------------------------------------------------------------------------------------------------


def test_records_are_put_in_replaced_and_taken_out(broker: RunningBroker, tmp_path: Path) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    new = resident_id(7)
    file = write_csv(tmp_path / "b.csv", f"{WHO},张三,,,,", f"{new},李四,,,,")
    found = facts(broker, "upsert", BASE, file)
    assert (found["added"], found["replaced"]) == (1, 1)
    assert (held(broker)[WHO]["name"], held(broker)[new]["name"]) == ("张三", "李四")
    keys = write_csv(tmp_path / "c.csv", new, resident_id(8), heading="resident_id")
    found = facts(broker, "delete", BASE, keys)
    assert (found["removed"], found["absent"]) == (1, 1)
    assert set(held(broker)) == {WHO, DEAD, GONE}


def test_a_change_with_a_bad_row_changes_nothing(broker: RunningBroker, tmp_path: Path) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    before = held(broker)
    assert run(broker, "upsert", BASE, write_csv(tmp_path / "b.csv", f"{WHO},张三,,,,", "x,y,,,,")).returncode == 17
    assert run(broker, "delete", BASE, write_csv(tmp_path / "c.csv", WHO, "x", heading="resident_id")).returncode == 17
    assert held(broker) == before


def test_only_one_writes_at_a_time(broker: RunningBroker, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", *ROWS)
    facts(broker, "load", BASE, file)
    with writing(tmp_path / "data" / "records" / BASE):
        for verb in ("load", "upsert", "delete"):
            done = run(broker, verb, BASE, file)
            assert (done.returncode, "is being written by another process" in done.stderr) == (16, True)
    assert facts(broker, "upsert", BASE, file)["replaced"] == 3


# --- damage, drift, and being killed ------------------------------------------------------------------------------------


def generation(broker: RunningBroker) -> Path:
    directory = broker.directory / "data" / "records" / BASE
    return directory / (directory / CURRENT).read_text().strip()


def test_damage_is_found(broker: RunningBroker, tmp_path: Path) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    assert facts(broker, "check", BASE)["damaged"] == 0
    data = generation(broker) / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole.replace("张伟明".encode(), "张伟朋".encode()))
    done = run(broker, "check", BASE)
    assert (done.returncode, "1 of 3 records are damaged" in done.stderr) == (17, True)
    data.write_bytes(whole[: len(whole) // 2])
    assert run(broker, "check", BASE).returncode == 5
    data.write_bytes(b"\xff" * 8192 + whole[8192:])
    assert run(broker, "check", BASE).returncode == 5


DRIFTS = {
    "another key": ({"key": ["name"]}, "under another key"),
    "a new field that is required": ({"phone": {"type": "text", "required": True}}, "without the field `phone`"),
    "another type": ({"birth_date": {"type": "text"}}, "the field `birth_date` was of type date"),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_a_declaration_that_no_longer_fits_is_told(broker: RunningBroker, tmp_path: Path, name: str) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    change, says = DRIFTS[name]
    fields = {key: {"type": field.type, "required": field.required} for key, field in records.base().fields.items()}
    changed = records.base(**(change if "key" in change else {"fields": fields | change}))
    broker.apply(records.catalogue(bases=(changed,), interfaces=()))
    done = run(broker, "check", BASE)
    assert (done.returncode, says in done.stderr) == (5, True), done.stderr
    assert says in json.loads(run(broker, "stat", "--json").stdout)["bases"][0]["state"]


def test_a_new_field_that_is_not_required_is_not_held(broker: RunningBroker, tmp_path: Path) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    fields = {key: {"type": field.type, "required": field.required} for key, field in records.base().fields.items()}
    broker.apply(records.catalogue(bases=(records.base(fields=fields | {"phone": {"type": "text"}}),)))
    assert facts(broker, "check", BASE)["damaged"] == 0


def declared(broker: RunningBroker, more: dict[str, Any], *less: str) -> None:
    """Declare the base with other fields, and no interface that would miss one."""
    fields = {key: {"type": field.type, "required": field.required} for key, field in records.base().fields.items()}
    fields = {name: field for name, field in (fields | more).items() if name not in less}
    broker.apply(records.catalogue(bases=(records.base(fields=fields),), interfaces=()))


def test_what_is_put_in_after_the_declaration_has_changed_is_read_right(broker: RunningBroker, tmp_path: Path) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    file = write_csv(tmp_path / "b.csv", f"{WHO},张三,,,死亡,", heading="resident_id,name,birth_date,address,status,until")
    declared(broker, {}, "address")
    facts(broker, "upsert", BASE, file)
    assert (held(broker)[WHO]["name"], held(broker)[WHO]["status"], held(broker)[WHO]["address"]) == ("张三", "死亡", None)
    declared(broker, {"phone": {"type": "text"}})
    done = run(broker, "upsert", BASE, file)
    assert (done.returncode, "before it had the field `phone`" in done.stderr) == (17, True)
    assert facts(broker, "check", BASE)["damaged"] == 0


def test_a_field_that_has_become_required_needs_another_load(broker: RunningBroker, tmp_path: Path) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    declared(broker, {"address": {"type": "address", "required": True}})
    assert "the field `address` was not required" in run(broker, "check", BASE).stderr


def test_a_generation_that_has_gone_is_loaded_anew(broker: RunningBroker, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", *ROWS)
    facts(broker, "load", BASE, file)
    shutil.rmtree(generation(broker))
    assert run(broker, "upsert", BASE, file).returncode == 5
    for _ in range(2):
        facts(broker, "load", BASE, file)
        assert set(held(broker)) == {WHO, DEAD, GONE}


def test_a_refused_load_removes_nothing_when_it_is_not_known_what_is_read(broker: RunningBroker, tmp_path: Path) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    kept, current = generation(broker), generation(broker).parent / CURRENT
    name = current.read_text()
    current.unlink()
    assert run(broker, "load", BASE, write_csv(tmp_path / "b.csv", "x")).returncode == 17
    assert kept.exists()
    current.write_text(name)
    assert set(held(broker)) == {WHO, DEAD, GONE}


@pytest.mark.parametrize("after_s", [0.0, 0.5])
def test_a_load_that_is_killed_leaves_what_was_there(broker: RunningBroker, tmp_path: Path, after_s: float) -> None:
    facts(broker, "load", BASE, write_csv(tmp_path / "a.csv", *ROWS))
    many = (f"{resident_id(n % 1000, f'{1930 + n // 1000}0101')},张三,,,," for n in range(60_000))
    file = write_csv(tmp_path / "b.csv", *many)
    directory = broker.directory / "data" / "records" / BASE
    process = subprocess.Popen(broker.command("records", "load", BASE, str(file)), env={**os.environ, **broker.environment})
    wait_until(lambda: process.poll() is not None or len([p for p in directory.iterdir() if p.name.isdecimal()]) > 1)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(held(broker)) in (3, 60_000)
    assert facts(broker, "check", BASE)["damaged"] == 0
    assert facts(broker, "load", BASE, tmp_path / "a.csv")["stored"] == 3
    assert [path.name for path in directory.iterdir() if path.name.isdecimal()] == [generation(broker).name], "nothing left"
