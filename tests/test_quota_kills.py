"""A quota under fire: calls without pause while the core is killed again and again, and never one more answer than the quota.

`QUOTA_CALLS` makes it longer: `make quota` asks 100,000 times, with a kill -9 after each second of service.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from broker.client import AsyncClient, CallFailed
from tests.support.calling import WHO, ask, put
from tests.support.catalogue import grant
from tests.support.provider import Register
from tests.support.running import RunningBroker

CALLS = int(os.environ.get("QUOTA_CALLS", "1500"))
KILL_EVERY_S = 1.0
KILLS = 3  # at least
QUOTA = CALLS * 2 // 3
AT_ONCE = 32


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    running = RunningBroker(tmp_path_factory.mktemp("q"), BROKER__SUPERVISOR__HEALTHY_AFTER_MS="1")  # or it would back off
    running.start()
    yield running
    running.kill()


class Shooter:
    """Kills the core again and again, each time when it has served for so long."""

    def __init__(self, broker: RunningBroker) -> None:
        self._broker = broker
        self.shots = 0

    async def run(self) -> None:
        while True:
            pid = await asyncio.to_thread(self._core)
            await asyncio.sleep(0.05 if pid is None else KILL_EVERY_S)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):  # it has died by itself
                    os.kill(pid, signal.SIGKILL)
                    self.shots += 1

    def _core(self) -> int | None:
        try:
            return self._broker.core_pid()
        except (StopIteration, OSError):
            return None  # between two cores


async def _ask_all(client: AsyncClient, outcomes: Counter[str], shooter: Shooter) -> None:
    """Ask until enough calls have had an outcome, and enough cores have died; what is lost with a core has no outcome."""
    while outcomes.total() - outcomes["LOST"] < CALLS or shooter.shots < KILLS:
        try:
            await ask(client)
        except CallFailed as failure:
            outcomes[failure.reason or "LOST"] += 1
            await asyncio.sleep(0.0 if failure.reason else 0.05)
        else:
            outcomes["ANSWERED"] += 1


@pytest.mark.slow
@pytest.mark.timeout(max(300, CALLS // 50))
async def test_no_answer_beyond_the_quota_however_often_the_core_dies(own: RunningBroker, register: Register) -> None:
    register.add(WHO, "张三")
    await put(own, register, grants=(grant(id="under-fire", quota_total=QUOTA),))
    outcomes: Counter[str] = Counter()
    shooter = Shooter(own)
    async with own.client() as client:
        shooting = asyncio.create_task(shooter.run())
        asking = asyncio.gather(*(_ask_all(client, outcomes, shooter) for _ in range(AT_ONCE)))
        await asyncio.wait((shooting, asking), return_when=asyncio.FIRST_COMPLETED)
        assert not shooting.done(), "the shooter has failed"
        await asking
        shooting.cancel()
    print(f"{outcomes.total()} calls, {shooter.shots} kills, quota {QUOTA}: {dict(outcomes)}")  # noqa: T201
    assert outcomes["ANSWERED"] <= QUOTA
    wasted = shooter.shots * max(1, min(1000, QUOTA // 50))  # a block that was reserved when the core died
    assert outcomes["ANSWERED"] + outcomes["LOST"] + wasted >= QUOTA
    assert outcomes["QUOTA_EXCEEDED"], "the quota was reached"
