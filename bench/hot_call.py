"""A hot `Call` with everything on (identity, grant, mask, rate, cache, provenance, metrics) against a bare `grpc.aio` handler.

Both answer the same question with the same message: the bare one is given an answer of the broker to repeat. A round counts
only if every answer was one: the broker's counters must have risen by exactly the number of requests, all from the cache, and
the bare server must have sent the message that many times. What must not go in here: starting servers (servers.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc

from bench import h2load, hamlet, machine, servers
from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from bench.h2load import Shape
from bench.servers import Broker, Server
from broker.client import TokenSource
from broker.v1 import exchange_pb2 as pb
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub

SHAPES = (Shape(1, 1), Shape(8, 1), Shape(8, 32))
ROUND_S = 2.0
WARM_UP_REQUESTS = 2_000
METHOD = "/broker.v1.ExchangeService/Call"

_CPU = "server µs CPU/request"
_ANSWERED = (
    "grpc_server_handled_total",
    {"grpc_service": "broker.v1.ExchangeService", "grpc_method": "Call", "grpc_code": "OK"},
)
_HOT = ("broker_calls_total", {"outcome": "FOUND", "source": "CACHE"})

Check = Callable[[], Callable[[int, h2load.Outcome], None]]  # called before a round; what it returns is called after it


class Driver:
    """One server under one shape of load. The first round finds out how many requests make a round of the right length."""

    def __init__(self, server: Server, shape: Shape, body: Path, tokens: Callable[[], str], check: Check) -> None:
        self._server = server
        self._shape = shape
        self._body = body
        self._tokens = tokens
        self._check = check
        self._requests = WARM_UP_REQUESTS

    def round(self) -> Reading:
        """Send the requests, check what came of them, and return the rate."""
        headers = {"authorization": f"Bearer {self._tokens()}"}
        url, requests = f"http://{self._server.target}{METHOD}", self._requests
        check = self._check()
        before_s = machine.cpu_s(self._server.pid)
        outcome = h2load.run(url, self._body, headers, self._shape, requests)
        spent_s = machine.cpu_s(self._server.pid) - before_s
        check(requests, outcome)
        self._requests = max(int(outcome.rate * ROUND_S), WARM_UP_REQUESTS)
        return Reading(outcome.rate, {_CPU: spent_s / requests * 1e6})


def counted(broker: Broker) -> Callable[[int, h2load.Outcome], None]:
    """Begin a check by the broker's own counters."""
    before = [broker.counter(*counter) for counter in (_ANSWERED, _HOT)]

    def check(requests: int, outcome: h2load.Outcome) -> None:
        risen = [broker.counter(*counter) - old for counter, old in zip((_ANSWERED, _HOT), before, strict=True)]
        if risen != [requests, requests]:
            raise Wrong(f"of {requests} requests the broker answered {risen[0]} with OK and {risen[1]} from the cache")

    return check


def measured(answer: bytes) -> Callable[[int, h2load.Outcome], None]:
    """Begin a check by the bytes received: an error of gRPC carries no message."""

    def check(requests: int, outcome: h2load.Outcome) -> None:
        if outcome.data_bytes != requests * len(h2load.frame(answer)):
            raise Wrong(f"{outcome.data_bytes} bytes are not {requests} answers")

    return check


def ask(server: Server, token: str) -> pb.CallResponse:
    """Ask once with a real client; raises what gRPC raises."""
    with grpc.insecure_channel(server.target) as channel:
        metadata = (("authorization", f"Bearer {token}"),)
        return ExchangeServiceStub(channel).Call(hamlet.question(), metadata=metadata, timeout=5)


def _hot_answer(broker: Broker, tokens: TokenSource) -> pb.CallResponse:
    answers = [ask(broker.server, tokens()) for _ in range(2)]
    if answers[1].provenance.source != pb.SOURCE_CACHE or answers[1].outcome != pb.OUTCOME_FOUND:
        raise Wrong("the second answer does not come from the cache")
    return answers[1]


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    h2load.check_installed()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        broker = stack.enter_context(servers.broker(directory))
        tokens = TokenSource(hamlet.CONSUMER, hamlet.key_file(directory))
        hot = _hot_answer(broker, tokens)
        answer = hot.SerializeToString()
        bare = stack.enter_context(servers.bare_aio(directory, answer))
        if ask(bare, tokens()) != hot:
            raise Wrong("the bare server does not give the broker's answer")
        body = directory / "body.bin"
        body.write_bytes(h2load.frame(hamlet.question().SerializeToString()))
        sizes = {"request bytes": body.stat().st_size - 5, "response bytes": len(answer), "keys": 1}
        checks: dict[str, tuple[Server, Check]] = {
            "broker, all on": (broker.server, lambda: counted(broker)),
            "bare grpc.aio": (bare, lambda: measured(answer)),
        }
        yield (_case(shape, body, tokens, checks, sizes) for shape in SHAPES)


def _case(
    shape: Shape, body: Path, tokens: TokenSource, checks: dict[str, tuple[Server, Check]], sizes: dict[str, int]
) -> Case:
    contenders = (Contender(name, Driver(server, shape, body, tokens, check).round) for name, (server, check) in checks.items())
    return Case(str(shape), tuple(contenders), {**sizes, "connections": shape.connections, "streams": shape.streams})


BENCHMARK = Benchmark(title="a hot Call against bare grpc.aio", unit="requests/s", higher_is_better=True, open=_open)
