"""Keeps the snapshot in force in step with the control plane: looks for a newer revision, compiles what changed, swaps it in.

The database is asked and the snapshot compiled in a thread; the swap is one assignment on the event loop. Nothing comes into
force, and no other process is left a snapshot, before the audit log has what was changed (audit/changes.py). A control plane
that cannot be read, or that went back to an older revision, leaves the last good snapshot in force; a core that starts then
serves from the file that the last one left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog

from broker.audit.changes import SNAPSHOT, Ledger, NoLedger, Thing
from broker.errors import AuditUnavailable, DirectoryUnusable, RevisionWentBack, SnapshotRefused, StartupError
from broker.exchange import Exchange
from broker.model.change import Change
from broker.model.snapshot import Snapshot
from broker.policy import snapshot_file
from broker.policy.compiler import Compiler
from broker.policy.store import ControlPlane
from broker.telemetry import metrics

_TELL_EVERY_S = 2.0  # what was asked for, or refused: it is in force nowhere

log = structlog.get_logger("watch")

T = TypeVar("T")


class Compiled(NamedTuple):
    """A snapshot that is to come into force, and the image to be left for others."""

    image: bytes
    snapshot: Snapshot


class SnapshotWatch:
    """Watches one control plane for one exchange."""

    def __init__(
        self,
        exchange: Exchange,
        control: ControlPlane,
        file: Path,
        on_swap: Callable[[], None] = lambda: None,
        ledger: Ledger | NoLedger | None = None,
    ) -> None:
        self._exchange = exchange
        self._control = control
        self._file = file
        self._on_swap = on_swap
        self._time_zone = exchange.config.policy.time_zone
        self._compiler = Compiler(self._time_zone)
        self._ledger = ledger or NoLedger()
        self._compiled: Compiled | None = None  # and not in force yet
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watch")  # of its own: a revocation waits for nobody

    async def start(self) -> None:
        """Put a first snapshot in force: what the control plane holds, else what the last core left.

        Raises:
            DirectoryUnusable: the control plane does not answer, and there is no good file of a snapshot.
        """
        left = await asyncio.to_thread(self._left_behind)
        try:
            await self._renew(left.version if left else 0)
        except AuditUnavailable:
            log.error("the log cannot be written; nothing is answered before what is in force has been put down")
        except StartupError as error:
            if left is None:
                raise
            metrics.snapshot_failures.inc()
            log.error("serving from the last snapshot", version=left.version, file=str(self._file), why=str(error))
            await self._ledger.in_force({SNAPSHOT: Thing(left.digest, left.version)})
            self._swap(left)

    async def run(self) -> None:
        """Look for changes until cancelled, and now and then for those that change nothing that is in force."""
        told_s = 0.0
        while True:
            await asyncio.sleep(self._exchange.config.control.poll_ms / 1000)
            try:
                await self._ledger.settle()
                is_due = time.monotonic() >= told_s + _TELL_EVERY_S
                await self._renew(self._exchange.snapshot.version, tells=is_due)
                told_s = time.monotonic() if is_due else told_s
            except AuditUnavailable:
                metrics.snapshot_failures.inc()
            except StartupError as error:
                metrics.snapshot_failures.inc()
                log.warning("the control plane cannot be followed; the last snapshot stays in force", why=str(error))
            except Exception as error:
                metrics.snapshot_failures.inc()
                log.error("the control plane could not be looked at", error=type(error).__name__)

    async def reload(self) -> int:
        """Bring the snapshot up to date; returns its version.

        Raises:
            AuditUnavailable: what was changed cannot be put down; the last snapshot decides, and nothing leaves.
        """
        await self._renew(self._exchange.snapshot.version)
        return self._exchange.snapshot.version

    async def _renew(self, least: int, *, tells: bool = True) -> None:
        async with self._turn:
            self._compiled = await self._in_thread(self._newer, least) or self._compiled
            compiled = self._compiled
            if compiled is None and not tells:
                return
            if compiled is None:
                await self._ledger.put_down(self._told, self._exchange.snapshot.version)
                return
            await self._ledger.put_down(self._told, compiled.snapshot.version, compiled.snapshot.digest)
            await self._in_thread(self._write, compiled.image)
            self._compiled = None
            self._put_in_force(compiled.snapshot)
            self._ledger.came_into_force()

    async def _told(self, since: int, most: int) -> list[Change]:
        return await self._in_thread(self._control.told, since, most)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _put_in_force(self, snapshot: Snapshot) -> None:
        try:
            self._swap(snapshot)
        except BaseException:
            self._compiler = Compiler(self._time_zone)  # it is ahead of what is in force: begin anew at the next look
            raise

    def _left_behind(self) -> Snapshot | None:
        try:
            return snapshot_file.open_snapshot(self._file)
        except SnapshotRefused as error:
            log.info("no snapshot was left behind", why=str(error))
            return None

    def _newer(self, least: int) -> Compiled | None:
        """Compile what has changed, unless that is nothing.

        Raises:
            RevisionWentBack: the control plane is older than what is or was in force.
        """
        newest = self._control.newest()
        if newest.version < least:
            raise RevisionWentBack(newest.version, least, str(self._file))
        if newest == self._compiler.revision:
            return None
        compiler = Compiler(self._time_zone) if self._compiler.wasteful else self._compiler
        self._compiler = Compiler(self._time_zone)  # whatever fails half-way is begun anew
        image, snapshot = compiler.update(self._control.changes(compiler.revision))
        self._compiler = compiler
        return Compiled(image, snapshot)

    def _write(self, image: bytes) -> None:
        """Leave the image for other processes. This one follows the control plane even if the disk is full."""
        try:
            snapshot_file.write(self._file, image)
        except DirectoryUnusable as error:
            metrics.snapshot_failures.inc()
            log.error("the snapshot cannot be left for other processes", why=str(error))

    def _swap(self, snapshot: Snapshot) -> None:
        try:
            self._exchange.limits.fit(snapshot)
        except DirectoryUnusable as error:  # a revocation does not wait for room on the disk
            metrics.snapshot_failures.inc()
            log.error("there is no room for the counters of all grants", why=str(error))
        self._exchange.snapshot = snapshot
        self._on_swap()
        self._exchange.providers.retire_except(snapshot.providers)
        metrics.snapshot_version.set(snapshot.version)
        log.info("snapshot in force", version=snapshot.version, grants=snapshot.grants)
