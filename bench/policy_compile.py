"""How long it takes until a change of the control plane is in force, at a province's size.

One change is what a revocation is: read what has changed, compile, open. The swap is what the event loop does of it, when no
call is answered. What must not go in here: the decision (policy.py).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from bench.policy_world import CONSUMERS, GRANTS, INTERFACES, make_world
from broker.policy import snapshot_file
from broker.policy.compiler import Compiler
from broker.policy.counter_file import CounterFile
from broker.policy.database import Database
from broker.policy.quota import Quotas
from broker.policy.spend import Limits
from broker.policy.store import Changes, ControlPlane, Revision, encode

REVOKED = ("grants", "grant-050000")


class _Site:
    """A control plane that holds the world, and a core's compiler in step with it."""

    def __init__(self, directory: Path) -> None:
        world = make_world()
        self.file = directory / "policy.snapshot"
        self.control = ControlPlane(Database(f"sqlite:///{directory}/control.db"))
        self.control.apply(world.catalogue)
        self.documents = encode(world.catalogue)
        self.compiler = Compiler()
        _, self.snapshot = self.compiler.update(self.control.changes())
        self.limits = Limits(CounterFile(directory / "counters"), Quotas(self.control.database), bytes(32))
        self.limits.fit(self.snapshot)

    def one_change(self) -> Reading:
        """Take a grant out and put it back; half of the time that both take."""
        start = time.perf_counter()
        for written, removed in (({}, (REVOKED,)), ({REVOKED: self.documents[REVOKED]}, ())):
            self.control.changes(self.compiler.revision)  # what the database is asked; that nothing is new costs as much
            revision = Revision(self.compiler.revision.version + 1, "")
            changes: Any = Changes(revision, written, removed, whole=False)
            image, self.snapshot = self.compiler.update(changes)
            snapshot_file.write(self.file, image)
        spent = time.perf_counter() - start
        if self.snapshot.grants != GRANTS:
            raise Wrong("a grant was lost")
        return Reading(spent / 2 * 1000, {"swap ms": self._swap_ms()})

    def _swap_ms(self) -> float:
        start = time.perf_counter()
        self.limits.fit(self.snapshot)
        return (time.perf_counter() - start) * 1000

    def from_scratch(self) -> Reading:
        start = time.perf_counter()
        _, snapshot = Compiler().update(self.control.changes())
        spent = time.perf_counter() - start
        if snapshot.grants != GRANTS:
            raise Wrong("a grant was lost")
        return Reading(spent * 1000)

    def close(self) -> None:
        self.limits.close()
        self.control.close()


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, closing(_Site(Path(directory))) as site:
        sizes = {"consumers": CONSUMERS, "interfaces": INTERFACES, "grants": GRANTS}
        contenders = (Contender("one grant revoked", site.one_change), Contender("from scratch", site.from_scratch))
        yield [Case("in force", contenders, sizes)]


BENCHMARK = Benchmark(title="a change of the control plane comes into force", unit="ms", higher_is_better=False, open=_open)
