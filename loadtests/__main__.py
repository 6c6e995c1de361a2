"""`python -m loadtests`: runs a profile with Locust against a demonstration of its own, or against a broker that is there.

Exit code 0 only when every invariant held and hardly a call failed. Locust is a process of its own, for it patches the standard
library. What must not go in here: what a profile does (a Locust file each).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console

from broker.demo.launch import Demo, running
from loadtests import summary
from loadtests.settings import Settings
from loadtests.tally import Result

HERE = Path(__file__).parent
PROFILES = ("qiqihar2018",)
DIRECTORY = Path("var/load")  # of the demonstration; the city in it is built once
_console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
_progress = Console(stderr=True)


class Subject(NamedTuple):
    """The broker under load."""

    target: str
    city: Path
    keys: Path
    demo: Demo | None

    def national_asked(self) -> int | None:
        """How often the national departments were asked, if they are ours to ask."""
        return self.demo.simulators.stats("national")["total"] if self.demo else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtests", description="Puts a broker under a day of load and checks every answer.")
    parser.add_argument("--profile", choices=PROFILES, default=PROFILES[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for one day")
    parser.add_argument("--users", type=int, default=120, help="windows at the busiest moment")
    parser.add_argument("--report", type=Path, metavar="DIR", help="default: loadtests/reports/PROFILE-TIME")
    there = parser.add_argument_group("a broker that is there", "with the demonstration's catalogue; all three or none")
    there.add_argument("--target", help="host:port")
    there.add_argument("--city", type=Path, help="the demonstration's city.db")
    there.add_argument("--keys", type=Path, help="directory with CONSUMER.key")
    arguments = parser.parse_args()
    if len({value is None for value in (arguments.target, arguments.city, arguments.keys)}) > 1:
        parser.error("--target, --city and --keys go together")
    return arguments


@contextlib.contextmanager
def _subject(arguments: argparse.Namespace) -> Iterator[Subject]:
    if arguments.target:
        yield Subject(arguments.target, arguments.city, arguments.keys, None)
        return
    with _progress.status("starting") as status, running(DIRECTORY, "", status.update) as demo:
        status.stop()
        yield Subject(demo.target, demo.city, demo.directory / "keys", demo)


def _locust(profile: str, settings: Settings, report: Path) -> int:
    command = [sys.executable, "-m", "locust", "-f", str(HERE / f"{profile}.py"), "--headless", "--only-summary"]
    command += ["--html", str(report / "report.html"), "--csv", str(report / "locust"), "--stop-timeout", "10"]
    with (report / "locust.log").open("wb") as log:
        environment = {**os.environ, **settings.to_environment()}
        done = subprocess.run(command, stdout=log, stderr=log, cwd=HERE.parent, env=environment, check=False)
    return done.returncode


def main() -> int:
    """Run one profile."""
    arguments = _arguments()
    report = arguments.report or HERE / "reports" / f"{arguments.profile}-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
    report.mkdir(parents=True, exist_ok=True)
    file = (report / "result.json").resolve()
    file.unlink(missing_ok=True)
    with _subject(arguments) as subject:
        settings = Settings(
            target=subject.target,
            city=str(subject.city.resolve()),
            keys=str(subject.keys.resolve()),
            seconds=arguments.seconds,
            users=arguments.users,
            result=str(file),
        )
        with _progress.status(f"{arguments.profile}: one day in {arguments.seconds:g} s"):
            code = _locust(arguments.profile, settings, report.resolve())
        asked = subject.national_asked()
    if not file.exists():
        sys.stderr.write(f"loadtests: Locust ended with {code} and left no result; see {report / 'locust.log'}\n")
        return code or 1
    summary.show(_console, msgspec.json.decode(file.read_bytes(), type=Result), asked)
    _console.print(f"report: {os.path.relpath(report)}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
