"""What a step of the guided tour is, and what it has at hand. What must not go in here: any one step."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from broker.client import AsyncClient, TokenSource
from broker.demo.launch import Demo


class Broken(AssertionError):
    """A step did not do what it says."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one step showed."""

    title: str
    result: str
    source: str = ""
    time_ms: float | None = None
    notes: tuple[str, ...] = ()


class Visitor(NamedTuple):
    """What every step has at hand."""

    demo: Demo
    people: list[dict[str, Any]]  # living residents, none asked about before the tour

    def client(self, consumer: str) -> AsyncClient:
        """Open a consumer's client."""
        return AsyncClient(self.demo.target, TokenSource(consumer, self.demo.key_file(consumer)))


def check(holds: bool, what: str) -> None:
    """Break off the tour if something is not as a step says."""
    if not holds:
        raise Broken(what)
