"""Keeps what a front reads in step with what the core leaves: snapshot, counters, cache, clock. The board tells of changes.

A front that cannot follow declines: a snapshot that it has not opened `_PATIENCE_S` after the core put it in force is one that
may have taken something away. What must not go in here: reading for one call (`broker._native.hot`), what of a snapshot is
answered (front_plans.py).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import structlog

from broker._native.hot import Hot
from broker._native.plans import Plans
from broker._native.policy import Image
from broker._native.shared import Board
from broker.cache.reader import CacheReader
from broker.config import Config
from broker.errors import DirectoryUnusable, SnapshotRefused
from broker.policy.clock import Clock
from broker.policy.counter_file import map_counters
from broker.policy.snapshot_file import open_image
from broker.serve.board import FOLLOWS, NamedCounts, snapshot_word
from broker.serve.front_plans import Answerable, Planner, answerable

log = structlog.get_logger("front")

_LOOK_EVERY_S = 0.02
_CLOCK_EVERY_S = 1.0
_PATIENCE_S = 0.5
_OPEN_AGAIN_S = 0.2
_FIRST_S = 2.0  # that the first snapshot may take: it brings imports with it


async def _at_once() -> None:
    """Where answers do not wait for anything."""


class Follower:
    """Gives a handler what it reads."""

    def __init__(
        self, settings: Config, board: Board, hot: Hot, counts: NamedCounts, settled: Callable[[], Awaitable[None]] = _at_once
    ) -> None:
        """Give it the board to follow; `settled` returns once nothing that was answered so far is still to leave."""
        self._settings = settings
        self._board, self._hot, self._counts, self._settled = board, hot, counts, settled
        self._data_dir = settings.path("{data_dir}")
        self._clock = Clock(self._data_dir / "clock", settings.identity.clock_skew_s * 1000)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="follow")
        self._snapshot = self._counters = self._core = 0  # words of the board by which there is something
        self._seen_at = 0.0  # when a snapshot was first missed
        self._opening: asyncio.Future[tuple[Image, Plans]] | None = None
        self._open_at = 0.0
        self._cache: CacheReader | None = None
        self._documents = b""
        self._known: list[Answerable] = []
        self._planner = Planner(settings, counts)

    async def start(self) -> None:
        """Read what there is. What there is not yet is looked for later."""
        self._hot.use_clock(self._clock.anchor_ms)
        await self._look()
        if self._opening is not None:
            await asyncio.wait((self._opening,), timeout=_FIRST_S)
            await self._look()

    async def run(self) -> None:
        """Follow until cancelled."""
        clock_at = 0.0
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self._look()
                if time.monotonic() >= clock_at:
                    clock_at = time.monotonic() + _CLOCK_EVERY_S
                    self._clock()  # which warns when the clock has jumped
                    self._hot.use_clock(self._clock.anchor_ms)
                    self._planner.close_replaced()
            except Exception as error:
                log.error("the core could not be followed", error=type(error).__name__)

    async def _look(self) -> None:
        self._look_at_counters()
        if self._board["snapshot"] != self._snapshot:
            await self._look_at_snapshot()
        if self._board["snapshot"] == self._snapshot:  # else nothing is answered from a cache that is not open yet
            self._look_at_cache()

    def _look_at_counters(self) -> None:
        made = self._board["counters"]
        if made and made != self._counters:
            try:
                self._hot.use_counters(map_counters(self._data_dir / "counters"), made)
            except DirectoryUnusable as error:
                log.warning("the counters cannot be read", why=str(error))
                return
            self._counters = made

    def _look_at_cache(self) -> None:
        core = self._board["core"]
        if core and (core != self._core or self._hot.failed):
            if self._cache is not None:
                self._hot.use_cache(None, None, 0)
                self._cache.close()
                self._cache = None
            try:
                self._cache = CacheReader(self._data_dir, self._settings.cache)
            except DirectoryUnusable as error:
                log.warning("the cache cannot be read", why=str(error))
                return
            self._hot.use_cache(self._cache.environment, self._cache.entries, core)
            self._core = core

    async def _look_at_snapshot(self) -> None:
        """Open the snapshot beside the loop; what takes too long, or fails, must not be decided by meanwhile."""
        self._seen_at = self._seen_at or time.monotonic()
        if self._opening is None and time.monotonic() >= self._open_at:
            self._opening = asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        if self._opening is not None:
            await asyncio.wait((self._opening,), timeout=_LOOK_EVERY_S)
        if self._opening is not None and self._opening.done():
            opening, self._opening = self._opening, None
            await self._take(opening)
        if self._seen_at and time.monotonic() - self._seen_at > _PATIENCE_S and self._snapshot:
            self._hot.use_policy(None)
            await self._decide_by(0)
            log.error("the snapshot cannot be followed in time; the core answers everything until it can")

    async def _take(self, opening: asyncio.Future[tuple[Image, Plans]]) -> None:
        """Decide by what was opened, if it is what the core decides by."""
        try:
            image, plans = opening.result()
        except Exception as error:  # whatever it is: the next attempt may do better
            self._open_at = time.monotonic() + _OPEN_AGAIN_S
            log.error(
                "the snapshot cannot be opened", why=str(error) if isinstance(error, SnapshotRefused) else type(error).__name__
            )
            return
        word = snapshot_word(image.digest)
        if word == self._board["snapshot"]:
            self._hot.use_policy(plans)
            await self._decide_by(word)
            self._seen_at = 0.0
            log.info("snapshot in force", version=image.version)

    async def _decide_by(self, snapshot: int) -> None:
        """Say so, once nothing leaves any more that was decided by another."""
        await self._settled()
        self._snapshot = snapshot
        self._counts.put(FOLLOWS, snapshot, os.getpid())

    def _open(self) -> tuple[Image, Plans]:
        """Open the snapshot that is there. Its documents are decoded only when they are others: most changes are of grants."""
        image = open_image(self._data_dir / "policy.snapshot")
        if (documents := image.documents()) != self._documents:
            self._known = answerable(msgspec.msgpack.decode(documents))
            self._documents = documents
        return image, self._planner.plans(image, self._known)
