"""Open searchers: of each base its index, the model that was learnt from it, and what is made of what they find.

The record that is told is read from the base itself, which is the truth; the index only says whose key to look at. What must
not go in here: how likelihoods come about (linkage), files (index.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import structlog

from broker._native.search import Search
from broker.errors import BaseUnusable
from broker.linkage import persons
from broker.model.call import Decision
from broker.model.catalogue import BaseDeclaration
from broker.records.index import Indexes, OpenIndex
from broker.records.person_packing import PersonPacking
from broker.records.search import REVIEW_PROBABILITY, Found
from broker.records.store import Bases

LINK_PROBABILITY = 0.95

_OTHER_NAME, _CONTRADICTED = 1, 2  # guards, as `broker._native.search` has them
_KIN = 2  # the first class of pairs that are no match and agree on much

log = structlog.get_logger("records")


class _Weighed(NamedTuple):
    """What `broker._native.search` says of a candidate."""

    slot: int
    probability: float
    log_odds: float  # its own, whoever else there is
    rival: int
    guard: int
    pattern: int


class Searchers:
    """The bases that this process searches, each opened when it is first asked for. For one event loop."""

    def __init__(self, bases: Bases) -> None:
        self._bases = bases
        self._indexes = Indexes(bases)
        self._open: dict[str, tuple[OpenIndex, Search, PersonPacking]] = {}

    def search(self, base: BaseDeclaration, known: Mapping[str, str], most: int, least: float) -> list[Found]:
        """As `Searches.search`."""
        try:
            index, search, packing = self._searcher(base)
        except BaseUnusable as error:
            log.warning("record base cannot be searched", base=base.id, why=error.why)
            raise
        values = tuple(known.get(field) for field in packing.fields.values())
        found = []
        for candidate in map(_Weighed._make, search.find(values, most, least)):
            key = index.native.key(candidate.slot)
            record = None if key is None else self._bases.record(base, key)
            if record is not None:  # else it was deleted this moment
                found.append(Found(record, candidate.probability, *_decide(candidate)))
        return found

    def close(self) -> None:
        """Close all."""
        self._open.clear()
        self._indexes.close()

    def _searcher(self, base: BaseDeclaration) -> tuple[OpenIndex, Search, PersonPacking]:
        index = self._indexes.of(base)
        held = self._open.get(base.id)
        if held and held[0] is index:
            return held
        if base.search is None:
            raise BaseUnusable(base.id, "is not declared to be searched")
        packing = PersonPacking(base.search)
        learned = packing.recall(index.native.learned())
        table = persons.search_table(learned.model, index.native.facts()["rows"])
        self._open[base.id] = opened = (index, Search(index.native, learned.plan, *table), packing)
        return opened


def _decide(candidate: _Weighed) -> tuple[Decision, tuple[str, ...]]:
    """Advise on one candidate, and tell what lowered the advice. A guarded pair is never as likely as a link."""
    if candidate.probability >= LINK_PROBABILITY:
        return Decision.LINK, ()
    reasons = {
        "CONTRADICTION": candidate.guard == _CONTRADICTED,
        "KIN": candidate.guard == _OTHER_NAME or candidate.rival >= _KIN,
        "NAMESAKE": _alone(candidate.log_odds) >= LINK_PROBABILITY,
    }
    guards = tuple(name for name, holds in reasons.items() if holds)
    return Decision.REVIEW if candidate.probability >= REVIEW_PROBABILITY else Decision.NONE, guards


def _alone(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(min(log_odds, 60.0), -60.0)))
