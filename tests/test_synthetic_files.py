"""The command `broker demo population` and its files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from broker.demo.synthetic import SCHEMAS, LegalRegister, LegalSettings, Register, Settings, blocks, legal_generate
from broker.demo.synthetic.files import Format, write
from tests.synthetic_kit import population, rows

PEOPLE, SEED = 1_500, 11


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "broker.cli.main", "demo", "population", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def _made(out: Path, *arguments: str) -> Any:
    done = _run("--people", str(PEOPLE), "--seed", str(SEED), "--out", str(out), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no bar where nobody looks"
    return json.loads(done.stdout)


def test_the_command_writes_what_the_library_makes(tmp_path: Path) -> None:
    told = _made(tmp_path)
    expected = population(people=PEOPLE, seed=SEED)
    assert told["rows"] == {str(register): expected[register].num_rows for register in Register}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["observed.parquet", "population.parquet", "truth.parquet"]
    for register in Register:
        assert pq.read_table(tmp_path / f"{register}.parquet").equals(expected[register])


def test_the_command_writes_legal_persons(tmp_path: Path) -> None:
    told = _made(tmp_path, "--kind", "legal")
    expected = pa.Table.from_batches(legal_generate(LegalSettings(companies=PEOPLE, seed=SEED), LegalRegister.OBSERVED))
    assert pq.read_table(tmp_path / "companies_observed.parquet").equals(expected)
    assert told["rows"].keys() == {"companies", "companies_observed", "companies_truth"}
    assert told["rows"]["companies"] == PEOPLE
    assert _run("--people", "60000001", "--kind", "legal", "--out", str(tmp_path)).returncode == 2


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, SCHEMAS, blocks(Settings(people=70_000, seed=1)))
    for register in Register:
        first, second = (tmp_path / name / f"{register}.parquet" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(("form", "encoding"), [(Format.CSV, "utf-8"), (Format.CSV_GB18030, "gb18030")])
def test_csv_has_the_same_rows(form: Format, encoding: str, tmp_path: Path) -> None:
    _made(tmp_path, "--format", form)
    for register, table in population(people=PEOPLE, seed=SEED).items():
        with (tmp_path / f"{register}.csv").open(encoding=encoding, newline="") as file:
            found = list(csv.DictReader(file))
        expected = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows(table)]
        assert found == expected


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    settings = Settings(people=100, seed=1)
    write(tmp_path, SCHEMAS, blocks(settings))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def interrupted() -> Any:
        yield from blocks(Settings(people=200, seed=2))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, SCHEMAS, interrupted())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_progress_ends_at_all_the_people(tmp_path: Path) -> None:
    told: list[int] = []
    write(tmp_path, SCHEMAS, blocks(Settings(people=70_000, seed=1)), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 70_000


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = _run("--people", "10", "--out", str(tmp_path / "file"))
    assert done.returncode == 5
    assert done.stderr.count("\n") <= 2
    assert "Traceback" not in done.stderr
    assert _run("--people", "0", "--out", str(tmp_path)).returncode == 2
    assert _run("--out", str(tmp_path)).returncode == 2


def test_the_tour_does_not_import_columns_of_millions() -> None:
    code = "import sys, broker.cli.demo; print([name for name in ('numpy', 'pyarrow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


MEASURE = """
from pathlib import Path
from broker.demo.synthetic import Settings, blocks
def peak():  # not getrusage, which counts what the process was before exec
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
made = blocks(Settings(people=1_000_000, seed=1))
peaks = [(next(made), peak())[1] for _ in range(8)]
print(peaks[3], peaks[7])
"""


def test_memory_does_not_grow_with_the_people() -> None:
    """Peak of resident memory, MiB, after four blocks and after eight."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=100, check=True)
    early, late = map(int, done.stdout.split())
    assert late < 500
    assert late - early < 60
