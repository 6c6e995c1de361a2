"""Step 5 of a call: the grant's limits. Counted natively in shared memory, from blocks reserved in the control plane.

Refused calls cost nothing, so a caller that keeps asking is not pushed further back, and what is known to be used up costs the
control plane nothing either. What must not go in here: how the counters change (counters.pyx) and where quotas are kept
(quota.py).
"""

from __future__ import annotations

import asyncio
import enum
import functools
import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from broker.errors import ControlPlaneUnavailable, DirectoryUnusable, QuotaExceeded, RateExceeded
from broker.model.call import Authority, Remaining, Times
from broker.model.snapshot import Snapshot
from broker.policy.counter_file import CounterFile
from broker.policy.quota import TOTAL, Quotas

T = TypeVar("T")

_BLOCKS_A_QUOTA = 50  # so that what is lost with a block is little of the whole
_MAX_BLOCK = 100_000  # a front can use up some ten thousands a second
_MAX_KNOWN = 100_000  # subjects of a grant and day; beyond it the control plane is asked each time
_THREADS = 2  # of our own: nobody else waits behind a control plane that is slow


class Spent(enum.IntEnum):
    """What counting one call came to (`broker/_native/counters.pyi`)."""

    SPENT = 0
    RATE_USED_UP = 1
    DAY_USED_UP = 2
    TOTAL_USED_UP = 3


class _Block(NamedTuple):
    """What a reservation is for; reservations for anything else are others."""

    grant: str
    name: str  # quota_per_day or quota_total
    day: int  # 0: for good
    limit: int


@dataclass
class _Subjects:
    """The subjects that a grant was used for on a day, as far as this core knows; all of them once they are used up."""

    day: int
    limit: int
    known: set[bytes] = field(default_factory=set)
    used_up: bool = False


class Limits:
    """Spends the limits of grants. For one event loop; the counters are shared with other processes."""

    def __init__(
        self, file: CounterFile, quotas: Quotas, subject_key: bytes, mono_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._file = file
        self._quotas = quotas
        self._subject_key = subject_key
        self._mono_ns = mono_ns
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="quota")
        self._reserving: dict[_Block, asyncio.Task[bool]] = {}
        self._used_up: dict[tuple[str, str], _Block] = {}  # by grant and quota
        self._subjects: dict[str, _Subjects] = {}  # by grant

    async def spend(self, snapshot: Snapshot, authority: Authority, subject: str, times: Times) -> Remaining:
        """Take one call off every limit of a grant, or off none; return what is left.

        Raises:
            RateExceeded: the rate is used up; carries the time until one more call is allowed.
            QuotaExceeded: a quota is used up; carries the time until the next day, where that helps.
            ControlPlaneUnavailable: it does not answer, and there is nothing left of the block.
        """
        image, ref = snapshot.image, authority.ref
        day = image.day(times.latest_ms)
        await self._count(snapshot, authority, day, times)
        if authority.subjects_per_day:
            try:
                await self._admit(snapshot, authority, subject, day, times)
            except BaseException:
                self._file.counters.refund(image, ref, day)
                raise
        return self._remaining(snapshot, authority, day)

    async def spend_on_search(self, snapshot: Snapshot, authority: Authority, times: Times) -> Remaining:
        """Take one search off every limit of a grant but that of subjects, for good: who they will be is not known yet.

        Where that limit is used up there is no search either, or it would tell who is there. Raises as `spend`.
        """
        day = snapshot.image.day(times.latest_ms)
        seen = self._subjects.get(authority.grant)
        if seen is not None and seen.used_up and (seen.day, seen.limit) == (day, authority.subjects_per_day):
            raise QuotaExceeded(authority.grant, "subjects_per_day", _until_tomorrow_s(snapshot, times))
        await self._count(snapshot, authority, day, times)
        return self._remaining(snapshot, authority, day)

    async def admit(self, snapshot: Snapshot, authority: Authority, subjects: Iterable[str], times: Times) -> None:
        """Count the subjects that a search found, before any is shown; those before the one that is refused stay counted.

        Raises:
            QuotaExceeded: the day's subjects are used up.
            ControlPlaneUnavailable: it does not answer.
        """
        if authority.subjects_per_day:
            for subject in subjects:
                await self._admit(snapshot, authority, subject, snapshot.image.day(times.latest_ms), times)

    def _remaining(self, snapshot: Snapshot, authority: Authority, day: int) -> Remaining:
        burst, today, total = self._file.counters.remaining(snapshot.image, authority.ref, self._mono_ns(), day)
        return Remaining(burst=burst, today=today, total=total)

    async def _count(self, snapshot: Snapshot, authority: Authority, day: int, times: Times) -> None:
        """Take one call off rate and quotas, reserving blocks as they are needed."""
        while True:
            spent, wait_ns = self._file.counters.spend(snapshot.image, authority.ref, self._mono_ns(), day)
            if spent == Spent.SPENT:
                return
            if spent == Spent.RATE_USED_UP:
                raise RateExceeded(authority.grant, "rate_per_second", wait_ns / 1e9)
            if spent == Spent.DAY_USED_UP:
                block = _Block(authority.grant, "quota_per_day", day, authority.quota_per_day)
            else:
                block = _Block(authority.grant, "quota_total", 0, authority.quota_total)
            if not await self._reserve(snapshot, authority, block):
                retry_after_s = _until_tomorrow_s(snapshot, times) if block.day else None
                raise QuotaExceeded(block.grant, block.name, retry_after_s)

    async def _reserve(self, snapshot: Snapshot, authority: Authority, block: _Block) -> bool:
        """Get a block, once however many wait; False when the quota is used up."""
        if self._used_up.get(block[:2]) == block:
            return False
        task = self._reserving.get(block)
        if task is None:
            task = self._reserving[block] = asyncio.create_task(self._reserve_block(snapshot, authority, block))
            task.add_done_callback(_look_at)
        granted = await asyncio.shield(task)
        if not granted:
            self._used_up[block[:2]] = block
        return granted

    async def _reserve_block(self, snapshot: Snapshot, authority: Authority, block: _Block) -> bool:
        want = max(1, min(_MAX_BLOCK, block.limit // _BLOCKS_A_QUOTA))
        period = str(block.day) if block.day else TOTAL
        try:
            reserved = await self._in_thread(self._quotas.reserve, block.grant, period, want, block.limit)
            if reserved.granted:
                self._file.counters.deposit(snapshot.image, authority.ref, block.day, reserved.granted, reserved.beyond)
            return reserved.granted > 0
        finally:
            del self._reserving[block]  # in the same step as the deposit: nobody may wait for what has been

    async def _admit(self, snapshot: Snapshot, authority: Authority, subject: str, day: int, times: Times) -> None:
        """Count a subject, unless this core knows already that it has been counted, or that no other can be."""
        hashed = hashlib.blake2b(subject.encode(), key=self._subject_key, digest_size=16).digest()
        limit = authority.subjects_per_day
        seen = self._subjects.get(authority.grant)
        if seen is None or (seen.day, seen.limit) != (day, limit):
            seen = self._subjects[authority.grant] = _Subjects(day, limit)
        if hashed in seen.known:
            return
        if seen.used_up or not await self._in_thread(self._quotas.admit, authority.grant, str(day), hashed, limit):
            await self._learn_all(authority.grant, seen)
            raise QuotaExceeded(authority.grant, "subjects_per_day", _until_tomorrow_s(snapshot, times))
        if len(seen.known) < _MAX_KNOWN:
            seen.known.add(hashed)

    async def _learn_all(self, grant: str, seen: _Subjects) -> None:
        """Once no other subject can be counted, those that were are all there is to know."""
        if not seen.used_up and seen.limit <= _MAX_KNOWN:
            seen.known |= await self._in_thread(self._quotas.subjects, grant, str(seen.day))
            seen.used_up = True

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, functools.partial(work, *arguments))
        except DirectoryUnusable as error:
            raise ControlPlaneUnavailable from error

    def fit(self, snapshot: Snapshot) -> None:
        """Make room for the grants of a snapshot, and drop what was known of limits before it.

        Raises:
            DirectoryUnusable: there is no room for them on the disk; the room of before stays in use.
        """
        self._used_up.clear()
        self._subjects.clear()
        self._file.fit(snapshot.image)

    @property
    def made(self) -> int:
        """Another number whenever the counters are in another file."""
        return self._file.made

    def forget_days(self, snapshot: Snapshot, times: Times) -> int:
        """Remove what was counted of days before yesterday from the control plane. Blocks."""
        return self._quotas.forget(snapshot.image.day(times.earliest_ms) - 1)

    def close(self) -> None:
        """Let go of the counters."""
        self._threads.shutdown(cancel_futures=True)
        self._file.close()


def _look_at(done: asyncio.Task[bool]) -> None:
    """An error that nobody waits for any more is no news to asyncio."""
    if not done.cancelled():
        done.exception()


def _until_tomorrow_s(snapshot: Snapshot, times: Times) -> float:
    return max(0.001, (snapshot.image.next_day_ms(times.latest_ms) - times.latest_ms) / 1000)
