"""`broker catalogue import`: files become TOML in a directory, or nothing does and what is wrong is listed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from broker.cli.catalogue import read_valid
from tests.support.running import RunningBroker
from tests.test_catalogue_import import CHINESE, METERS, PUPILS, WANTED, as_csv
from tests.xlsx import write_xlsx

PROVIDERS = """
[[providers]]
id = "city.education"
name = "云鹤市教育局"
level = "CITY"

[[providers]]
id = "city.gas"
name = "云鹤市燃气公司"
level = "CITY"
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "providers.toml").write_text(PROVIDERS)
    return tmp_path / "catalogue"


@pytest.fixture
def command(tmp_path: Path, directory: Path) -> Any:
    """Run `broker catalogue import` into the directory."""
    broker = RunningBroker(tmp_path)

    def run(*arguments: str | Path) -> Any:
        return broker.run_here("catalogue", "import", *map(str, arguments), "--into", str(directory), COLUMNS="200")

    return run


def test_files_become_toml_that_can_be_applied_and_imported_again(tmp_path: Path, directory: Path, command: Any) -> None:
    (tmp_path / "教育 2018.csv").write_bytes(as_csv([CHINESE, PUPILS]).encode("gb18030"))
    write_xlsx(tmp_path / "gas.xlsx", [CHINESE, METERS])
    for _ in range(2):
        done = command(tmp_path / "教育 2018.csv", tmp_path / "gas.xlsx", "--json")
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)["files"]
        assert [(fact["rows"], fact["resources"], fact["bad"]) for fact in facts] == [(1, 1, 0), (1, 1, 0)]
    names = {file.name for file in directory.iterdir()}
    assert names == {"providers.toml", "resources-教育-2018.toml", "resources-gas.toml"}
    assert set(read_valid(directory).resources) == set(WANTED)


def test_one_bad_row_and_nothing_is_written_unless_it_is_to_be_skipped(tmp_path: Path, directory: Path, command: Any) -> None:
    (tmp_path / "r.csv").write_text(as_csv([("code", "name", "provider"), ("A/1", "名", "SECRET"), ("B/1", "名", "city.gas")]))
    refused = command(tmp_path / "r.csv", "--bad-rows", tmp_path / "bad.csv")
    assert refused.returncode == 8
    assert "r.csv: row 2: provider: no such provider in the directory" in refused.stderr
    assert "SECRET" not in refused.stderr + (tmp_path / "bad.csv").read_text()
    assert [file.name for file in directory.iterdir()] == ["providers.toml"]
    with (tmp_path / "bad.csv").open(encoding="utf-8-sig", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["file", "row", "column", "rule"],
            ["r.csv", "2", "provider", "no such provider in the directory"],
        ]
    done = command(tmp_path / "r.csv", "--bad-rows", tmp_path / "bad.json", "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert "1 problems" in done.stdout
    assert [bad["row"] for bad in json.loads((tmp_path / "bad.json").read_text())] == [2]
    assert [resource.code for resource in read_valid(directory).resources] == ["B/1"]


def test_an_import_that_would_leave_nothing_leaves_what_was_imported_before(
    tmp_path: Path, directory: Path, command: Any
) -> None:
    rows = [("code", "name", "provider"), ("A/1", "名", "city.gas")]
    for name in ("good.csv", "r.csv"):
        (tmp_path / name).write_text(as_csv(rows))
        assert command(tmp_path / name).returncode == 0
        rows[1] = ("B/1", "名", "city.gas")
    before = {file: file.read_bytes() for file in directory.iterdir()}
    for nothing in ([rows[0]], [rows[0], ("B/1", "名", "nobody")]):
        (tmp_path / "r.csv").write_text(as_csv(nothing))
        done = command(tmp_path / "good.csv", tmp_path / "r.csv", "--skip-bad")
        assert done.returncode == 8
        assert "r.csv: no resource is left to write" in done.stderr
        assert {file: file.read_bytes() for file in directory.iterdir()} == before


def test_a_code_stands_once_in_all_files_together(tmp_path: Path, directory: Path, command: Any) -> None:
    (directory / "resources.toml").write_text('[[resources]]\ncode = "A/1"\nname = "名"\nprovider = "city.gas"\n')
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(
            as_csv([("code", "name", "provider"), ("A/1", "名", "city.gas"), ("B/1", "名", "city.gas")])
        )
    done = command(tmp_path / "one.csv", tmp_path / "two.csv")
    assert "one.csv: row 2: code: stands already at resources.toml: resources[0] (A/1)" in done.stderr
    assert "two.csv: row 3: code: stands already at one.csv" in done.stderr


def test_many_problems_are_shown_in_part_and_written_in_full(tmp_path: Path, command: Any) -> None:
    (tmp_path / "r.csv").write_text(as_csv([("code", "name"), *((f"A/{number}", "名") for number in range(200))]))
    done = command(tmp_path / "r.csv", "--bad-rows", tmp_path / "bad.json")
    assert (done.returncode, len(done.stderr.splitlines())) == (8, 52)
    assert "and 150 more" in done.stderr
    assert len(json.loads((tmp_path / "bad.json").read_text())) == 200


@pytest.mark.parametrize(
    ("name", "code"), [("missing.csv", 5), ("missing.xlsx", 5), ("what.docx", 8), ("empty.csv", 8), ("empty.xlsx", 8)]
)
def test_a_file_that_cannot_be_read_is_a_line_or_two(tmp_path: Path, command: Any, name: str, code: int) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).touch()
    done = command(tmp_path / name)
    assert (done.returncode, done.stderr.count("\n") <= 2) == (code, True), done.stderr
    assert name in done.stderr


def test_names_that_would_collide_and_unknown_encodings_are_refused(tmp_path: Path, command: Any) -> None:
    for name in ("r.csv", "r.xlsx"):
        (tmp_path / name).touch()
    assert command(tmp_path / "r.csv", tmp_path / "r.xlsx").returncode == 2
    for unknown in ("klingon", "undefined", "hex"):
        done = command(tmp_path / "r.csv", "--encoding", unknown)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
