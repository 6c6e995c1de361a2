"""How soon a withdrawn grant is refused, while its cached answer is asked for without pause.

From the decision (as `broker grant pause` makes it: a row in the control plane, which the core has to find by itself) to the
first refusal, with few grants in force and with a province's. What must not go in here: compiling alone (policy_compile.py).
"""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import grpc
import msgspec

from bench import hamlet, servers
from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from bench.policy_world import GRANTS, make_world
from broker.client import Client, NotGranted, TokenSource
from broker.policy import workflow
from broker.policy.database import Database
from broker.policy.store import ControlPlane
from broker.policy.workflow import Decision, Verb

GRANT = "bench"
_PATIENCE_S = 60.0


class Withdrawn:
    """One broker whose grant is paused and put back, once a round."""

    def __init__(self, broker: servers.Broker, directory: Path, more: bool) -> None:
        self._control = ControlPlane(Database(f"sqlite:///{directory}/data/control.db"))
        if more:
            self._apply_world()
        self._client = Client(broker.server.target, TokenSource(hamlet.CONSUMER, hamlet.key_file(directory)))
        self._until(holds=True)

    def close(self) -> None:
        """Let go of both ways to the broker."""
        self._client.close()
        self._control.close()

    def _apply_world(self) -> None:
        _, own = self._control.read()
        world = make_world().catalogue
        parts = {
            kind: (*getattr(own, kind), *getattr(world, kind)) for kind in ("providers", "interfaces", "consumers", "grants")
        }
        self._control.apply(msgspec.structs.replace(own, **parts))

    def round(self) -> Reading:
        """Pause the grant and return the ms until it is refused; then put it back."""
        self._until(holds=True)
        began = time.perf_counter()
        self._act(Verb.PAUSE)
        decided_ms = (time.perf_counter() - began) * 1000
        asked = self._until(holds=False)
        refused_ms = (time.perf_counter() - began) * 1000
        self._act(Verb.APPROVE)
        back = time.perf_counter()
        self._until(holds=True)
        beside = {"deciding": decided_ms, "back after": (time.perf_counter() - back) * 1000, "answered meanwhile": float(asked)}
        return Reading(refused_ms, beside)

    def _act(self, verb: Verb) -> None:
        now = dt.datetime.now(dt.UTC)
        workflow.act(self._control.database, GRANT, Decision(verb, "bench", "measured"), lambda _: None, now)

    def _until(self, *, holds: bool) -> int:
        """Ask without pause until the grant holds, or does not; returns how many answers there were on the way."""
        answered, until = 0, time.perf_counter() + _PATIENCE_S
        request = hamlet.question()
        while time.perf_counter() < until:
            try:
                self._client.call(request.interface, dict(request.arguments), purpose=request.purpose)
            except NotGranted:
                if not holds:
                    return answered
                continue
            except grpc.RpcError as error:
                raise Wrong("a call failed that should not have") from error
            answered += 1
            if holds:
                return answered
        raise Wrong("the broker does not follow")


@contextmanager
def _withdrawn(more: bool) -> Iterator[Withdrawn]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        with servers.broker(directory) as broker, closing(Withdrawn(broker, directory, more)) as withdrawn:
            yield withdrawn


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    with ExitStack() as stack:
        few, many = (stack.enter_context(_withdrawn(more)) for more in (False, True))
        contenders = (Contender(f"{GRANTS:,} grants", many.round), Contender("1 grant", few.round))
        yield [Case("paused while asked for", contenders, {"grants": GRANTS, "poll ms": 250})]


BENCHMARK = Benchmark(title="a grant is withdrawn", unit="ms to a refusal", higher_is_better=False, open=_open)
