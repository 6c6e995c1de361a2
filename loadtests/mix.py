"""Draws who asks what about whom: interfaces by weight, consumers that are granted them, subjects by Zipf's law.

Knows the city as its register has it, so that every drawn question comes with what must be answered. What must not go in here:
Locust, and judging answers (invariants.py).
"""

from __future__ import annotations

import bisect
import functools
import itertools
import random
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from broker.demo.city import absent_resident_id, absent_uscc, open_city
from broker.demo.consumers import RIGHTS, Right
from broker.demo.interfaces import QUESTIONS, absent_value, sample_arguments
from broker.demo.question import Question
from broker.demo.vocabulary import WORDS
from broker.model.catalogue import Level, SemanticType

SUBJECTS = 1_000  # of each interface: with Zipf's law the later ones are hardly asked for
ZIPF_EXPONENT = 1.0
_SERIAL = {SemanticType.RESIDENT_ID: absent_resident_id, SemanticType.USCC: absent_uscc}


class Asked(NamedTuple):
    """One question, who asks it by which right, and the register's own record of it; None: there is none."""

    consumer: str
    right: Right
    question: Question
    arguments: Mapping[str, str]
    record: Mapping[str, Any] | None

    @property
    def granted(self) -> frozenset[str]:
        """Fields that the consumer may see."""
        return frozenset(self.right.fields.split() or self.question.answer)


class Zipf:
    """Draws ranks from 0, the first most often."""

    def __init__(self, count: int, draw: random.Random) -> None:
        self._bounds = list(itertools.accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(count)))
        self._draw = draw

    def rank(self) -> int:
        """Draw one."""
        return bisect.bisect(self._bounds, self._draw.random() * self._bounds[-1], hi=len(self._bounds) - 1)


class Mix:
    """A stream of questions. Two with the same seed and the same city ask the same."""

    def __init__(self, city: Path, national_share: float, absent_share: float, seed: int = 0) -> None:
        self._city = city
        self._absent_share = absent_share
        self._draw = random.Random(seed)
        self._weights = interface_weights(national_share)
        self._subjects: dict[str, Sequence[Mapping[str, str]]] = {}
        self._zipf: dict[int, Zipf] = {}  # by the number of subjects

    def next(self) -> Asked:
        """Draw one question."""
        interface = self._draw.choices(list(self._weights), list(self._weights.values()))[0]
        consumer, right = self._draw.choice(rights_by_interface()[interface])
        question = QUESTIONS[interface]
        arguments = self._present(interface)
        if self._draw.random() < self._absent_share:
            arguments = {**arguments, question.keys[0]: self._absent(question.keys[0])}
        return Asked(consumer, right, question, arguments, record(self._connection, question, arguments))

    @functools.cached_property
    def _connection(self) -> sqlite3.Connection:
        return open_city(self._city)

    def _present(self, interface: str) -> Mapping[str, str]:
        if interface not in self._subjects:
            self._subjects[interface] = sample_arguments(self._city, interface, SUBJECTS)
        known = self._subjects[interface]
        if len(known) not in self._zipf:
            self._zipf[len(known)] = Zipf(len(known), self._draw)
        return known[self._zipf[len(known)].rank()]

    def _absent(self, word: str) -> str:
        serial = _SERIAL.get(WORDS[word].type)
        return serial(self._draw.randint(1, 999)) if serial else absent_value(word)

    def prepare(self) -> None:
        """Look up the subjects of every interface now, not within the first calls."""
        for interface in self._weights:
            self._present(interface)


def interface_weights(national_share: float) -> dict[str, float]:
    """Weigh all interfaces: the national ones have their share, the other levels by their number; Zipf within a level."""
    levels: dict[Level, list[str]] = {level: [] for level in Level}
    for question in QUESTIONS.values():
        levels[question.owner.level].append(question.id)
    others = sum(len(interfaces) for level, interfaces in levels.items() if level is not Level.NATIONAL)
    weights: dict[str, float] = {}
    for level, interfaces in levels.items():
        share = national_share if level is Level.NATIONAL else (1 - national_share) * len(interfaces) / others
        ranks = [(rank + 1) ** -ZIPF_EXPONENT for rank in range(len(interfaces))]
        weights |= {interface: share * rank / sum(ranks) for interface, rank in zip(interfaces, ranks, strict=True)}
    return weights


@functools.cache
def rights_by_interface() -> dict[str, list[tuple[str, Right]]]:
    """Who may ask what: the consumers and their rights by interface. Most interfaces have several, with different fields."""
    found: dict[str, list[tuple[str, Right]]] = {interface: [] for interface in QUESTIONS}
    for consumer, rights in RIGHTS.items():
        for right in rights:
            found[right.interface].append((consumer, right))
    return found


def record(city: sqlite3.Connection, question: Question, arguments: Mapping[str, str]) -> dict[str, Any] | None:
    """Look up what the register holds, under our names for the fields."""
    row = city.execute(question.query, arguments).fetchone()
    return dict(zip(question.answer, row, strict=True)) if row else None
