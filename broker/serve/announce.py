"""Tells the fronts, on the board, what is in force in the core. A word changes after what it is about has.

Who has asked for a change is answered once every front follows it, so that what was taken away is refused from then on. What
must not go in here: what fronts make of it (follow.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from broker._native.shared import Tally
from broker.exchange import Exchange
from broker.serve.board import CONNECTED, FOLLOWS, SERVES, TALLIES, is_alive, open_board, open_tally, snapshot_word

log = structlog.get_logger("core")

_PATIENCE_S = 1.0  # a front that takes longer answers nothing by then (follow.py)
_LOOK_EVERY_S = 0.002
_ALIVE_EVERY_S = 0.25


class Announcer:
    """Writes the board of one core."""

    def __init__(self, exchange: Exchange, data_dir: Path) -> None:
        self._exchange = exchange
        self._board = open_board(data_dir)
        self._tallies = data_dir / TALLIES
        self._begins: asyncio.Task[None] | None = None
        self._drains = self._is_held = False

    def begin(self) -> None:
        """A core is about to serve. Fronts forget what they knew by the last one when they can ask this one instead."""
        self._begins = asyncio.create_task(self._begin())

    async def _begin(self) -> None:
        """The cache may be another one, and calls are let in."""
        await self._until(self._is_not_connected)
        self.tell()
        self._board["draining"] = int(self._drains or self._is_held)
        self._board["core"] = time.time_ns()

    def tell(self) -> None:
        """Say which snapshot is in force, where the counters are, and since when proofs are good."""
        exchange = self._exchange
        exchange.identifier.forget_what_may_have_changed(exchange.snapshot)
        if self._begins is None:
            return
        self._board["trust"] = exchange.identifier.generation
        self._board["counters"] = exchange.limits.made
        self._board["snapshot"] = snapshot_word(exchange.snapshot.digest)

    async def keep_alive(self) -> None:
        """Say again and again that this core is at work, until cancelled."""
        while True:
            self._board["alive"] = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
            await asyncio.sleep(_ALIVE_EVERY_S)

    async def followed(self) -> None:
        """Wait until every front decides by the snapshot in force, or by none."""
        if self._begins is not None:
            await asyncio.shield(self._begins)
        if not await self._until(self._lags):
            log.warning("a front has not followed in time; it answers nothing before it does")
            self._board["recalled"] = time.time_ns()  # what one that stands still has decided, and not sent
            self._board["core"] = time.time_ns()  # it must look at everything anew before it answers

    async def _until(self, is_not: Callable[[Path], bool]) -> bool:
        """Wait, though not forever, until something is so of every front that lives; returns whether it is."""
        until = time.monotonic() + _PATIENCE_S
        while any(is_not(file) for file in self._tallies.glob("*.tally")):
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(_LOOK_EVERY_S)
        return True

    def _is_not_connected(self, file: Path) -> bool:
        tally = open_tally(file)
        return tally.name(2) == CONNECTED and tally.counts(2)[0] == 0 and is_alive(tally.counts(0)[1])

    def _lags(self, file: Path) -> bool:
        tally = open_tally(file)
        follows, pid = tally.counts(0) if tally.name(0) == FOLLOWS else (0, 0)
        return follows not in (0, self._board["snapshot"]) and is_alive(pid)

    def serving(self) -> int:
        """Return how many fronts take connections and have one to a core."""
        tallies = [open_tally(file) for file in self._tallies.glob("*.tally")]
        return sum(_serves(tally) for tally in tallies)

    def drain(self) -> None:
        """No new call is let in: fronts pass all of them on, to be refused."""
        self._drains = True
        self._board["draining"] = 1

    def hold(self, held: bool) -> None:
        """A change could not be put down: fronts pass all calls on until it is, to be refused."""
        self._is_held = held
        if held:
            self._board["draining"] = 1
            self._board["recalled"] = time.time_ns()  # what waits for a disk that is slow is not to leave after this
        elif self._begins is not None and self._begins.done():
            self._board["core"] = time.time_ns()  # or a front would answer by the snapshot before, until it sees the new one
            self._board["draining"] = int(self._drains)


def _serves(tally: Tally) -> bool:
    serves = tally.name(1) == SERVES and is_alive(tally.counts(1)[0])
    return serves and tally.name(2) == CONNECTED and tally.counts(2)[0] == 1
