"""`python -m bench [NAME…] [--rounds N] [--json FILE]`: runs benchmarks and prints a table each. `'front*'` names several.

Exit code 0 even when some are skipped (each says why), 1 when a round did not do what it measures. What must not go in here:
benchmarks (a file each) and how they are run (runner.py).
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
from pathlib import Path

from rich.console import Console

from bench import machine, report, runner
from bench.benchmark import Benchmark, Skipped, Wrong
from bench.runner import BenchmarkResult

_console = Console(width=None if sys.stdout.isatty() else 120)
_progress = Console(stderr=True)


def _arguments(known: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Compares the broker, or a part of it, with others.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones, of {', '.join(known)}; all of them without")
    parser.add_argument("--rounds", type=_rounds, default=runner.DEFAULT_ROUNDS, help="after one that is thrown away")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to this file too")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if not fnmatch.filter(known, name)]:
        parser.error(f"no benchmark `{unknown[0]}`; there are {', '.join(known)}")
    arguments.names = [found for name in arguments.names for found in fnmatch.filter(known, name)]
    return arguments


def _rounds(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> int:
    """Run what was asked for."""
    known = runner.discover()
    arguments = _arguments(list(known))
    machine.pin_load()
    _say_where()
    try:
        results = [result for name in arguments.names or known if (result := _one(name, known[name], arguments.rounds))]
    except Wrong as error:
        sys.stderr.write(f"bench: a round did not do what it measures: {error}\n")
        return 1
    if arguments.json:
        report.write_all(results, arguments.json)
    return 0


def _say_where() -> None:
    pinned = f"servers on core {machine.SERVER_CORE}, load on core {machine.LOAD_CORE}"
    facts = machine.facts()
    _console.print(f"{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}; ", end="", highlight=False)
    _console.print(pinned if machine.PINNED else "not pinned: that needs two cores and Linux", highlight=False)


def _one(name: str, benchmark: Benchmark, rounds: int) -> BenchmarkResult | None:
    try:
        with _progress.status(name) as status:
            result = runner.run(name, benchmark, rounds, lambda what: status.update(f"{name} {what}"))
    except Skipped as why:
        _console.print(f"{name}: skipped: {why}", highlight=False)
        return None
    file = report.write(result)
    _console.print(report.table(result))
    _console.print(f"{report.sizes(result)}\n{os.path.relpath(file)}", highlight=False, soft_wrap=True)
    return result


if __name__ == "__main__":
    raise SystemExit(main())
