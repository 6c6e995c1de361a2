"""What the launcher tells the Locust process, in environment variables. What must not go in here: what a profile fixes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple, Self

_PREFIX = "LOADTEST_"


class Settings(NamedTuple):
    """One run."""

    target: str  # host:port of a broker
    city: str  # SQLite file with the register
    keys: str  # directory with <consumer>.key
    seconds: float  # for one day
    users: int  # at the busiest moment
    result: str  # file for what was counted

    def to_environment(self) -> dict[str, str]:
        """Give the variables."""
        return {f"{_PREFIX}{name.upper()}": str(value) for name, value in self._asdict().items()}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables; raises KeyError for one that is missing."""
        read = {name: kind(environment[f"{_PREFIX}{name.upper()}"]) for name, kind in _KINDS.items()}
        return cls(**read)


_KINDS = {"target": str, "city": str, "keys": str, "seconds": float, "users": int, "result": str}
