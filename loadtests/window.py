"""The Locust user: a service window with a connection of its own, asking one question after another and checking each answer.

Imported by Locust files only, when Locust has patched the standard library: importing it makes gRPC run on gevent. What must
not go in here: what is asked (mix.py) and what must hold (invariants.py).
"""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import grpc
import grpc.experimental.gevent as grpc_gevent
from locust import User, task

from broker.client import TokenSource
from broker.v1 import exchange_pb2 as pb
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from loadtests import invariants
from loadtests.mix import Asked, Mix
from loadtests.tally import Tally

TIMEOUT_S = 5.0

grpc_gevent.init_gevent()  # after the patch, before the first channel


class Work(NamedTuple):
    """What all windows of a run share."""

    target: str
    tokens: Mapping[str, TokenSource]  # by consumer
    mix: Mix
    tally: Tally
    rate: float  # calls a second of one window


def token_sources(keys: Path) -> dict[str, TokenSource]:
    """Give a source of tokens for every consumer that has a key in the directory."""
    return {file.stem: TokenSource(file.stem, file) for file in keys.glob("*.key")}


class Window(User):
    """One window. Calls are due by a Poisson process that does not wait for answers; a late window catches up."""

    abstract = True
    work: ClassVar[Work]

    def on_start(self) -> None:
        """Open the connection."""
        # Without the option all channels of a process share one connection.
        self._channel = grpc.insecure_channel(self.work.target, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = ExchangeServiceStub(self._channel).Call
        self._due_s = time.monotonic()

    def on_stop(self) -> None:
        """Close it."""
        self._channel.close()

    def wait_time(self) -> float:
        """Seconds until the next call is due."""
        self._due_s += random.expovariate(self.work.rate)
        return max(0.0, self._due_s - time.monotonic())

    @task
    def ask(self) -> None:
        """Ask one question and judge the answer."""
        asked = self.work.mix.next()
        metadata = (("authorization", f"Bearer {self.work.tokens[asked.consumer]()}"),)
        began = time.perf_counter()
        try:
            answer = self._call(_request(asked), metadata=metadata, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            self._not_answered(asked, error, (time.perf_counter() - began) * 1000)
            return
        self._answered(asked, answer, (time.perf_counter() - began) * 1000)

    def _answered(self, asked: Asked, answer: pb.CallResponse, ms: float) -> None:
        wrong = invariants.broken(asked, answer, dt.datetime.now(dt.UTC))
        interface, said = asked.question.id, answer.provenance
        source = "STALE" if said.stale else pb.Source.Name(said.source).removeprefix("SOURCE_")
        outcome = pb.Outcome.Name(answer.outcome).removeprefix("OUTCOME_")
        self.work.tally.answered(interface, asked.consumer, asked.question.owner.level.value, outcome, source, ms)
        self.work.tally.judged(interface, wrong, len(invariants.INVARIANTS))
        self._tell("Call", interface, ms, len(answer.payload), None)

    def _not_answered(self, asked: Asked, error: grpc.RpcError, ms: float) -> None:
        code = error.code().name
        if code == "RESOURCE_EXHAUSTED":
            self.work.tally.refused_for_rate()
            self._tell("over the rate", asked.question.id, ms, 0, None)
        else:
            self.work.tally.failed(code)
            self._tell("Call", asked.question.id, ms, 0, error)

    def _tell(self, kind: str, interface: str, ms: float, length: int, error: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type=kind, name=interface, response_time=ms, response_length=length, exception=error, context={}
        )


def _request(asked: Asked) -> pb.CallRequest:
    return pb.CallRequest(
        interface=asked.question.id,
        arguments=asked.arguments,
        purpose=asked.right.purpose,
        matter=asked.right.matter,
        operator="load-test",
    )
