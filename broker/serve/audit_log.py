"""The audit log of the core: its stream, opened from the settings, and the checkpoints over all streams.

What must not go in here: what is put down (audit/accesses.py), how it is written and signed (audit/).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any

import structlog
from aiohttp import web

from broker.audit.accesses import Accesses, NoLog
from broker.audit.changes import Ledger, NoLedger, Thing
from broker.audit.counts import StreamCounts
from broker.audit.disk import DiskAlarm
from broker.audit.reader import LogReader
from broker.audit.settings import writing_of
from broker.audit.signer import CheckpointSigner, open_key
from broker.audit.streams import Stream, open_stream
from broker.audit.subject import open_subject_key
from broker.audit.usage import UsageIndex, filling
from broker.config import Config, is_loopback
from broker.errors import AuditRefused, AuditRolledBack, BaseBusy, BrokerError, DirectoryUnusable
from broker.exchange import Exchange
from broker.serve import fingerprints
from broker.serve.usage_page import UsagePage
from broker.serve.witnessing import Witnessing
from broker.services.audit_service import AuditService
from broker.telemetry import metrics

CORE = "core"
_CHECKPOINT_EVERY_S = 0.5
_LOOK_AT_DISK_S = 5.0

log = structlog.get_logger("audit")


class AuditLog:
    """The stream of a core and the signer of all; with `audit.mode = "off"` neither."""

    def __init__(self, settings: Config, held: Mapping[str, str] = {}) -> None:
        """Open the stream where it was left, once the log is at least what was signed, and what witnesses hold (`held`) of it.

        Raises:
            AuditRolledBack: it has less, or a witness has another checkpoint; nothing was written.
            StartupError: another process writes it, it is damaged, or its folder or key cannot be used.
        """
        self._settings = settings.audit
        self._admin_host = settings.admin.http_address.rpartition(":")[0]
        self.directory = settings.path(settings.audit.directory)
        self.stream: Stream | None = None
        self.accesses: Accesses | NoLog = NoLog()
        self.ledger: Ledger | NoLedger = NoLedger()
        self.on_hold: Callable[[bool], None] = lambda _: None  # nothing may leave until a change is put down, or it may
        self._began: Mapping[str, Thing] = {}
        self._archives = settings.path(settings.audit.archive_dir)
        self._signer: CheckpointSigner | None = None
        self._index: UsageIndex | None = None
        self._lock = threading.Lock()
        self._tells_key = False  # whether it is put down which key signs
        self._held = held
        self._witnessing = Witnessing(settings, held)
        if settings.audit.mode != "off":
            self.key = open_subject_key(settings.path(settings.audit.subject_key_file))
            self.stream = open_stream(self.directory, CORE, self.key, writing_of(settings.audit), self._compare)
            self._counts = StreamCounts(CORE, self.stream.facts())
            self.accesses = Accesses(self.stream, self.key, settings.audit.mode)
            self.ledger = Ledger(self.stream, self.directory)
            self.ledger.on_hold = self._hold
            self._began = fingerprints.of_start(settings, self.key)
            self._reader = LogReader(settings, self.key, self._opened)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Within the context records are taken; at its end all of them are written."""
        if self.stream is None:
            yield
            return
        async with self.stream, self._witnessing.open():
            try:
                yield
            finally:
                if isinstance(self.accesses, Accesses):
                    self.accesses.tell_counted()

    async def begin(self, things: Mapping[str, Thing]) -> None:
        """Put down by what settings and keys this process runs, and what else is in force, where it is not as it was."""
        await self.ledger.in_force({**self._began, **things})

    def _hold(self, held: bool) -> None:
        if isinstance(self.accesses, Accesses):
            self.accesses.is_held = held
        self.on_hold(held)

    def services(self, exchange: Exchange, *, known: bool = True) -> dict[str, object]:
        """Return the service by which it is looked at, by name; none where there is no log."""
        if not isinstance(self.accesses, Accesses):
            return {}
        return {"AuditService": AuditService(exchange, self._reader, self.accesses, known=known)}

    def routes(self, exchange: Exchange) -> list[web.RouteDef]:
        """Return what auditors may ask over HTTP, which is on loopback only; nothing where there is no log."""
        if not isinstance(self.accesses, Accesses) or not is_loopback(self._admin_host):
            return []
        service = AuditService(exchange, self._reader, self.accesses)
        return UsagePage(service, self.accesses, lambda: exchange.snapshot).routes()

    def follow(self, snapshot: int) -> None:
        """Say which policy snapshot is in force."""
        if self.stream is not None:
            self.stream.follow(snapshot)

    def chores(self, stop: Callable[[], object]) -> Iterator[Coroutine[Any, Any, None]]:
        """Give what is done beside serving, each until cancelled; `stop` ends the process. Nothing where there is no log."""
        if self.stream is not None:
            yield self._keep(self.stream, stop)
            yield self._watch_disk()

    async def _keep(self, stream: Stream, stop: Callable[[], object]) -> None:
        """Sign checkpoints over all streams, twice a second, and have witnesses keep them; index what is certain.

        What goes wrong is told in the log and tried again: a checkpoint that is late proves later, and nothing is lost. A
        log that could not be compared at the start, and turns out to be another, is not served on.
        """
        while True:
            try:
                self._counts.count(stream.facts())
                if self._signer is None:
                    await asyncio.to_thread(self._open_signer)
                await self._sign()
                await asyncio.to_thread(self._fill)
            except Exception as error:
                metrics.audit_keep_failures.inc()
                why = str(error) if isinstance(error, BrokerError | OSError) else type(error).__name__
                log.error("the audit log could not be kept", why=why)
                if self._signer is None and isinstance(error, AuditRolledBack | AuditRefused):
                    stop()
            await asyncio.sleep(_CHECKPOINT_EVERY_S)

    async def _sign(self) -> None:
        assert self._signer is not None  # noqa: S101 - opened just before
        if not self._tells_key:
            await self.ledger.in_force(fingerprints.of_checkpoints(self._signer.verifier))
            self._tells_key = True
        await asyncio.to_thread(self._signer.sign)
        self._witnessing.offer(self._signer.newest_note)
        metrics.audit_checkpoint.set(self._signer.serial)

    async def _watch_disk(self) -> None:
        """Tell how full the disk is."""
        alarm = DiskAlarm(self.directory)
        while True:
            try:
                await asyncio.to_thread(alarm.look)
            except OSError as error:
                log.warning("it cannot be told how full the disk of the audit log is", why=error.strerror)
            await asyncio.sleep(_LOOK_AT_DISK_S)

    def _fill(self) -> None:
        """Have what is certain found by whom it is about, unless a command makes the index anew."""
        if self._signer is None:
            return
        with contextlib.suppress(BaseBusy), filling(self.directory):
            self._opened().fill(self._signer.places)

    def _opened(self) -> UsageIndex:
        """Return the index, opened once and by one: LMDB wants it so."""
        with self._lock:
            if self._index is None or self._index.is_replaced():
                self._index = UsageIndex(self.directory, self._archives)
            return self._index

    def _compare(self) -> None:
        """Compare the log with what was signed of it, before anything is written; a full disk keeps no core from starting."""
        try:
            self._open_signer()
        except DirectoryUnusable as error:
            log.error("the audit log cannot be compared with its checkpoints yet", why=str(error))

    def _open_signer(self) -> None:
        origin, held = self._settings.origin, [note for note in self._held.values() if note]
        self._signer = CheckpointSigner(self.directory, open_key(self.directory, origin), origin, held)
