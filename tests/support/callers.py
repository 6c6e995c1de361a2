"""Concurrent callers whose answers are remembered, whatever becomes of the broker meanwhile.

What must not go in here: what becomes of it, and whether the log has the answers (remembered_answers.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc

from broker.client import TokenSource
from broker.v1 import exchange_pb2 as pb
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from tests.support.calling import NOBODY, WHO
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.remembered_answers import Answered
from tests.support.running import RunningBroker

_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),  # an answer is of one request
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
)
_FULL_WIDTH = {ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}  # which a front leaves to the core
_PAUSE_S, _FAILED_S = 0.005, 0.03
_TIMEOUT_S = 2.0
_KINDS = {"hit": 10, "compared": 3, "by the core": 3, "asked anew": 3, "nobody": 1}
_BIRTHS = [f"{year}{month:02}{day:02}" for year in range(1940, 2010) for month in range(1, 13) for day in range(1, 29)]


class Callers:
    """Some who ask without end."""

    def __init__(self, broker: RunningBroker, register: Register, seed: int) -> None:
        self.answers: list[Answered] = []
        self.failures: Counter[str] = Counter()
        self._target, self._register = broker.target, register
        self._tokens = TokenSource(CONSUMER, broker.key_file)
        self._draw = random.Random(seed)
        self._numbers, self._strangers = itertools.count(), itertools.count()
        self.told: dict[str, str] = {}  # further metadata of each call
        self._name = secrets.token_hex(4)  # callers before us may have called the same broker

    @contextlib.asynccontextmanager
    async def asking(self, count: int) -> AsyncIterator[None]:
        """Within the context so many ask, one call after the other each."""
        self._register.add(WHO, "张三")
        async with asyncio.TaskGroup() as group:  # which ends when one of them does, with what is wrong
            tasks = [group.create_task(self._ask_on()) for _ in range(count)]
            yield
            for task in tasks:
                task.cancel()

    async def more(self, count: int) -> None:
        """Return when so many more have been answered."""
        until = len(self.answers) + count
        async with asyncio.timeout(60):
            while len(self.answers) < until:  # noqa: ASYNC110 - answers come from outside
                await asyncio.sleep(0.005)

    async def _ask_on(self) -> None:
        async with grpc.aio.insecure_channel(self._target, _OPTIONS) as channel:
            stub: Any = ExchangeServiceStub(channel)
            while True:
                try:
                    await self.ask(stub, self._draw.choices(list(_KINDS), list(_KINDS.values()))[0])
                except grpc.aio.AioRpcError as error:
                    self.failures[error.code().name] += 1
                    await asyncio.sleep(_FAILED_S)
                await asyncio.sleep(_PAUSE_S)

    async def ask(self, stub: Any, kind: str = "hit", timeout_s: float = _TIMEOUT_S) -> Answered:
        """Ask once, and remember what was answered. Raises what grpc does."""
        request_id = f"{self._name}-{next(self._numbers)}"
        metadata = (("authorization", f"Bearer {self._tokens()}"), ("request-id", request_id), *self.told.items())
        if kind == "compared":
            asked: Any = pb.MatchRequest(
                interface=INTERFACE, key={"resident_id": WHO}, asserted={"name": "张三"}, purpose=PURPOSE
            )
            answer = await stub.Match(asked, timeout=timeout_s, metadata=metadata)
        else:
            asked = pb.CallRequest(interface=INTERFACE, arguments={"resident_id": self._whom(kind)}, purpose=PURPOSE)
            answer = await stub.Call(asked, timeout=timeout_s, metadata=metadata)
            assert answer.provenance.digest == hashlib.sha256(answer.payload).digest()
        source = pb.Source.Name(answer.provenance.source).removeprefix("SOURCE_")
        self.answers.append(Answered(answer.audit_id, request_id, answer.provenance.digest, source))
        return self.answers[-1]

    def _whom(self, kind: str) -> str:
        if kind == "asked anew":
            number = next(self._strangers)
            who = resident_id(number % 1000, _BIRTHS[number // 1000 % len(_BIRTHS)])
            self._register.add(who, f"生{number}")
            return who
        return {"hit": WHO, "by the core": WHO.translate(_FULL_WIDTH), "nobody": NOBODY}[kind]
