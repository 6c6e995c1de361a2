"""The audit stream of a front: what it answers itself is put down there, and leaves once that is durable.

What must not go in here: what is put down (ext/trail.pyx), how it is written (audit/streams.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from broker._native.front import Front
from broker._native.hot import Hot
from broker._native.shared import Board
from broker.audit.settings import writing_of
from broker.audit.streams import Stream, open_stream
from broker.audit.subject import open_subject_key
from broker.config import Config
from broker.errors import AuditUnavailable

if TYPE_CHECKING:
    from broker._native.journal import Progress

_SETTLING_S = 0.25  # half of what a front may take to follow (follow.py)
_EVERY_RECORD = (1 << 64) - 1


class FrontTrail:
    """The stream of one front; none with `audit.mode = "off"`."""

    def __init__(self, settings: Config, slot: int, hot: Hot, front: Front, board: Board) -> None:
        """Open the stream where it was left.

        Raises:
            StartupError: another process writes it, it is damaged, or its folder or key cannot be used.
        """
        self._front, self._board = front, board
        self._recalled = board["recalled"]
        self._stream: Stream | None = None
        if settings.audit.mode == "off":
            return
        key = open_subject_key(settings.path(settings.audit.subject_key_file))
        self._stream = open_stream(settings.path(settings.audit.directory), f"front-{slot}", key, writing_of(settings.audit))
        self._stream.listener = self._on_batch
        hot.use_trail(key.trail(self._stream.writer, self._stream.name))

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Within the context answers are put down; at its end all records are written."""
        if self._stream is None:
            yield
            return
        async with self._stream:
            yield

    async def settled(self) -> None:
        """Return once what was answered so far has left, or cannot any more: something else decides from now on."""
        if self._stream is None:
            return
        try:
            async with asyncio.timeout(_SETTLING_S):
                await self._stream.durable(self._stream.facts()["appended"] - 1)
            self._on_batch(self._stream.writer.progress())
        except (AuditUnavailable, TimeoutError):
            self._front.take_back()

    def _on_batch(self, now: Progress) -> None:
        """Let answers leave whose records are durable, unless recalled. When the log fails, those that wait are refused."""
        if (recalled := self._board["recalled"]) != self._recalled:
            self._recalled = recalled
            self._front.take_back()
        self._front.release(now.durable, now.undecided if now.is_open else _EVERY_RECORD)
