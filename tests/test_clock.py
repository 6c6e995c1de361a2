"""The clock: what ends is judged by the later of two times, what begins by the earlier; a step back revives nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from broker.client import AsyncClient, CallFailed, TokenRefused
from broker.client.credentials import issue_token, load_key, public_half
from broker.config import Identity
from broker.errors import Unauthenticated
from broker.model.call import Peer, Times
from broker.model.catalogue import Catalogue, Consumer, ConsumerKey
from broker.policy.clock import Anchor, Clock, of_this_boot, times
from broker.policy.compiler import compile_snapshot
from broker.policy.identify import Identifier
from tests.support.calling import WHO, ask, put
from tests.support.catalogue import CONSUMER
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually

ANCHOR = Anchor(boot="b", wall_ms=1_800_000_000_000, elapsed_ms=5_000)
DAY_MS = 86_400_000
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def test_a_true_clock_has_one_time() -> None:
    assert times(ANCHOR, ANCHOR.wall_ms + 10, 5_010) == Times.exactly(ANCHOR.wall_ms + 10)


@pytest.mark.parametrize("jump_ms", [-DAY_MS, -1, 1, DAY_MS])
def test_a_clock_that_jumped_has_two(jump_ms: int) -> None:
    true_ms = ANCHOR.wall_ms + 10
    found = times(ANCHOR, true_ms + jump_ms, 5_010)
    assert found.wall_ms == true_ms + jump_ms
    assert (found.earliest_ms, found.latest_ms) == tuple(sorted((true_ms, true_ms + jump_ms)))


@given(st.lists(st.tuples(st.integers(0, 10 * DAY_MS), st.integers(-10 * DAY_MS, 10 * DAY_MS)), max_size=20))
def test_whatever_the_wall_clock_does_the_latest_time_never_goes_below_the_time_passed(steps: list[tuple[int, int]]) -> None:
    elapsed_ms = ANCHOR.elapsed_ms
    for passed_ms, error_ms in steps:
        elapsed_ms += passed_ms
        true_ms = ANCHOR.wall_ms + elapsed_ms - ANCHOR.elapsed_ms
        found = times(ANCHOR, true_ms + error_ms, elapsed_ms)
        assert found.earliest_ms <= true_ms <= found.latest_ms
        assert found.wall_ms in (found.earliest_ms, found.latest_ms)


KEY = Ed25519PrivateKey.generate()
SNAPSHOT = compile_snapshot(
    Catalogue(consumers=(Consumer(id="c", name="c", keys=(ConsumerKey(id="k1", public_key=public_half(KEY)),)),)), 1
)


def _good(identifier: Identifier, token: str, now: Times) -> bool:
    try:
        return identifier.identify(Peer(token=token), SNAPSHOT, now).id == "c"
    except Unauthenticated:
        return False


@pytest.mark.parametrize("remembered", [True, False])
def test_a_step_back_revives_no_expired_token(remembered: bool) -> None:
    identifier = Identifier(Identity(), 4096)
    token = issue_token("c", KEY, now_s=ANCHOR.wall_ms / 1000)
    if remembered:
        assert _good(identifier, token, times(ANCHOR, ANCHOR.wall_ms, 5_000))
    later_ms = 2 * DAY_MS
    assert not _good(identifier, token, times(ANCHOR, ANCHOR.wall_ms + later_ms, 5_000 + later_ms))
    for back_ms in (DAY_MS, later_ms, later_ms + 1):
        assert not _good(identifier, token, times(ANCHOR, ANCHOR.wall_ms + later_ms - back_ms, 5_000 + later_ms))


def test_a_step_forward_refuses_until_it_is_mended() -> None:
    identifier = Identifier(Identity(), 4096)
    token = issue_token("c", KEY, now_s=ANCHOR.wall_ms / 1000)
    assert _good(identifier, token, times(ANCHOR, ANCHOR.wall_ms, 5_000))
    assert not _good(identifier, token, times(ANCHOR, ANCHOR.wall_ms + DAY_MS, 5_000))
    tomorrows = issue_token("c", KEY, now_s=(ANCHOR.wall_ms + DAY_MS) / 1000)
    assert not _good(identifier, tomorrows, times(ANCHOR, ANCHOR.wall_ms + DAY_MS, 5_000))
    assert _good(identifier, token, times(ANCHOR, ANCHOR.wall_ms + 1, 5_001))


def test_an_anchor_is_of_one_boot() -> None:
    assert of_this_boot(ANCHOR, "b", 5_000)
    assert not of_this_boot(ANCHOR, "another", 5_000)
    assert not of_this_boot(ANCHOR, "b", 4_999), "the machine cannot have been up for less time than before"
    assert not of_this_boot(None, "b", 5_000)
    assert not of_this_boot(Anchor(boot="", wall_ms=0, elapsed_ms=0), "", 5_000), "a kernel that does not say"


def test_a_restarted_core_keeps_the_anchor_and_another_boot_does_not(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    assert abs(Clock(file, 1000, "b")().wall_ms - time.time() * 1000) < 60_000
    held = json.loads(file.read_bytes())
    file.write_text(json.dumps(held | {"wall_ms": held["wall_ms"] + DAY_MS}))  # as if the clock had been ahead at that moment
    again = Clock(file, 1000, "b")()
    assert again.earliest_ms == again.wall_ms
    assert abs(again.latest_ms - again.wall_ms - DAY_MS) < 60_000
    other = Clock(file, 1000, "another")()
    assert other.latest_ms - other.earliest_ms < 60_000


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"boot":"b"}', b'{"boot":"b","wall_ms":"1","elapsed_ms":0}', bytes(9)])
def test_a_file_that_is_none_makes_a_new_anchor(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "clock"
    file.write_bytes(content)
    found = Clock(file, 1000, "b")()
    assert found.latest_ms - found.earliest_ms < 60_000
    assert json.loads(file.read_bytes())["boot"] == "b"


def test_the_file_may_be_removed_once_the_clock_is_right(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    Clock(file, 1000, "b")
    held = json.loads(file.read_bytes())
    file.write_text(json.dumps(held | {"wall_ms": held["wall_ms"] - DAY_MS}))
    clock = Clock(file, 1000, "b")
    file.unlink()
    found = clock()
    assert found.latest_ms - found.earliest_ms < 60_000
    assert file.exists()


def test_a_directory_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    found = Clock(tmp_path / "nowhere" / "clock", 1000, "b")()
    assert found.latest_ms - found.earliest_ms < 60_000


class Wall:
    """What the wall clock of a broker says: the machine's, moved by whatever stands in a file. The time passed is not moved."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "faketime"
        self.move("+0")

    def move(self, by: str) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(f"{by}\n")
        written.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",  # and so not the time since the boot either
        }


@pytest.fixture
def wall(tmp_path: Path) -> Wall:
    return Wall(tmp_path)


@pytest.fixture
def moved(tmp_path: Path, wall: Wall) -> Iterator[RunningBroker]:
    broker = RunningBroker(tmp_path, **wall.environment)
    broker.start()
    yield broker
    broker.kill()


def _aged(broker: RunningBroker, age_s: int) -> AsyncClient:
    """A client whose token was issued so long ago."""
    token = issue_token(CONSUMER, load_key(broker.key_file), now_s=time.time() - age_s)
    return AsyncClient(broker.target, lambda: token)


async def _refused(client: AsyncClient) -> bool:
    try:
        await ask(client)
    except TokenRefused:
        return True
    return False


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (deploy/system-packages test)")
async def test_a_running_broker_and_its_successor_let_no_step_of_the_clock_revive_a_token(
    moved: RunningBroker, wall: Wall, register: Register
) -> None:
    register.add(WHO, "张三")
    await put(moved, register)
    async with moved.client() as good, _aged(moved, 400) as expired, _aged(moved, 86_500) as of_yesterday:
        assert not await _refused(good)
        assert await _refused(expired)
        wall.move("-200")  # both would be good by the wall clock alone, each at its step
        assert await _refused(expired)
        wall.move("-1d")
        assert await _refused(of_yesterday)
        os.kill(moved.core_pid(), signal.SIGKILL)
        await eventually(lambda: _answers(of_yesterday))
        assert await _refused(of_yesterday)
        wall.move("+1d")
        assert await _refused(good)
        wall.move("+0")
        assert not await _refused(good)
    assert "the wall clock has jumped" in moved.log_file.read_text()


async def _answers(client: AsyncClient) -> bool:
    try:
        await ask(client)
    except CallFailed as failure:
        return failure.code is not grpc.StatusCode.UNAVAILABLE
    return True
