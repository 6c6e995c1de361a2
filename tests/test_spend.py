"""The limits of a grant against a model: never more than burst + rate * time or than the quota, and honest retry times."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import BrokerError, ControlPlaneUnavailable, QuotaExceeded, RateExceeded
from broker.model.call import Times
from broker.model.catalogue import Catalogue, Grant
from broker.model.snapshot import Snapshot
from broker.policy.compiler import compile_snapshot
from broker.policy.counter_file import CounterFile
from broker.policy.database import Database
from broker.policy.quota import Quotas
from broker.policy.spend import Limits
from tests.support.catalogue import CONSUMER, consumer, grant, interface, provider

KEY = "A" * 43 + "="
NOON_MS = 1_795_320_000_000  # 22 November 2026, 12:00 in Shanghai
DAY_MS = 86_400_000


class Desk:
    """Limits over a database and counters of their own, and clocks that a test sets."""

    def __init__(self, directory: Path, url: str = "") -> None:
        self.directory = directory
        self.now_s, self.wall_ms = 100.0, NOON_MS
        self.database = Database(url or f"sqlite:///{directory}/control.db")
        self.open()

    def open(self) -> None:
        self.limits = Limits(
            CounterFile(self.directory / "counters"), Quotas(self.database), b"k" * 32, lambda: round(self.now_s * 1e9)
        )

    def restart(self, *, power_cut: bool = False) -> None:
        self.limits.close()
        if power_cut:
            (self.directory / "counters").unlink()
        self.open()

    async def allowed(self, snapshot: Snapshot, number: int = 0, subject: str = "") -> bool:
        try:
            await self.spend(snapshot, number, subject)
        except (RateExceeded, QuotaExceeded):
            return False
        return True

    async def spend(self, snapshot: Snapshot, number: int = 0, subject: str = "") -> None:
        authority = snapshot.authority(snapshot.image.terms()[number])
        await self.limits.spend(snapshot, authority, subject, Times.exactly(self.wall_ms))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.limits.close()
    made.database.close()


def _snapshot(*grants: Grant) -> Snapshot:
    catalogue = Catalogue(
        providers=(provider("http://x"),),
        interfaces=(interface(),),
        consumers=(consumer(KEY, id=CONSUMER),),
        grants=grants,
    )
    return compile_snapshot(catalogue, 1)


async def test_a_burst_then_the_rate(desk: Desk) -> None:
    slow = _snapshot(grant(rate_per_second=2.0, burst=3))
    assert [await desk.allowed(slow) for _ in range(4)] == [True, True, True, False]
    desk.now_s += 0.5
    assert [await desk.allowed(slow) for _ in range(2)] == [True, False]


async def test_the_retry_time_is_when_one_more_call_is_allowed(desk: Desk) -> None:
    slow = _snapshot(grant(rate_per_second=0.5, burst=1))
    await desk.spend(slow)
    desk.now_s += 0.5
    with pytest.raises(RateExceeded) as refusal:
        await desk.spend(slow)
    wait = refusal.value.retry_after_s
    assert wait == pytest.approx(1.5)
    desk.now_s += wait - 0.001
    assert not await desk.allowed(slow)
    desk.now_s += 0.001
    assert await desk.allowed(slow)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.1, 1000), st.integers(1, 50), st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=100))
def test_never_more_than_burst_and_rate_allow(
    tmp_path_factory: pytest.TempPathFactory, rate: float, burst: int, pauses: list[float]
) -> None:
    desk = Desk(tmp_path_factory.mktemp("d"))
    bounded = _snapshot(grant(rate_per_second=rate, burst=burst))
    start, allowed = desk.now_s, 0
    with contextlib.closing(desk.limits), asyncio.Runner() as runner:
        for pause in pauses:
            desk.now_s += pause
            allowed += runner.run(desk.allowed(bounded))
            assert allowed <= burst + rate * (desk.now_s - start) + 1e-6


async def test_a_raised_rate_holds_from_the_next_call_on(desk: Desk) -> None:
    slow, faster = (_snapshot(grant(rate_per_second=rate, burst=2)) for rate in (0.001, 1000.0))
    assert [await desk.allowed(slow) for _ in range(3)] == [True, True, False]
    assert await desk.allowed(faster)


async def test_grants_do_not_share(desk: Desk) -> None:
    two = _snapshot(grant(id="one", rate_per_second=1.0, burst=1), grant(id="other", rate_per_second=1.0, burst=1))
    assert [await desk.allowed(two, number) for number in (0, 0, 1, 1)] == [True, False, True, False]


async def test_what_was_spent_outlives_the_process(desk: Desk) -> None:
    bounded = _snapshot(grant(rate_per_second=0.001, burst=3, quota_total=100))
    assert await desk.allowed(bounded)
    desk.restart()
    assert [await desk.allowed(bounded) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("power_cut", [False, True])
async def test_a_quota_is_never_exceeded_over_restarts(desk: Desk, power_cut: bool) -> None:
    bounded = _snapshot(grant(quota_per_day=300, quota_total=250))
    allowed = 0
    for _ in range(40):
        allowed += sum([await desk.allowed(bounded) for _ in range(10)])
        desk.restart(power_cut=power_cut)
    assert allowed <= 250
    assert power_cut or allowed == 250, "only a power cut loses what was reserved"


async def test_a_day_ends_at_midnight_of_the_grants_zone_and_a_clock_set_back_gives_nothing_back(desk: Desk) -> None:
    bounded = _snapshot(grant(quota_per_day=5))
    assert sum([await desk.allowed(bounded) for _ in range(9)]) == 5
    with pytest.raises(QuotaExceeded) as refusal:
        await desk.spend(bounded)
    assert refusal.value.retry_after_s == 12 * 3600
    desk.wall_ms += DAY_MS // 2 - 1
    assert not await desk.allowed(bounded)
    desk.wall_ms += 1
    assert sum([await desk.allowed(bounded) for _ in range(9)]) == 5
    for jump in (-DAY_MS, DAY_MS, -DAY_MS, DAY_MS):
        desk.wall_ms += jump
        assert not await desk.allowed(bounded)


async def test_two_cores_on_one_control_plane_share_a_quota(tmp_path: Path) -> None:
    bounded = _snapshot(grant(quota_per_day=500, burst=1000))
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    desks = [Desk(tmp_path / name, f"sqlite:///{tmp_path}/control.db") for name in ("1", "2")]
    allowed = await asyncio.gather(*(desk.allowed(bounded) for _ in range(400) for desk in desks))
    assert 480 <= sum(allowed) <= 500, "at most what is left of a block lies idle at the other one"
    for desk in desks:
        desk.limits.close()


async def test_many_at_once_reserve_once(desk: Desk) -> None:
    bounded = _snapshot(grant(quota_total=100_000, burst=1000))
    assert all(await asyncio.gather(*(desk.allowed(bounded) for _ in range(900))))
    assert desk.limits._quotas.reserve(grant().id, "total", 0, 100_000).beyond == 98_000


async def test_subjects_are_counted_once_each_and_forgotten_afterwards(desk: Desk) -> None:
    bounded = _snapshot(grant(subjects_per_day=3))
    asked = ("a", "b", "a", "c", "d", "b", "e")
    assert [await desk.allowed(bounded, subject=who) for who in asked] == [True, True, True, True, False, True, False]
    desk.restart()
    assert [await desk.allowed(bounded, subject=who) for who in asked] == [True, True, True, True, False, True, False]
    assert desk.limits.forget_days(bounded, Times.exactly(desk.wall_ms)) == 0
    assert desk.limits.forget_days(bounded, Times.exactly(desk.wall_ms + 2 * DAY_MS)) == 3
    desk.wall_ms += DAY_MS
    assert await desk.allowed(bounded, subject="e")


async def test_without_a_control_plane_what_was_reserved_is_spent_and_then_said_so(desk: Desk) -> None:
    bounded, unbounded = _snapshot(grant(id="b", quota_per_day=200)), _snapshot(grant(id="u"))
    assert await desk.allowed(bounded)
    desk.database.close()
    (desk.directory / "control.db").unlink()
    (desk.directory / "control.db").mkdir()
    assert [await desk.allowed(bounded) for _ in range(3)] == [True] * 3
    with pytest.raises(ControlPlaneUnavailable) as refusal:
        await desk.spend(bounded)
    assert isinstance(refusal.value, BrokerError)
    assert refusal.value.retry_after_s
    assert await desk.allowed(unbounded)


@pytest.mark.timeout(60)
async def test_many_small_blocks_never_hold_up_the_loop(desk: Desk) -> None:
    bounded = _snapshot(grant(quota_per_day=40))
    calls = []
    for turn in range(400):
        calls += [asyncio.create_task(desk.allowed(bounded)) for _ in range(turn % 4)]
        await asyncio.sleep(0)
    assert sum(await asyncio.gather(*calls)) == 40


async def test_who_waits_over_midnight_gets_of_the_day_that_it_is(desk: Desk) -> None:
    bounded = _snapshot(grant(quota_per_day=2))
    assert [await desk.allowed(bounded) for _ in range(2)] == [True, True]
    desk.wall_ms += DAY_MS // 2 - 1
    before = asyncio.create_task(desk.allowed(bounded))
    await asyncio.sleep(0)
    desk.wall_ms += 1
    assert await desk.allowed(bounded)
    assert not await before
    assert await desk.allowed(bounded)


async def test_a_quota_raised_while_it_is_reserved_is_the_raised_one(desk: Desk) -> None:
    small, large = _snapshot(grant(quota_total=1)), _snapshot(grant(quota_total=500))
    assert await desk.allowed(small)
    refused = asyncio.create_task(desk.allowed(small))
    await asyncio.sleep(0)
    assert await desk.allowed(large)
    assert not await refused


async def test_what_is_known_to_be_used_up_asks_the_control_plane_nothing(desk: Desk) -> None:
    bounded = _snapshot(grant(subjects_per_day=2, quota_total=50))
    assert [await desk.allowed(bounded, subject=who) for who in ("a", "b", "c")] == [True, True, False]
    desk.restart()
    assert not await desk.allowed(bounded, subject="d"), "learns which were counted"
    desk.database.close()
    (desk.directory / "control.db").rename(desk.directory / "away.db")
    (desk.directory / "control.db").mkdir()
    assert [await desk.allowed(bounded, subject=who) for who in ("e", "f", "g")] == [False] * 3


async def test_a_subject_that_is_refused_costs_nothing_else(desk: Desk) -> None:
    bounded = _snapshot(grant(subjects_per_day=1, quota_total=3, rate_per_second=0.001, burst=3))
    assert await desk.allowed(bounded, subject="a")
    assert [await desk.allowed(bounded, subject=f"new-{n}") for n in range(9)] == [False] * 9
    assert [await desk.allowed(bounded, subject="a") for _ in range(3)] == [True, True, False]
