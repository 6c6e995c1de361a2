"""A killed core under load: from `kill -9` to the first answer out of the warm cache on a new connection.

Two brokers that differ in one setting: one has a spare core standing by, the other starts Python anew. Both are loaded until
the answer is there, by clients that come back as soon as they are let in. A round counts only if the core was killed while it
answered, and if the answer came from its successor's cache. What must not go in here: starting servers (servers.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc

from bench import h2load, hamlet, machine, servers
from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from bench.h2load import Shape
from bench.servers import Broker
from broker.client import TokenSource
from broker.v1 import exchange_pb2 as pb
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub

SHAPE = Shape(8, 1)
LOADED_S = 1.0  # before the kill
RUN_REQUESTS = 1_000
METHOD = "/broker.v1.ExchangeService/Call"

# A benchmark kills more often than anything in the field; without this the supervisor would rightly back off.
_SETTINGS = "[supervisor]\nhealthy_after_ms = 1\nspare_core = {spare}\n"
_QUIET_S = 0.3  # without a tick of processor time: what was starting has started
_PATIENCE_S = 30.0
# Without a pool of its own each attempt would wait for the reconnection of the attempts before it.
_NEW_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
_CALLS = ("grpc_server_handled_total", {"grpc_method": "Call", "grpc_code": "OK"})


class Victim:
    """One broker whose core is killed once a round."""

    def __init__(self, broker: Broker, directory: Path, spare: bool) -> None:
        self._broker = broker
        self._workers = 2 if spare else 1
        self._tokens = TokenSource(hamlet.CONSUMER, hamlet.key_file(directory))
        self._body = directory / "body.bin"
        self._body.write_bytes(h2load.frame(hamlet.question().SerializeToString()))

    def round(self) -> Reading:
        """Load it, kill its core, and return the ms until the next one answers."""
        self._settle()
        with self._load():
            before = self._broker.counter(*_CALLS)
            time.sleep(LOADED_S)
            rate = (self._broker.counter(*_CALLS) - before) / LOADED_S
            core = servers.workers(self._broker.supervisor)[0]
            began = time.perf_counter()
            os.kill(core, signal.SIGKILL)
            answer = self._first_answer(began + _PATIENCE_S)
            passed_s = time.perf_counter() - began
        if not rate or answer.provenance.source != pb.SOURCE_CACHE or core in servers.workers(self._broker.supervisor):
            raise Wrong("the core was not killed under load, or its successor did not answer from the cache")
        self._settle()  # the next spare starts on the core of all servers; the other contender must not pay for it
        return Reading(passed_s * 1000, {"answers/s before": rate})

    def _first_answer(self, until: float) -> pb.CallResponse:
        while time.perf_counter() < until:
            with contextlib.suppress(grpc.RpcError):
                return self._ask()
        raise Wrong("no successor answered")

    def _ask(self) -> pb.CallResponse:
        metadata = (("authorization", f"Bearer {self._tokens()}"),)
        with grpc.insecure_channel(self._broker.server.target, options=_NEW_CONNECTION) as channel:
            return ExchangeServiceStub(channel).Call(hamlet.question(), metadata=metadata, timeout=1)

    def _settle(self) -> None:
        """Wait until the answer is in the cache, and the core and its spare have started and have nothing to do."""
        until = time.perf_counter() + _PATIENCE_S
        while time.perf_counter() < until:
            workers = servers.workers(self._broker.supervisor)
            before = [machine.cpu_s(pid) for pid in workers]
            time.sleep(_QUIET_S)
            at_rest = len(workers) == self._workers and before == [machine.cpu_s(pid) for pid in workers]
            if at_rest and self._ask().provenance.source == pb.SOURCE_CACHE:
                return
        raise Wrong("the broker does not come to rest")

    @contextmanager
    def _load(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self._keep_asking, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _keep_asking(self, stop: threading.Event) -> None:
        """Ask in short runs, for h2load does not connect again by itself; the run that loses its core is meant to fail."""
        headers = {"authorization": f"Bearer {self._tokens()}"}
        while not stop.is_set():
            with contextlib.suppress(Wrong, subprocess.CalledProcessError):
                h2load.run(f"http://{self._broker.server.target}{METHOD}", self._body, headers, SHAPE, RUN_REQUESTS)


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    h2load.check_installed()
    with ExitStack() as stack:
        victims = {name: stack.enter_context(_victim(spare)) for name, spare in (("with a spare", True), ("without", False))}
        contenders = tuple(Contender(name, victim.round) for name, victim in victims.items())
        sizes = {"connections": SHAPE.connections, "streams": SHAPE.streams, "keys": 1}
        yield [Case(f"under load, {SHAPE}", contenders, sizes)]


@contextmanager
def _victim(spare: bool) -> Iterator[Victim]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        with servers.broker(directory, _SETTINGS.format(spare=str(spare).lower())) as broker:
            yield Victim(broker, directory, spare)


BENCHMARK = Benchmark(title="kill -9 of the serving core", unit="ms to an answer", higher_is_better=False, open=_open)
