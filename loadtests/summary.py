"""Tells what a run did, for people. What must not go in here: counting and judging (tally.py)."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from loadtests.tally import Result


def show(console: Console, result: Result, national_asked: int | None) -> None:
    """Print a run. `national_asked` is how often the national departments say they were asked; None: nobody knows."""
    run = result.run
    console.print(
        f"one day in {run['seconds']:g} s: compressed {run['factor']:,.0f} times,"
        f" {run['office_rate']:,.0f} calls/s in office hours, {run['due']:,.0f} calls due;"
        f" {run['users']:g} windows; load generator at {run['client_cpu_ratio']:.0%} of a core"
    )
    table = Table(show_header=False)
    for what, told in _rows(result).items():
        table.add_row(what, told)
    console.print(table)
    console.print(in_the_words_of_the_field(result, national_asked))
    for example in result.examples:
        console.print(f"  broken: {example}")
    for problem in result.problems():
        console.print(f"  FAILED: {problem}")


def _rows(result: Result) -> dict[str, str]:
    national = result.levels.get("NATIONAL", 0) / max(1, result.answered)
    return {
        "answered": f"{result.answered:,}, of {len(result.interfaces)} interfaces, to {len(result.consumers)} consumers",
        "by level": f"{_counts(result.levels)}; national {national:.1%}",
        "by source": _counts(result.sources),
        "outcomes": _counts(result.outcomes),
        "over the rate": f"{result.over_rate:,} (RESOURCE_EXHAUSTED, a proper answer)",
        "failures": _counts(result.failures) or "0",
        "invariants": f"{result.checked:,} checked, {sum(result.broken.values()):,} failed",
    } | {f"latency, {source.lower()}": _times(times) for source, times in result.percentiles_ms.items()}


def _times(times: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {ms:.2f} ms" for name, ms in times.items())


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.lower()} {count:,}" for name, count in sorted(counts.items()))


def in_the_words_of_the_field(result: Result, national_asked: int | None) -> str:
    """Say it as such platforms report: services provided, national interfaces called, and what the broker kept off them."""
    national = result.levels.get("NATIONAL", 0)
    known = national_asked is not None
    asked = national_asked if national_asked is not None else result.national_sources.get("UPSTREAM", 0)
    counted = "by the departments' own count" if known else "by the answers' provenance"
    return (
        f"{result.answered:,} data services provided, national interfaces called {national:,} times,"
        f" of which {max(0, national - asked):,} were spared the provider ({counted})"
    )
