"""Keeps the snapshot in force in step with the control plane: looks for a newer revision, compiles it, swaps it in.

The database is asked from a thread; the swap is one assignment on the event loop. A control plane that cannot be read leaves
the last good snapshot in force. A revision older than the one in force is not taken.
"""

from __future__ import annotations

import asyncio

import structlog

from broker.exchange import Exchange
from broker.model.snapshot import Snapshot, compile_snapshot
from broker.policy.store import ControlPlane
from broker.telemetry import metrics

log = structlog.get_logger("watch")


class SnapshotWatch:
    """Watches one control plane for one exchange."""

    def __init__(self, exchange: Exchange, control: ControlPlane, poll_ms: int) -> None:
        self._exchange = exchange
        self._control = control
        self._poll_s = poll_ms / 1000
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.reload()
            except Exception as error:
                metrics.snapshot_failures.inc()
                log.warning("control plane cannot be read; the last snapshot stays in force", error=type(error).__name__)

    async def reload(self) -> int:
        """Bring the snapshot up to date; returns its version."""
        async with self._turn:
            snapshot = await asyncio.to_thread(self._newer, self._exchange.snapshot.version)
            if snapshot is not None:
                self._swap(snapshot)
        return self._exchange.snapshot.version

    def _newer(self, than: int) -> Snapshot | None:
        if self._control.version() <= than:
            return None
        version, catalogue = self._control.read()
        return compile_snapshot(catalogue, version)

    def _swap(self, snapshot: Snapshot) -> None:
        self._exchange.snapshot = snapshot
        self._exchange.rates.forget_except({t.authority.grant.id for terms in snapshot.terms.values() for t in terms})
        self._exchange.providers.retire_except(snapshot.providers)
        metrics.snapshot_version.set(snapshot.version)
        log.info("snapshot in force", version=snapshot.version, grants=snapshot.grants)
