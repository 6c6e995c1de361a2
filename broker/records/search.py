"""Searches for people in record bases, as the exchange knows them: candidates, what is advised over all, what is searched by.

What must not go in here: how candidates are found (searchers.py), and who may search (search.py above the exchange).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from broker.model.call import Decision
from broker.model.catalogue import BaseDeclaration, RecordsOperation
from broker.records.rows import Record
from broker.records.store import Bases

if TYPE_CHECKING:
    from broker.records.searchers import Searchers

REVIEW_PROBABILITY = 0.05  # what is less likely is not worth a clerk's look, and nobody's business


class Found(NamedTuple):
    """One candidate."""

    record: Record
    probability: float  # that it is the one meant
    decision: Decision
    guards: tuple[str, ...]  # what lowered the decision: CONTRADICTION, KIN, NAMESAKE


class Decided(Protocol):
    """Whatever has a decision."""

    @property
    def decision(self) -> Decision:
        """What is advised on it."""
        ...


class Searches:
    """The bases that this process searches, opened when the first search comes. For one event loop."""

    def __init__(self, bases: Bases) -> None:
        self._bases = bases
        self._searchers: Searchers | None = None

    def search(self, base: BaseDeclaration, known: Mapping[str, str], most: int, least: float) -> list[Found]:
        """Return who may be meant by known fields of a base, the likeliest first; none that is not worth a clerk's look.

        Raises:
            BaseUnusable: there is nothing to search, or its index is not of the records.
        """
        if self._searchers is None:
            from broker.records.searchers import Searchers  # noqa: PLC0415 - numpy and Arrow: 45 MB that most cores never need

            self._searchers = Searchers(self._bases)
        return self._searchers.search(base, known, most, max(least, REVIEW_PROBABILITY))

    def close(self) -> None:
        """Close all."""
        if self._searchers is not None:
            self._searchers.close()


def advice(candidates: Iterable[Decided]) -> Decision:
    """Return the advice over all candidates: that of the best."""
    return min((one.decision for one in candidates), default=Decision.NONE)


def searched_fields(base: BaseDeclaration, operation: RecordsOperation, names: Sequence[str]) -> Collection[str]:
    """Return those of an interface's fields that a base is searched by."""
    searched = set(base.search.fields().values()) if base.search else set()
    return [name for name in names if operation.fields.get(name, name) in searched]
