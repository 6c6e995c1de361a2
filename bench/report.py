"""Tells results: a table for people, JSON for later. What must not go in here: measuring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.table import Table

from bench.runner import BenchmarkResult, CaseResult, ContenderResult, Spread

RESULTS = Path(__file__).parent / "results"
_LARGE = 100  # from here on digits after the point are noise


def table(result: BenchmarkResult) -> Table:
    """Lay out one benchmark: a row a contender."""
    headings = list(dict.fromkeys(heading for case in result.cases for one in case.contenders for heading in one.beside))
    columns = [result.unit, "min–max", *headings, "first against it", "min–max"]
    whole = Table(title=f"{result.name}: {result.title} ({result.rounds} rounds)", title_justify="left")
    for name in ("case", "contender"):
        whole.add_column(name)
    for name in columns:
        whole.add_column(name, justify="right")
    for case in result.cases:
        for one in case.contenders:
            whole.add_row(case.name if one is case.contenders[0] else "", one.name, *_cells(one, headings))
        whole.add_section()
    return whole


def _cells(one: ContenderResult, headings: list[str]) -> list[str]:
    beside = [_number(one.beside[heading].median) if heading in one.beside else "" for heading in headings]
    ratio = [f"{one.ratio.median:.2f} x", _range(one.ratio, "{:.2f}".format)] if one.ratio else ["", ""]
    return [_number(one.value.median), _range(one.value, _number), *beside, *ratio]


def _range(spread: Spread, show: Callable[[float], str]) -> str:
    return f"{show(spread.low)}–{show(spread.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _LARGE else f"{value:.3g}"


def sizes(result: BenchmarkResult) -> str:
    """Tell in one line how big everything was."""
    return "; ".join(f"{case.name}: {_sizes(case)}" for case in result.cases if case.sizes)


def _sizes(case: CaseResult) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in case.sizes.items())


def write(result: BenchmarkResult, directory: Path = RESULTS) -> Path:
    """Write one result to a file of its own and return where."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{result.name}-{result.began:%Y%m%dT%H%M%SZ}.json"
    file.write_bytes(_json(result))
    return file


def write_all(results: list[BenchmarkResult], file: Path) -> None:
    """Write all results of a run to one file."""
    file.write_bytes(_json(results))


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
