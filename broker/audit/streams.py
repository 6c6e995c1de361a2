"""A stream of audit records as the core and its like write it: what is told is durable before anybody is told of it.

`record` returns the identifier of a record that is on the disk. Who has several things to wait for appends first and waits
once, with `append` and `durable`. One event of the writer's thread wakes all whose batch is durable. Each day (UTC) begins
a segment, so that a day can be archived. After an error of the
disk all who wait are refused at once, and so is every further record until the log can be written again; what they told of
must not leave. What must not go in here: what a record says, where a stream goes on (segments.py), how it is written
(ext/journal_*).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import heapq
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, Unpack

import structlog

from broker._native import journal, merkle
from broker._native.journal import Writer
from broker.audit.segments import find_start, open_folder
from broker.audit.subject import SubjectKey
from broker.boot import read_boot_id
from broker.errors import AuditOverloaded, AuditUnavailable

if TYPE_CHECKING:
    from broker._native.journal import Facts, Fields, Progress

_BOOT_ID_BYTES = 16
_LOOK_FOR_DAY_S = 1.0

log = structlog.get_logger("audit")


@dataclass(frozen=True)
class Writing:
    """How streams are written."""

    algorithm: int = merkle.SHA256
    segment_bytes: int = 128 << 20  # the batch that reaches it is the last; so much is read when a process starts
    step_bytes: int = 64 << 20  # by which room is reserved on the disk
    linger_us: int = 200  # how long a batch waits for more records, at most
    retry_ms: int = 250  # after a failure
    patience_s: float = 1.0  # that somebody waits for the disk


class _Waiter(NamedTuple):
    """One who waits for a record, in the order in which they are told."""

    sequence: int
    order: int  # of those who wait for the same record
    future: asyncio.Future[None]
    since_s: float  # by the loop's clock

    def refuse(self) -> None:
        if not self.future.done():  # who left need not be told
            self.future.set_exception(AuditUnavailable())


class Stream:
    """The stream of one process slot, open for writing. For one event loop."""

    def __init__(self, name: str, directory: int, writer: Writer, patience_s: float = 1.0) -> None:
        """Take over an open folder and a writer; `open_stream` makes them."""
        self.name = name
        self._directory = directory
        self._writer = writer
        self._patience_s = patience_s
        self._waiting: list[_Waiter] = []  # a heap
        self._watch: asyncio.TimerHandle | None = None  # over those who wait
        self._order = itertools.count()
        self._seen = writer.progress()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.listener: Callable[[Progress], None] = lambda _: None  # is told of each batch, and of each change of state
        if not self.is_open:
            facts = writer.facts()
            log.error("audit_unwritable", stream=name, error=os.strerror(facts["error"]), segment=facts["segment"])

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._event = self._writer.event
        self._loop.add_reader(self._event, self._wake)
        self._days = self._loop.create_task(rotate_daily(self))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write all that was appended, close the segment and let go of the folder."""
        if self._loop is not None:
            self._days.cancel()
            self._loop.remove_reader(self._event)
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.to_thread(self._writer.close)  # which waits for the disk
        self._look()
        os.close(self._directory)

    @property
    def writer(self) -> Writer:
        """What writes it, for those who do so natively."""
        return self._writer

    @property
    def is_open(self) -> bool:
        """Whether records are taken now."""
        return self._writer.state == journal.OPEN

    def identifier(self, sequence: int) -> str:
        """Return what a record is called outside."""
        return f"{self.name}.{sequence}"

    async def record(self, **fields: Unpack[Fields]) -> str:
        """Record something, and return the record's identifier once it is durable.

        Raises:
            AuditUnavailable: it may not be durable; nothing that it tells of may leave.
            AuditOverloaded: too many records wait for the disk.
        """
        sequence = self.append(**fields)
        await self.durable(sequence)
        return self.identifier(sequence)

    def append(self, **fields: Unpack[Fields]) -> int:
        """Queue a record and return its sequence. It is written whether somebody waits for it or not. Raises as `record`."""
        try:
            return self._writer.append(journal.encode(**fields))
        except journal.Unavailable:
            raise AuditUnavailable from None
        except journal.Full:
            raise AuditOverloaded from None

    async def durable(self, sequence: int) -> None:
        """Return once a record is durable. Raises AuditUnavailable: it cannot be, or not in time."""
        if sequence < self._writer.durable:
            return
        if not self.is_open:
            raise AuditUnavailable
        loop = asyncio.get_running_loop()
        waiter = _Waiter(sequence, next(self._order), loop.create_future(), loop.time())
        heapq.heappush(self._waiting, waiter)
        if self._watch is None:
            self._watch = loop.call_later(self._patience_s, self._refuse_late)
        await waiter.future

    def rotate(self) -> None:
        """Close the segment, as at the end of a day, with a record that says so. Raises as `record`."""
        told = journal.encode(kind=_TOLD, outcome="ROTATED")
        try:
            self._writer.append(told, journal.CLOSES_SEGMENT)
        except journal.Unavailable:
            raise AuditUnavailable from None
        except journal.Full:
            raise AuditOverloaded from None

    def follow(self, snapshot: int) -> None:
        """Say which policy snapshot is in force; batches tell it from now on."""
        self._writer.set_snapshot(snapshot)

    def facts(self) -> Facts:
        """Return what the writer tells of itself."""
        return self._writer.facts()

    def _wake(self) -> None:
        os.eventfd_read(self._event)
        self._look()

    def _look(self) -> None:
        now, seen = self._writer.progress(), self._seen
        self._seen = now
        self._resolve(now.durable)
        if now.failures != seen.failures or not now.is_open:
            self._refuse(now)
        if now.failures != seen.failures or now.is_open != seen.is_open:
            self._tell(now, seen)
        self.listener(now)

    def _resolve(self, durable: int) -> None:
        while self._waiting and self._waiting[0].sequence < durable:
            future = heapq.heappop(self._waiting).future
            if not future.done():  # who left need not be told
                future.set_result(None)

    def _refuse(self, now: Progress) -> None:
        """Tell those whose record was not durable when the log failed. It may become so yet, but nothing has left till then."""
        while self._waiting and (not now.is_open or self._waiting[0].sequence < now.undecided):
            heapq.heappop(self._waiting).refuse()

    def _refuse_late(self) -> None:
        """A disk that hangs tells of no failure. Who has waited for too long is told so; what they told of may not leave."""
        loop = asyncio.get_running_loop()
        latest = loop.time() - self._patience_s
        late = [waiter for waiter in self._waiting if waiter.since_s <= latest]
        self._waiting = [waiter for waiter in self._waiting if waiter.since_s > latest]
        heapq.heapify(self._waiting)
        for waiter in late:
            waiter.refuse()
        if late:
            log.error("audit_slow", stream=self.name, refused=len(late))
        self._watch = loop.call_later(self._patience_s / 8, self._refuse_late) if self._waiting else None

    def _tell(self, now: Progress, seen: Progress) -> None:
        """Put failures into the log, and their end."""
        facts = self._writer.facts()
        if now.failures != seen.failures:
            log.error("audit_unwritable", stream=self.name, error=os.strerror(facts["error"]), segment=facts["segment"])
        elif facts["state"] == journal.OPEN:
            log.warning("audit_writable_again", stream=self.name, segment=facts["segment"])


_TOLD = 5  # AUDIT_KIND_TOLD


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


async def rotate_daily(stream: Stream, today: Callable[[], dt.date] = _today, pause_s: float = _LOOK_FOR_DAY_S) -> None:
    """Begin a segment when another day has begun, until cancelled. A log that cannot be written then is tried again."""
    day = today()
    while True:
        await asyncio.sleep(pause_s)
        if (now := today()) != day:
            with contextlib.suppress(AuditUnavailable, AuditOverloaded):
                stream.rotate()
                day = now


def open_stream(
    directory: Path,
    name: str,
    key: SubjectKey,
    writing: Writing | None = None,
    check: Callable[[], object] = lambda: None,
) -> Stream:
    """Open the stream of a slot for writing, in `directory`/`name`, where it was left; use it as an async context.

    `check` is called when nobody else can write the stream any more, and before anything is written; what it raises is raised.
    A stream whose next segment cannot be made, as on a full disk, is opened all the same and refuses records until it can.

    Raises:
        AlreadyRunning: another process writes it.
        AuditRefused: what is there is damaged, or has another hash.
        DirectoryUnusable: the folder cannot be made or read.
    """
    writing = writing or Writing()
    folder = directory / name
    descriptor = open_folder(folder)
    try:
        check()
        start = find_start(folder, writing.algorithm)
        writer = Writer(
            descriptor,
            name,
            algorithm=writing.algorithm,
            boot=bytes.fromhex(read_boot_id().replace("-", "")).ljust(_BOOT_ID_BYTES, b"\0"),
            key=key.identifier(writing.algorithm),
            why=start.why,
            numbers=(start.segment, start.batches, start.records),
            chain=start.chain,
            tree=(start.batches, b"".join(start.nodes)),
            valid=start.valid,
            left=start.left,
            wall_ns=start.wall_ns,
            segment_bytes=writing.segment_bytes,
            step_bytes=writing.step_bytes,
            linger_us=writing.linger_us,
            retry_ms=writing.retry_ms,
        )
    except BaseException:
        os.close(descriptor)
        raise
    return Stream(name, descriptor, writer, writing.patience_s)
