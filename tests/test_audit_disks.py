"""A broker whose disk fails, is slow, hangs or is full while it answers: nothing leaves that is not in the audit log.

`AUDIT_HUNG_S=40 AUDIT_FULL_S=60 pytest tests/test_audit_disks.py`, or `make chaos-audit`, waits longer. What must not go in
here: disks under a writer alone (test_journal_faults.py), what is killed (test_audit_broker_kills.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.audit.layout import durable_of
from broker.client import TokenSource, decode
from broker.v1.exchange_pb2 import CallRequest
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from tests import journal_kit as kit
from tests.attack_kit import CALL, CANCEL, RST_STREAM, Peer, fields_of, message, raw, request
from tests.support import disk_faults
from tests.support.answered import counts, grown
from tests.support.callers import Callers
from tests.support.calling import WHO, put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, interface
from tests.support.disk_faults import ALWAYS, FALLOCATE, FDATASYNC, PWRITE, Control
from tests.support.provider import Register
from tests.support.remembered_answers import Log, faults, streams
from tests.support.running import RunningBroker, eventually, wait_until
from tests.support.small_disk import NoNamespace, OnSmallDisk

HUNG_S = float(os.environ.get("AUDIT_HUNG_S", "1.5"))
FULL_S = float(os.environ.get("AUDIT_FULL_S", "1"))
EVERYWHERE, FRONT, CORE = "/audit/", "/audit/front-0/", "/audit/core/"
REFUSED = "AUDIT_UNAVAILABLE"
SETTINGS = {
    "BROKER__AUDIT__MODE": "durable",
    "BROKER__AUDIT__SEGMENT_MIB": "1",
    "BROKER__FRONT__STALLED_STREAM_TIMEOUT_MS": f"{HUNG_S * 300:.0f}",
    "BROKER__GRPC__DEFAULT_TIMEOUT_MS": "60000",
}
SMALL = "24m"


class Scene:
    """A broker on a disk that may be told to fail, and those who call it."""

    def __init__(self, directory: Path) -> None:
        self.control = Control(directory)
        settings = SETTINGS | self.control.environment
        try:
            self.broker: RunningBroker = OnSmallDisk(directory, SMALL, **settings)
        except NoNamespace:
            self.broker = RunningBroker(directory, **settings)

    @property
    def log(self) -> Path:
        return self.broker.disk.path if isinstance(self.broker, OnSmallDisk) else self.broker.directory / "data" / "audit"

    async def begin(self, register: Register, mode: str = "durable") -> None:
        """Have a broker that runs in this mode, and somebody known to the provider."""
        self.control.mend()
        if self.broker.process is not None and self.broker.process.poll() is not None:
            self.broker.process = None  # of a test that has failed
        if self.broker.environment["BROKER__AUDIT__MODE"] != mode and self.broker.process is not None:
            assert self.broker.stop() == 0
        if self.broker.process is None:
            self.broker.environment["BROKER__AUDIT__MODE"] = mode
            self.broker.start()
        register.add(WHO, "张三")
        await put(self.broker, register)
        self.callers = Callers(self.broker, register, 1)

    async def outcome(self, kind: str = "hit", timeout_s: float = 20) -> str:
        """Ask once; returns why that was not answered."""
        try:
            return "ANSWERED" if await self.callers.ask(self.stub, kind, timeout_s) else ""
        except grpc.aio.AioRpcError as error:
            return decode(error).reason or error.code().name

    async def outcomes(self, *kinds: str, timeout_s: float = 20) -> Counter[str]:
        return Counter(await asyncio.gather(*(self.outcome(kind, timeout_s) for kind in kinds)))

    async def is_answered_by(self, stream: str, kind: str = "hit") -> None:
        """Wait until a call is answered by the front or the core itself."""

        async def answered() -> bool:
            return await self.outcome(kind) == "ANSWERED" and self.callers.answers[-1].audit_id.startswith(stream)

        await eventually(answered)

    def is_idle(self) -> bool:
        """Whether all that was answered is durable, and its writers have nothing to do."""
        if Log(self.log).problems(self.callers.answers):
            return False
        return all(durable_of(folder) == len(kit.batches(folder)) for folder in streams(self.log))

    def check(self) -> Log:
        """All that was answered is in the log, once; the log is as it must be."""
        held = Log(self.log)
        assert held.problems(self.callers.answers) == []
        assert faults(self.log) == []
        return held

    def close(self) -> None:
        self.control.mend()
        self.broker.kill()
        if isinstance(self.broker, OnSmallDisk):
            self.broker.disk.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    try:
        scene = Scene(tmp_path_factory.mktemp("d"))
    except disk_faults.NoCompiler:
        pytest.skip("there is no C compiler (cc) to build a disk that fails")
    yield scene
    scene.close()


@pytest.fixture
async def scene(stage: Scene, register: Register) -> AsyncIterator[Scene]:
    await stage.begin(register)
    async with calling(stage):
        await stage.is_answered_by("front-")
        yield stage


@contextlib.asynccontextmanager
async def calling(scene: Scene) -> AsyncIterator[None]:
    async with grpc.aio.insecure_channel(scene.broker.target, (("grpc.enable_retries", 0),)) as channel:
        scene.stub: Any = ExchangeServiceStub(channel)
        yield


def closed(broker: RunningBroker) -> dict[str, float]:
    """How many connections and streams a front has ended, by why."""
    lines = [line for line in broker.metrics().splitlines() if line.startswith("broker_front_closed_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


async def test_a_sync_that_fails_refuses_all_that_are_held_and_none_after_them(scene: Scene) -> None:
    """A segment that is broken, for its writer and whoever else has it open, as the kernel tells it."""
    before, segment = scene.callers.answers[-1], max((scene.log / "front-0").glob("*.audit"))
    scene.control.fault(FDATASYNC, f"{FRONT}{segment.name}", count=ALWAYS, error=errno.EIO, delay_s=0.2)
    held = [asyncio.create_task(scene.outcome()) for _ in range(20)]
    assert set(await asyncio.gather(*held)) == {REFUSED}
    assert scene.callers.answers[-1] is before
    assert await scene.outcome() == "ANSWERED"
    await scene.is_answered_by("front-")
    scene.control.mend()
    log = scene.check()
    assert max(log.outcomes.values()) == 1, "what was refused may be there, but never twice"


async def test_a_slow_disk_is_waited_for(scene: Scene) -> None:
    scene.control.fault(FDATASYNC, EVERYWHERE, delay_s=0.2)
    began = time.monotonic()
    kinds = ["hit"] * 10 + ["compared"] * 5 + ["by the core"] * 5 + ["asked anew"] * 5
    first = asyncio.create_task(scene.outcome())
    assert await scene.outcomes(*kinds) == {"ANSWERED": 25}
    assert await first == "ANSWERED"
    assert time.monotonic() - began > 0.2
    scene.control.mend()
    scene.check()


@pytest.mark.timeout(120 + 3 * HUNG_S)
async def test_a_disk_that_hangs_ends_no_stream_and_lets_nothing_leave(scene: Scene) -> None:
    """Who waits for longer than the broker does is refused; nobody is answered before the disk has come back."""
    ended, answers = closed(scene.broker), scene.callers.answers
    scene.control.fault(FDATASYNC, EVERYWHERE, delay_s=HUNG_S)
    began, answered = time.monotonic(), len(answers)
    patient = [asyncio.create_task(scene.outcome(kind, HUNG_S * 4)) for kind in ("hit", "by the core") * 4]
    hasty = await scene.outcomes(*["hit", "compared", "by the core", "asked anew"] * 4, timeout_s=HUNG_S / 3)
    scene.control.mend()  # for those who sync after this one
    assert set(hasty) <= {"DEADLINE_EXCEEDED", REFUSED}
    while len(answers) == answered and time.monotonic() - began < HUNG_S * 0.9:  # noqa: ASYNC110 - nothing is to come
        await asyncio.sleep(0.01)
    assert len(answers) == answered
    assert set(await asyncio.gather(*patient)) <= {"ANSWERED", REFUSED}
    await scene.is_answered_by("front-")
    await asyncio.sleep(0.3)  # by then a front has written its counts
    assert closed(scene.broker) == ended
    scene.check()


async def test_who_goes_away_meanwhile_leaves_a_record_and_nothing_else(scene: Scene) -> None:
    fronts = scene.broker.fronts()
    tokens = TokenSource(CONSUMER, scene.broker.key_file)
    asked = CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE).SerializeToString()

    def ask(peer: Peer, stream: int) -> None:
        told = (("authorization", f"Bearer {tokens()}"), ("request-id", f"gone-{id(peer)}-{stream}"))
        peer.send(request(stream, fields_of(CALL, *told), message(asked)))

    def leave() -> None:
        with Peer(scene.broker.target) as resets, Peer(scene.broker.target) as closes:
            resets.greet()
            closes.greet()
            before = counts(scene.broker)
            scene.control.fault(FDATASYNC, FRONT, delay_s=0.6)
            for peer in (resets, closes):
                for stream in (1, 3, 5):
                    ask(peer, stream)
            wait_until(lambda: grown(scene.broker, before).get(("natively",)) == 6)  # they are held by now
            scene.control.mend()
            resets.send(raw(RST_STREAM, 0, 3, CANCEL.to_bytes(4)))
            closes._socket.close()
            assert [resets.outcome(stream) for stream in (1, 5)] == ["200/0", "200/0"]
            assert 3 not in resets.finished

    await asyncio.to_thread(leave)

    async def nothing_left() -> bool:
        return "\nbroker_front_calls 0.0" in scene.broker.metrics()

    await eventually(nothing_left)
    assert scene.broker.fronts() == fronts
    log = scene.check()
    assert Counter(count for name, count in log.outcomes.items() if name.startswith("gone-")) == {1: 6}


# --- a disk that is full ------------------------------------------------------------------------------------------------


async def nothing_leaves(scene: Scene, seconds: float, mend: Callable[[], object]) -> float:
    """Call without pause until nothing is answered, and then for so long; returns how long after mending the next is answered.

    By then each stream is full, and not only that of the front, for which the core answers.
    """
    kinds, refused = ("hit", "compared", "by the core", "asked anew", "nobody"), Counter[str]()
    try:
        async with asyncio.timeout(30):
            while await scene.outcomes(*kinds * 6) != {REFUSED: 30}:
                pass
        answered, until = len(scene.callers.answers), time.monotonic() + seconds
        while time.monotonic() < until:
            refused += await scene.outcomes(*kinds)
            await asyncio.sleep(0.02)
        assert set(refused) == {REFUSED}
        assert len(scene.callers.answers) == answered
        assert faults(scene.log) == []
    finally:
        mend()
    began = time.monotonic()
    while await scene.outcome() != "ANSWERED":  # noqa: ASYNC110 - as often as a caller would ask
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(120 + 2 * FULL_S)
async def test_a_full_disk_lets_nothing_leave_until_there_is_room(scene: Scene) -> None:
    if not isinstance(scene.broker, OnSmallDisk):
        pytest.skip("no small file system can be mounted here (unshare -rm)")
    scene.callers.told = {
        "device-id": "d" * 128,
        "operator-id": "o" * 128,
    }  # so that the room that is reserved is used up sooner
    scene.broker.disk.fill()
    back_s = await nothing_leaves(scene, FULL_S, scene.broker.disk.empty)
    sys.stdout.write(f"a disk full for {FULL_S:g} s: nothing was answered, {back_s:.2f} s after it the next\n")
    assert back_s <= 2 or FULL_S < 60, "what is promised, where nothing else runs beside"
    await scene.is_answered_by("front-")
    await scene.is_answered_by("core", "asked anew")
    scene.check()


async def test_a_disk_without_room_for_a_batch_lets_nothing_leave(scene: Scene) -> None:
    scene.control.fault(PWRITE, EVERYWHERE, count=ALWAYS, error=errno.ENOSPC)
    scene.control.fault(FALLOCATE, EVERYWHERE, count=ALWAYS, error=errno.ENOSPC)
    assert await nothing_leaves(scene, 0.5, scene.control.mend) >= 0
    await scene.is_answered_by("front-")
    scene.check()


# --- other ends -------------------------------------------------------------------------------------------------------


async def test_what_is_held_leaves_before_the_broker_ends(scene: Scene) -> None:
    scene.control.fault(FDATASYNC, EVERYWHERE, delay_s=0.3)
    held = [asyncio.create_task(scene.outcome(kind)) for kind in ("hit", "compared", "by the core") * 4]
    await asyncio.sleep(0.1)
    assert scene.broker.process is not None
    scene.broker.process.send_signal(signal.SIGTERM)
    assert Counter(await asyncio.gather(*held)) == {"ANSWERED": 12}
    scene.control.mend()
    assert await asyncio.to_thread(scene.broker.stop) == 0
    scene.check()


# --- buffered -----------------------------------------------------------------------------------------------------------


async def test_an_interface_may_say_that_its_answers_wait_for_no_disk(scene: Scene, register: Register) -> None:
    await put(scene.broker, register, interfaces=(interface(audit="buffered"),))
    for stream, place in (("front-", FRONT), ("core", CORE)):
        kind = "hit" if stream == "front-" else "by the core"
        await scene.is_answered_by(stream, kind)
        scene.control.fault(FDATASYNC, place, delay_s=3)
        assert await scene.outcome(kind, timeout_s=2) == "ANSWERED"
        scene.control.mend()


async def test_answers_of_a_sensitive_interface_wait_where_others_do_not(stage: Scene, register: Register) -> None:
    await stage.begin(register, "buffered")
    await put(stage.broker, register, interfaces=(interface(sensitive=True),))
    async with calling(stage):
        for stream, place in (("front-", FRONT), ("core", CORE)):
            kind = "hit" if stream == "front-" else "by the core"
            await stage.is_answered_by(stream, kind)
            stage.control.fault(FDATASYNC, place, delay_s=3)
            assert await stage.outcome(kind) == REFUSED
            stage.control.mend()


@pytest.mark.slow
async def test_buffered_answers_wait_for_no_disk_and_are_lost_with_their_process(stage: Scene, register: Register) -> None:
    """Which is also how it is known that what is lost would be found out."""
    await stage.begin(register, "buffered")
    async with calling(stage):
        await stage.is_answered_by("front-")
        wait_until(stage.is_idle)
        stage.control.fault(FDATASYNC, FRONT, delay_s=5)
        assert await stage.outcome() == "ANSWERED"
        await asyncio.sleep(0.1)  # its batch is written, and synced for long
        kept = list(stage.callers.answers)
        assert await stage.outcomes(*["hit"] * 10) == {"ANSWERED": 10}
        os.kill(stage.broker.fronts()[0], signal.SIGKILL)
        stage.control.mend()
        await stage.is_answered_by("front-")
        kept += stage.callers.answers[-1:]
    assert await asyncio.to_thread(stage.broker.stop) == 0
    log = Log(stage.log)
    assert log.problems(kept) == []
    assert log.problems(stage.callers.answers), "those that were answered while the disk was not"
    assert faults(stage.log) == []
