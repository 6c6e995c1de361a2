"""A pretended department at work: looks up the city, writes its answer down, takes its time, counts, keeps to its quota.

The same for HTTP and gRPC. What must not go in here: sockets, signatures, and faults that are not about the answer's content.
"""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from broker.demo.departments import (
    BAD_PARAMETERS,
    DEPARTMENTS,
    OK,
    OUT_OF_ORDER,
    QUOTA_USED_UP,
    REFUSED,
    SHAPES,
    Department,
    Fields,
)
from broker.demo.faults import Fault
from broker.demo.interfaces import QUESTIONS, absent_value, service_id
from broker.demo.question import Question

_SPREAD = 0.35  # sigma of the logarithm of the time to answer
_MEDIAN_MS = {"national": 20.0, "http": 8.0, "grpc": 4.0}


class Pace(NamedTuple):
    """How fast the departments of a process are and how much they do."""

    seed: int
    latency_scale: float  # 0: at once
    quota_per_minute: int  # of each department


class Service(NamedTuple):
    """One interface as its department knows it."""

    id: str
    question: Question
    arguments: dict[str, str]  # argument -> its name at the department
    names: tuple[str, ...]  # of the columns of the query

    @classmethod
    def of(cls, question: Question) -> Service:
        """Read it off the table of interfaces."""
        arguments = {word: question.name(word) for word in question.keys + question.compared}
        return cls(service_id(question.id), question, arguments, tuple(map(question.name, question.answer)))


class Reply(NamedTuple):
    """What a department answers: its business code, and the answer as written down."""

    code: str
    content: Any


class Counts:
    """What a process has been asked since it started."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()  # by interface
        self.secrets: Counter[str] = Counter()  # by department
        self.running = 0
        self.max_running = 0

    @contextmanager
    def one(self, interface: str) -> Iterator[None]:
        """Count a call while it runs."""
        self.calls[interface] += 1
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            yield
        finally:
            self.running -= 1

    def report(self) -> dict[str, Any]:
        """Give all counts."""
        providers: Counter[str] = Counter()
        for interface, calls in self.calls.items():
            providers[QUESTIONS[interface].department] += calls
        return {
            "services": {service_id(interface): calls for interface, calls in self.calls.items()},
            "interfaces": dict(self.calls),
            "providers": dict(providers),
            "secrets": dict(self.secrets),
            "total": self.calls.total(),
            "running": self.running,
            "max_concurrent": self.max_running,
        }


class Desk:
    """One department."""

    def __init__(
        self, department: Department, city: sqlite3.Connection, pace: Pace, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.department = department
        self.shape = SHAPES[department.shape]
        own = [question for question in QUESTIONS.values() if question.department == department.id]
        self.services = tuple(map(Service.of, own))
        self._city = city
        self._pace = pace
        self._clock = clock
        self._random = random.Random(f"{pace.seed}:{department.id}")
        kind = "national" if department.id.startswith("national.") else department.connector
        self._log_median_s = math.log(_MEDIAN_MS[kind] / 1000)
        self._minute = (0, 0)  # number of the minute, calls in it

    async def pause(self, fault: Fault | None) -> None:
        """Take as long as departments do."""
        seconds = self._random.lognormvariate(self._log_median_s, _SPREAD) * self._pace.latency_scale
        if fault and fault.kind == "slow":
            seconds = fault.latency_ms / 1000
        if seconds:
            await asyncio.sleep(seconds)

    def answer(self, service: Service, parameters: Mapping[str, Any], fault: Fault | None) -> Reply:
        """Answer one question."""
        code = self._refusal(service, parameters, fault)
        if code != OK:
            return Reply(code, self.shape.write(code, None))
        try:
            record = self._record(service, parameters)
        except sqlite3.Error:  # as for a parameter that is no text: the department's own program trips over it
            return Reply(OUT_OF_ORDER, self.shape.write(OUT_OF_ORDER, None))
        if record and fault and fault.kind == "wrong_subject":
            subject = service.question.keys[0]
            record[service.question.name(subject)] = absent_value(subject)
        code = OK if record else self.shape.no_record
        return Reply(code, self.shape.write(code, self._placed(record)))

    def _refusal(self, service: Service, parameters: Mapping[str, Any], fault: Fault | None) -> str:
        if fault and fault.kind in _CODES:
            return _CODES[fault.kind]
        if self._quota_is_used_up():
            return QUOTA_USED_UP
        return OK if parameters.keys() == set(service.arguments.values()) else BAD_PARAMETERS

    def _record(self, service: Service, parameters: Mapping[str, Any]) -> Fields | None:
        arguments = {word: parameters[name] for word, name in service.arguments.items()}
        row = self._city.execute(service.question.query, arguments).fetchone()
        return dict(zip(service.names, row, strict=True)) if row else None

    def _placed(self, record: Fields | None) -> Fields | None:
        if not record:
            return None
        sent = record if self.shape.sends_null else {name: v for name, v in record.items() if v is not None}
        return {self.shape.within: sent} if self.shape.within else sent

    def _quota_is_used_up(self) -> bool:
        minute, used = self._minute
        now = int(self._clock() // 60)
        self._minute = (now, used + 1 if minute == now else 1)
        return self._minute[1] > self._pace.quota_per_minute


_CODES = {"business_error": REFUSED, "quota": QUOTA_USED_UP}


def desks(level: str, city: sqlite3.Connection, pace: Pace) -> dict[str, Desk]:
    """Open the desks of every department of a level."""
    own = (department for department in DEPARTMENTS.values() if department.level == level)
    return {department.id: Desk(department, city, pace) for department in own}
