"""A broker that answers many callers is killed, a part of it at a time, again and again: each answer is in the audit log once.

A round kills the supervisor, the core or a front (kill -9) once some calls have been answered since the last. With the
supervisor the rest ends by itself, and then it is started again. `AUDIT_BROKER_KILLS=1000 pytest
tests/test_audit_broker_kills.py`, or `make chaos-audit`, does it more often, in logs of so many rounds each as can be read by
a verifier that recomputes everything. What must not go in here: power cuts, kills of a writer alone (test_audit_kills.py).
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.oracle import audit as oracle
from tests.support.callers import Callers
from tests.support.calling import put
from tests.support.catalogue import grant
from tests.support.provider import Register
from tests.support.remembered_answers import Answered, Log, faults
from tests.support.running import RunningBroker

ROUNDS = int(os.environ.get("AUDIT_BROKER_KILLS", "6"))
SEED = int(os.environ.get("AUDIT_SEED", "1"))
ROUNDS_A_LOG = 200
CALLERS = 8
ENDS_S = 30  # what the supervisor leaves behind
SETTINGS = {
    "BROKER__AUDIT__MODE": "durable",
    "BROKER__AUDIT__SEGMENT_MIB": "1",  # the room of each that was left stays taken
    "BROKER__GRPC__FRONTS": "2",
    "BROKER__LOG__LEVEL": "info",
    "BROKER__SUPERVISOR__HEALTHY_AFTER_MS": "1",  # or it would back off
    "BROKER__SUPERVISOR__SPARE_CORE": str(ROUNDS > 100).lower(),  # whose imports take longer than a few rounds
}
VICTIMS = {"front": 55, "core": 35, "supervisor": 10}


class Shooter:
    """Kills a part of a broker."""

    def __init__(self, broker: RunningBroker, seed: int) -> None:
        self._broker, self._draw = broker, random.Random(seed)
        self.shots: Counter[str] = Counter()

    def plan(self, count: int) -> list[str]:
        """Whom to kill, each of them once at least."""
        drawn = self._draw.choices(list(VICTIMS), list(VICTIMS.values()), k=max(count - len(VICTIMS), 0))
        return [*VICTIMS, *drawn]

    def pause_s(self) -> float:
        return self._draw.choice((0.0, 0.02, 0.1, 0.2))

    async def shoot(self, victim: str) -> None:
        """Kill one: of the fronts the one that has served for longest, of the core and its spare the core."""
        if victim == "supervisor":
            await asyncio.to_thread(self._kill_supervisor)
            self._broker.launch()
        else:
            for pid in (self._broker.fronts() if victim == "front" else self._broker.cores())[:1]:
                os.kill(pid, signal.SIGKILL)
        self.shots[victim] += 1

    def _kill_supervisor(self) -> None:
        """Kill it, and wait until what it had started has ended by itself."""
        assert self._broker.process is not None
        self._broker.process.send_signal(signal.SIGSTOP)  # or it would start another while we look
        left = [os.pidfd_open(pid) for pid in self._broker.workers()]
        self._broker.process.kill()
        self._broker.process.wait()
        until = time.monotonic() + ENDS_S
        for descriptor in left:
            ended = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]
            os.close(descriptor)
            assert ended, "a process outlives its supervisor"


async def rounds(broker: RunningBroker, register: Register, count: int, seed: int) -> tuple[Callers, Shooter]:
    """Let callers call while a part of the broker is killed so many times."""
    callers, shooter = Callers(broker, register, seed), Shooter(broker, seed)
    async with callers.asking(CALLERS):
        for victim in shooter.plan(count):
            await callers.more(10)
            await asyncio.sleep(shooter.pause_s())
            await shooter.shoot(victim)
        await callers.more(10)
    return callers, shooter


def cut_before(log: Path, answer: Answered, directory: Path) -> Path:
    """A copy of a log without the segment that has an answer, and those behind it."""
    shutil.copytree(log, directory)
    stream, _, sequence = answer.audit_id.rpartition(".")
    first = {file: oracle.SEGMENT.unpack_from(file.read_bytes())[6] for file in (directory / stream).glob("*.audit")}
    from_here = max(number for number in first.values() if number <= int(sequence))
    for file, number in first.items():
        if number >= from_here:
            file.unlink()
    return directory


async def one_log(directory: Path, register: Register, count: int, seed: int) -> tuple[Callers, Shooter, Path]:
    """Kill so often in one log; returns it once the broker has ended."""
    directory.mkdir()
    broker = RunningBroker(directory, **SETTINGS)
    broker.start()
    try:
        await put(broker, register, grants=(grant(),))
        callers, shooter = await rounds(broker, register, count, seed)
        assert await asyncio.to_thread(broker.stop) == 0
    finally:
        broker.kill()
    return callers, shooter, directory / "data" / "audit"


@pytest.mark.slow
@pytest.mark.timeout(120 + 6 * ROUNDS)
async def test_each_answer_is_in_the_log_once_whatever_is_killed(tmp_path: Path, register: Register) -> None:
    shots, answered, failed = Counter[str](), Counter[str](), Counter[str]()
    for begun in range(0, ROUNDS, ROUNDS_A_LOG):
        directory, count = tmp_path / str(begun), min(ROUNDS_A_LOG, ROUNDS - begun)
        callers, shooter, log = await one_log(directory, register, count, SEED + begun)
        held = await asyncio.to_thread(Log, log)
        assert held.problems(callers.answers) == []
        assert await asyncio.to_thread(faults, log) == []
        shots += shooter.shots
        failed += callers.failures
        answered += Counter(
            f"{answer.audit_id.partition('-')[0].partition('.')[0]} {answer.source}" for answer in callers.answers
        )
        if begun + count < ROUNDS:
            shutil.rmtree(directory)
    sys.stdout.write(f"kills: {dict(shots)}; answered, all in the log once: {dict(answered)}; not answered: {dict(failed)}\n")
    assert set(shots) == set(VICTIMS)
    assert answered["front CACHE"]
    assert answered["core UPSTREAM"]
    last = callers.answers[-1]
    assert Log(cut_before(log, last, tmp_path / "cut")).problems(callers.answers), "it is found out when one is missing"
    wrong = [last._replace(digest=b"x"), last._replace(request_id="x"), last._replace(audit_id="core.0")]
    assert all(held.problems([answer]) for answer in wrong)
    assert held.problems([last, last])
