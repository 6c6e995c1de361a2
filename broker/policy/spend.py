"""Step 5 of a call: the grant's limits. Counted natively in shared memory, from blocks reserved in the control plane.

Refused calls cost nothing, so a caller that keeps asking is not pushed further back. A subject is counted when it is first
asked about, before the rest: who is refused for the rate asks about the same subject again. What must not go in here: how the
counters change (counters.pyx) and where quotas are kept (quota.py).
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import time
from collections.abc import Callable
from typing import TypeVar

from broker.errors import ControlPlaneUnavailable, DirectoryUnusable, QuotaExceeded, RateExceeded
from broker.model.call import Authority, Remaining, Times
from broker.model.snapshot import Snapshot
from broker.policy.counter_file import CounterFile
from broker.policy.quota import TOTAL, Quotas

T = TypeVar("T")

_BLOCKS_A_QUOTA = 50  # so that what is lost with a block is little of the whole
_MAX_BLOCK = 1000
_MAX_ADMITTED = 100_000


class Spent(enum.IntEnum):
    """What counting one call came to (`broker/_native/counters.pyi`)."""

    SPENT = 0
    RATE_USED_UP = 1
    DAY_USED_UP = 2
    TOTAL_USED_UP = 3


class Limits:
    """Spends the limits of grants. For one event loop; the counters are shared with other processes."""

    def __init__(
        self, file: CounterFile, quotas: Quotas, subject_key: bytes, mono_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._file = file
        self._quotas = quotas
        self._subject_key = subject_key
        self._mono_ns = mono_ns
        self._reserving: dict[tuple[str, str], asyncio.Task[bool]] = {}  # by grant and quota
        self._used_up: dict[tuple[str, str], tuple[int, int]] = {}  # the day and the limit that was reached
        self._admitted: dict[tuple[str, str, bytes], None] = {}  # oldest first

    async def spend(self, snapshot: Snapshot, authority: Authority, subject: str, times: Times) -> Remaining:
        """Take one call off every limit of a grant, or off none; return what is left.

        Raises:
            RateExceeded: the rate is used up; carries the time until one more call is allowed.
            QuotaExceeded: a quota is used up; carries the time until the next day, where that helps.
            ControlPlaneUnavailable: it does not answer, and there is nothing left of the block.
        """
        day = snapshot.image.day(times.latest_ms)
        if authority.subjects_per_day:
            await self._admit(snapshot, authority, subject, day, times)
        while True:
            spent, wait_ns = self._file.counters.spend(snapshot.image, authority.ref, self._mono_ns(), day)
            if spent == Spent.SPENT:
                break
            if spent == Spent.RATE_USED_UP:
                raise RateExceeded(authority.grant, "rate_per_second", wait_ns / 1e9)
            await self._reserve(snapshot, authority, day if spent == Spent.DAY_USED_UP else 0, times)
        burst, today, total = self._file.counters.remaining(snapshot.image, authority.ref, self._mono_ns(), day)
        return Remaining(burst=burst, today=today, total=total)

    async def _reserve(self, snapshot: Snapshot, authority: Authority, day: int, times: Times) -> None:
        """Get another block of a day, or for good if `day` is 0. Reserved once however many wait."""
        limit, name = (authority.quota_per_day, "quota_per_day") if day else (authority.quota_total, "quota_total")
        place, known = (authority.grant, name), (day, limit)
        if self._used_up.get(place) != known:
            if place not in self._reserving:
                work = self._reserve_block(snapshot, authority, day, limit)
                task = self._reserving[place] = asyncio.create_task(work)
                task.add_done_callback(lambda done: self._reserved(place, done))
            if await asyncio.shield(self._reserving[place]):
                return
            self._used_up[place] = known
        raise QuotaExceeded(authority.grant, name, _until_tomorrow_s(snapshot, times) if day else None)

    async def _reserve_block(self, snapshot: Snapshot, authority: Authority, day: int, limit: int) -> bool:
        want = max(1, min(_MAX_BLOCK, limit // _BLOCKS_A_QUOTA))
        period = str(day) if day else TOTAL
        reserved = await _in_thread(self._quotas.reserve, authority.grant, period, want, limit)
        if reserved.granted:
            self._file.counters.deposit(snapshot.image, authority.ref, day, reserved.granted, reserved.beyond)
        return reserved.granted > 0

    def _reserved(self, place: tuple[str, str], done: asyncio.Task[bool]) -> None:
        del self._reserving[place]
        if not done.cancelled():
            done.exception()  # looked at, even if everybody who waited has left

    async def _admit(self, snapshot: Snapshot, authority: Authority, subject: str, day: int, times: Times) -> None:
        hashed = hashlib.blake2b(subject.encode(), key=self._subject_key, digest_size=16).digest()
        seen = (authority.grant, str(day), hashed)
        if seen in self._admitted:
            return
        if not await _in_thread(self._quotas.admit, *seen, authority.subjects_per_day):
            raise QuotaExceeded(authority.grant, "subjects_per_day", _until_tomorrow_s(snapshot, times))
        self._admitted[seen] = None
        while len(self._admitted) > _MAX_ADMITTED:
            del self._admitted[next(iter(self._admitted))]

    def fit(self, snapshot: Snapshot) -> None:
        """Make room for the grants of a snapshot, and drop what is known of days that are over."""
        self._file.fit(snapshot.image)
        self._used_up.clear()

    def forget_days(self, snapshot: Snapshot, times: Times) -> int:
        """Remove from the control plane which subjects were asked about before yesterday. Blocks."""
        return self._quotas.forget_subjects(str(snapshot.image.day(times.earliest_ms) - 1))

    def close(self) -> None:
        """Let go of the counters."""
        self._file.close()


async def _in_thread(work: Callable[..., T], *arguments: object) -> T:
    try:
        return await asyncio.to_thread(work, *arguments)
    except DirectoryUnusable as error:
        raise ControlPlaneUnavailable from error


def _until_tomorrow_s(snapshot: Snapshot, times: Times) -> float:
    return max(0.001, (snapshot.image.next_day_ms(times.latest_ms) - times.latest_ms) / 1000)
