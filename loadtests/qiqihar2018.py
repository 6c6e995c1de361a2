"""Locust file: a working day of a city's exchange platform, as Qiqihar's was reported for 2018, compressed.

62 interfaces, 25 of them national with 83 % of the calls (780,000 of 940,000), 0.2 calls a second in office hours; consumers
that may see different fields ask about the same subjects. Run by `python -m loadtests`, which sets the variables that
settings.py reads. What must not go in here: anything that another profile would need too.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
from locust import LoadTestShape, events

from loadtests.day import CompressedDay
from loadtests.mix import Mix
from loadtests.settings import Settings
from loadtests.tally import Tally
from loadtests.window import Window, Work, token_sources

NATIONAL_SHARE = 0.83
ABSENT_SHARE = 0.05
OFFICE_RATE = 0.2  # calls a second, before compression

SETTINGS = Settings.from_environment()
DAY = CompressedDay(SETTINGS.seconds, OFFICE_RATE)
TALLY = Tally()


class ServiceWindow(Window):
    """A window of the city's service hall."""

    host = f"{SETTINGS.target}, one day in {SETTINGS.seconds:g} s, compressed {DAY.factor:,.0f} times"  # stands in the report
    work = Work(
        target=SETTINGS.target,
        tokens=token_sources(Path(SETTINGS.keys)),
        mix=Mix(Path(SETTINGS.city), NATIONAL_SHARE, ABSENT_SHARE),
        tally=TALLY,
        rate=DAY.peak_rate / SETTINGS.users,
    )


class OfficeDay(LoadTestShape):
    """Two humps, before noon and after; hardly anybody at night."""

    def tick(self) -> tuple[int, float] | None:
        """Say how many windows are open and how fast they open or close; None ends the run."""
        users = DAY.users(self.get_run_time(), SETTINGS.users)
        return None if users is None else (users, SETTINGS.users)


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    """Look everything up before the day begins, so that it is not taken for time of the broker."""
    ServiceWindow.work.mix.prepare()
    began_s = time.process_time()

    @environment.events.quitting.add_listener
    def finish(**_: Any) -> None:
        result = TALLY.result(_conditions(time.process_time() - began_s))
        Path(SETTINGS.result).write_bytes(msgspec.json.encode(result))
        environment.process_exit_code = 1 if result.problems() else 0


def _conditions(cpu_s: float) -> dict[str, float]:
    return {
        "seconds": SETTINGS.seconds,
        "due": DAY.calls,
        "factor": DAY.factor,
        "office_rate": OFFICE_RATE * DAY.factor,
        "users": SETTINGS.users,
        "client_cpu_ratio": cpu_s / SETTINGS.seconds,
    }
