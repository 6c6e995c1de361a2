"""A front follows what the core leaves: snapshot, counters, cache and clock; what it cannot follow it does not answer by.

Whether fronts live is in test_fronts.py. What must not go in here: decisions themselves (test_differential.py).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker import config
from broker._native.plans import Plans
from broker.boot import read_boot_id
from broker.client import AsyncClient, CallFailed, NotGranted, OverRate
from broker.policy.clock import Anchor
from broker.policy.snapshot_file import open_image
from broker.serve import follow
from broker.serve.board import FOLLOWS, NamedCounts, open_board, open_tally, snapshot_word, tally_file
from broker.serve.follow import Follower
from tests.support.calling import WHO, ask, put
from tests.support.catalogue import catalogue, grant
from tests.support.certificates import replace
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually, wait_until

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """One front, whose core is killed now and then."""
    settings = {"BROKER__SUPERVISOR__HEALTHY_AFTER_MS": "1"}
    broker = RunningBroker(tmp_path_factory.mktemp("w"), **settings)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def hot(own: RunningBroker, register: Register) -> RunningBroker:
    """The same, with the answer about one person in the cache."""
    register.add(WHO, "张三")
    await put(own, register)
    async with own.client() as client:
        await ask(client)
    return own


def data(broker: RunningBroker) -> Path:
    return broker.directory / "data"


def natively(broker: RunningBroker) -> float:
    lines = broker.metrics().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("broker_front_handling_seconds_count ")))


async def grown(broker: RunningBroker, client: AsyncClient, calls: int = 5) -> float:
    """How many of so many calls, all answered, the front answers itself."""
    before = natively(broker)
    for _ in range(calls):
        await ask(client)
    return natively(broker) - before


async def answers_all(broker: RunningBroker, client: AsyncClient) -> bool:
    return await grown(broker, client) == 5


async def answers_nothing(broker: RunningBroker, client: AsyncClient) -> bool:
    return await grown(broker, client) == 0


async def refused(client: AsyncClient) -> bool:
    try:
        await ask(client)
    except NotGranted:
        return True
    return False


# --- snapshot ----------------------------------------------------------------------------------------------------------


async def test_what_the_command_line_takes_away_the_front_refuses(hot: RunningBroker, register: Register) -> None:
    await put(hot, register, grants=(grant(id="to-be-paused"),))
    async with hot.client() as client:
        await eventually(lambda: answers_all(hot, client))
        done = await asyncio.to_thread(hot.run_here, "grant", "pause", "to-be-paused")
        assert done.returncode == 0, done.stderr
        began = time.monotonic()
        await eventually(lambda: refused(client))
        print(f"refused {time.monotonic() - began:.2f} s after the command")  # noqa: T201
        assert time.monotonic() - began < 3
        assert all([await refused(client) for _ in range(20)])


async def test_what_was_narrowed_is_narrower_in_the_next_answer(hot: RunningBroker, register: Register) -> None:
    async with hot.client() as client:
        await eventually(lambda: answers_all(hot, client))
        for fields in (["name"], ["birth_date"], ["name", "birth_date"]) * 3:
            await hot.put(catalogue(register.base_url, hot.public_key, grants=(grant(fields=fields),)))
            for _ in range(3):
                assert set((await ask(client)).fields) == set(fields)


@pytest.fixture
def cannot_be_left(hot: RunningBroker) -> Iterator[None]:
    """The core cannot write the file of its next snapshot."""
    obstacle = data(hot) / "policy.snapshot.new"
    obstacle.mkdir()
    yield
    shutil.rmtree(obstacle, ignore_errors=True)


@pytest.mark.parametrize("what", ["older", "damaged", "missing", "empty"])
@pytest.mark.usefixtures("cannot_be_left")
async def test_a_front_that_cannot_follow_answers_nothing(hot: RunningBroker, register: Register, what: str) -> None:
    file = data(hot) / "policy.snapshot"
    good = file.read_bytes()
    async with hot.client() as client:
        await eventually(lambda: answers_all(hot, client))
        if what == "missing":
            file.unlink()
        elif what != "older":
            replace(Path(f"{file}.x"), {"damaged": good[:-1] + bytes([good[-1] ^ 1]), "empty": b""}[what]).replace(file)
        await eventually(lambda: answers_all(hot, client))
        narrower = catalogue(register.base_url, hot.public_key, grants=(grant(fields=["name"]),))
        await hot.put(narrower)
        assert set((await ask(client)).fields) == {"name"}, "the core decides, by what is in force"
        assert await grown(hot, client) == 0
        shutil.rmtree(data(hot) / "policy.snapshot.new")
        await hot.put(msgspec.structs.replace(narrower, grants=(grant(fields=["birth_date"]),)))
        await eventually(lambda: answers_all(hot, client))
        assert set((await ask(client)).fields) == {"birth_date"}


async def test_a_front_is_whole_again_as_soon_as_the_file_is(hot: RunningBroker, register: Register) -> None:
    """The file is damaged while the front stands still, so that it never sees the good one."""
    file, front = data(hot) / "policy.snapshot", hot.fronts()[0]
    async with hot.client() as client:
        await eventually(lambda: answers_all(hot, client))
        os.kill(front, signal.SIGSTOP)
        try:
            await hot.put(catalogue(register.base_url, hot.public_key, grants=(grant(fields=["name"]),)))
            good = file.read_bytes()
            replace(Path(f"{file}.x"), b"\0" + good[1:]).replace(file)
        finally:
            os.kill(front, signal.SIGCONT)
        await eventually(lambda: answers_nothing(hot, client))
        assert set((await ask(client)).fields) == {"name"}
        replace(Path(f"{file}.x"), good).replace(file)
        await eventually(lambda: answers_all(hot, client))
        assert set((await ask(client)).fields) == {"name"}


async def test_a_front_that_stood_still_does_not_go_on_with_what_was_taken_away(hot: RunningBroker, register: Register) -> None:
    """Whoever narrows a grant is answered though this front cannot follow; the call waits for it at its socket."""
    wide, narrow = (catalogue(register.base_url, hot.public_key, grants=(grant(fields=f),)) for f in (["birth_date"], ["name"]))
    async with hot.client() as client:
        for _ in range(3):
            await hot.put(wide)
            await eventually(lambda: answers_all(hot, client))
            (front,) = hot.fronts()
            os.kill(front, signal.SIGSTOP)
            try:
                await hot.put(narrow)
                waiting = asyncio.create_task(ask(client))
                await asyncio.sleep(0.1)
            finally:
                os.kill(front, signal.SIGCONT)
            assert set((await waiting).fields) == {"name"}
        await eventually(lambda: answers_all(hot, client))


class Hot:
    """What a follower has given a front to decide by."""

    failed = False

    def __init__(self) -> None:
        self.policies: list[Plans | None] = []

    def use_policy(self, plans: Plans | None) -> None:
        self.policies.append(plans)

    def use_clock(self, _anchor_ms: int) -> None:
        """The clock is not what is looked at here."""


@pytest.mark.parametrize("error", [ValueError, KeyError, MemoryError, msgspec.DecodeError])
async def test_no_error_whatever_leaves_a_front_with_what_is_not_in_force(
    hot: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(follow, "_PATIENCE_S", 0.1)
    shutil.copy(data(hot) / "policy.snapshot", tmp_path)
    board, gets = open_board(tmp_path), Hot()
    board["snapshot"] = snapshot_word(open_image(tmp_path / "policy.snapshot").digest)
    counts = NamedCounts(open_tally(tally_file(tmp_path, 0)))
    counts.put(FOLLOWS, 0)
    follower: Any = Follower(config.load(None, {"BROKER__DATA_DIR": str(tmp_path)}), board, gets, counts)  # type: ignore[arg-type]
    await follower.start()
    assert [policy is not None for policy in gets.policies] == [True]
    following = asyncio.create_task(follower.run())
    monkeypatch.setattr(follow, "open_image", _raising(error))
    board["snapshot"] += 1
    await eventually(lambda: _is(lambda: gets.policies[-1] is None))
    assert counts.tally.counts(0)[0] == 0, "and the core need not wait for it"
    monkeypatch.setattr(follow, "open_image", open_image)
    board["snapshot"] -= 1
    await eventually(lambda: _is(lambda: gets.policies[-1] is not None))
    following.cancel()


def _raising(error: type[Exception]) -> Callable[[Path], None]:
    def fail(_: Path) -> None:
        raise error("planted")

    return fail


async def _is(condition: Callable[[], bool]) -> bool:
    return condition()


# --- counters ----------------------------------------------------------------------------------------------------------

QUOTA, MORE = 200, 5000


async def test_no_answer_too_many_while_the_counters_move_to_a_larger_file(own: RunningBroker, register: Register) -> None:
    register.add(WHO, "张三")
    limited = grant(id="limited", quota_total=QUOTA)
    await put(own, register, grants=(limited,))
    file, before = data(own) / "counters", natively(own)
    size, answers, at_move = file.stat().st_size, 0, 0

    async def caller(client: AsyncClient) -> None:
        nonlocal answers
        for _ in range(QUOTA):
            while answers > QUOTA * 3 // 4 and not at_move:  # noqa: ASYNC110 - something is to be left for the larger file
                await asyncio.sleep(0.01)
            try:
                await ask(client)
                answers += 1
            except OverRate as failure:
                assert failure.reason == "QUOTA_EXCEEDED"
            await asyncio.sleep(0 if at_move else 0.02)

    async with own.client() as client:
        many = tuple(grant(id=f"x{number}", purposes=[f"p{number}"]) for number in range(MORE))
        applying = asyncio.create_task(
            asyncio.to_thread(own.apply, catalogue(register.base_url, own.public_key, grants=(limited, *many)))
        )
        callers = [asyncio.create_task(caller(client)) for _ in range(3)]  # more would use up a block of the quota at once
        await eventually(lambda: _is(lambda: file.stat().st_size > size))
        at_move, natively_at_move = answers, natively(own)
        await asyncio.gather(applying, *callers)
    assert 0 < at_move < QUOTA, "it moved while they asked"
    assert answers <= QUOTA
    assert answers >= QUOTA - 16, "at most what is left of some blocks lies idle"
    assert before < natively_at_move < natively(own), "the front spent from the one file and then from the other"


# --- cache -------------------------------------------------------------------------------------------------------------


async def test_a_purge_holds_for_the_very_next_call(hot: RunningBroker, register: Register) -> None:
    before = natively(hot)
    async with hot.client() as client:
        for number in range(30):
            register.add(WHO, f"名{number}")
            assert await hot.purge(subject=WHO) == 1
            assert [(await ask(client)).fields["name"] for _ in range(4)] == [f"名{number}"] * 4
        wait_until(lambda: natively(hot) - before >= 80)


async def test_a_cache_made_anew_is_not_read_from_the_old_files(hot: RunningBroker, register: Register) -> None:
    board = open_board(data(hot))
    async with hot.client() as client:
        await eventually(lambda: answers_all(hot, client))
        register.add(WHO, "李四")
        (data(hot) / "cache" / "generation").unlink()
        core = board["core"]
        os.kill(hot.core_pid(), signal.SIGKILL)
        assert (await ask(client)).fields["name"] == "张三", "without a core this is what is known"
        await eventually(lambda: _is(lambda: board["core"] != core))
        told = [(await ask(client, timeout_s=10)).fields["name"] for _ in range(20)]
        assert told == ["李四"] * 20
        await eventually(lambda: answers_all(hot, client))
    mapped = Path(f"/proc/{hot.fronts()[0]}/maps").read_text()
    assert "data.mdb" in mapped
    assert "data.mdb (deleted)" not in mapped
    hot.wait_ready()


# --- clock -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart_ms", [2 * DAY_MS, -2 * DAY_MS])
async def test_nobody_is_believed_by_a_wall_clock_alone(hot: RunningBroker, apart_ms: int) -> None:
    """To a front whose anchor says another time no proof is good: it has ended by the one clock or not begun by the other."""
    file = data(hot) / "clock"
    good = file.read_bytes()
    anchor = msgspec.json.decode(good, type=Anchor)
    assert anchor.boot == read_boot_id()
    replace(file, msgspec.json.encode(msgspec.structs.replace(anchor, wall_ms=anchor.wall_ms + apart_ms)))
    await _new_front(hot)
    async with hot.client() as client:
        for _ in range(3):
            assert await answers_nothing(hot, client), "the core, which has the right anchor, answers"
    replace(file, good)
    await _new_front(hot)
    async with hot.client() as client:
        await eventually(lambda: answers_all(hot, client))


async def _new_front(broker: RunningBroker) -> None:
    (front,) = broker.fronts()
    os.kill(front, signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: broker.fronts() not in ([], [front]))
    await asyncio.to_thread(broker.wait_ready)


async def test_a_front_without_a_core_at_its_start_answers_nothing_wrong(hot: RunningBroker) -> None:
    """It knows no token yet, and nobody is there to vouch for one."""
    os.kill(hot.core_pid(), signal.SIGSTOP)
    core = hot.cores()[0]
    try:
        (front,) = hot.fronts()
        os.kill(front, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: hot.fronts() not in ([], [front]))
        async with hot.client() as client:
            with pytest.raises(CallFailed) as failure:
                await ask(client, timeout_s=1.5)
        assert failure.value.code.name in ("DEADLINE_EXCEEDED", "UNAVAILABLE")
    finally:
        os.kill(core, signal.SIGCONT)
    await asyncio.to_thread(hot.wait_ready)


async def test_without_a_core_hits_go_on_for_a_while_and_not_forever(tmp_path: Path, register: Register) -> None:
    register.add(WHO, "张三")
    broker = RunningBroker(tmp_path, BROKER__FRONT__CORE_AWAY_MS="1500", BROKER__GRPC__GRACE_MS="100")
    broker.start()
    try:
        await put(broker, register)
        async with broker.client() as client:
            await eventually(lambda: answers_all(broker, client))
            os.kill(broker.core_pid(), signal.SIGSTOP)
            assert (await ask(client)).provenance.source == "CACHE"
            await asyncio.sleep(2)
            with pytest.raises(CallFailed):  # passed on to a core that does not answer
                await ask(client, timeout_s=0.5)
            os.kill(broker.core_pid(), signal.SIGCONT)
            await eventually(lambda: answers_all(broker, client))
    finally:
        broker.kill()
