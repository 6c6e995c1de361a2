"""What tests of `broker link` share: running the command in this process, people in files, and whose each row is.

What must not go in here: tests.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest

from broker.cli.main import main
from broker.demo.synthetic import Register
from broker.linkage import estimate
from tests.synthetic_kit import population

PEOPLE, SEED = 1_000, 17
FIELDS = ("resident_id", "name", "sex", "birth_date", "address", "phone")
CHINESE = ("公民身份号码", "姓名", "性别", "出生日期", "住址", "联系电话")


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


Run = Callable[..., Done]


@contextmanager
def few_random_pairs() -> Iterator[None]:
    """Compare fewer strangers than models of millions need, which is most of the time of training on a thousand rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "RANDOM_PAIRS", 100_000)
        yield


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs `broker link` with arguments."""

    def running(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["broker", "link", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "250")
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return running


@functools.cache
def people() -> tuple[pa.Table, pa.Table]:
    """Return records and the register, as text, with a column `key` that is the person's own in both (d… and p…)."""
    tables = population(people=PEOPLE, seed=SEED)
    whose = (tables[Register.TRUTH]["person_no"], tables[Register.POPULATION]["person_no"])
    columns = [tables[register].select(FIELDS) for register in (Register.OBSERVED, Register.POPULATION)]
    return (_keyed(columns[0], "d", whose[0]), _keyed(columns[1], "p", whose[1]))


def _keyed(table: pa.Table, letter: str, whose: pa.ChunkedArray) -> pa.Table:
    keys = pa.array([f"{letter}{number}" for number in whose.to_pylist()])
    text = pa.table({name: table[name].cast(pa.string()) for name in FIELDS})
    return text.append_column("key", keys)


def in_both() -> int:
    """How many people have a record and are in the register."""
    register = {key[1:] for key in people()[1]["key"].to_pylist()}
    return sum(key[1:] in register for key in people()[0]["key"].to_pylist())


def write(file: Path, table: pa.Table, names: Sequence[str] | None = None, encoding: str = "utf-8") -> Path:
    """Write a table as its name says, in an encoding, under other names."""
    table = table.rename_columns([*(names or table.column_names)])
    match file.suffix:
        case ".parquet":
            pq.write_table(table, file)
        case ".jsonl":
            rows = ({name: value for name, value in row.items() if value is not None} for row in table.to_pylist())
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        case _:
            pv.write_csv(table, file)
            file.write_bytes(file.read_bytes().decode().encode(encoding))
    return file


def read(file: Path) -> list[dict[str, Any]]:
    """Read what the command wrote."""
    match file.suffix:
        case ".parquet":
            return list(pq.read_table(file).to_pylist())
        case ".jsonl":
            return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        case _:
            return list(pv.read_csv(file).to_pylist())


def f1(pairs: list[dict[str, Any]], truth: int) -> float:
    """Judge links by their keys."""
    links = [pair for pair in pairs if pair["decision"] == "link"]
    right = sum(pair["left_key"][1:] == pair["right_key"][1:] for pair in links)
    return 2 * right / (len(links) + truth)
