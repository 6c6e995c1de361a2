"""The gate before the consumers' methods: it counts the calls in progress and, once closed, lets no new one in.

A call is in progress until its answer is on its way, not only until its method has returned. What must not go in here: when
the gate closes, and what becomes of the process then (core.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from broker.errors import Draining


class Gate:
    """Open until closed, and closed for good."""

    def __init__(self) -> None:
        self.in_progress = 0
        self._closed = False
        self._empty = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Gate: {'closed' if self._closed else 'open'}, {self.in_progress} in progress>"

    def guard(self, servicer: object) -> object:
        """Return an object with the same methods, each behind the gate."""
        return _Guarded(servicer, self)

    def enter(self, context: Any) -> None:
        """Let a call in.

        Raises:
            Draining: the gate is closed.
        """
        if self._closed:
            raise Draining
        self.in_progress += 1
        context.add_done_callback(self._leave)

    def close(self) -> None:
        """Let no new call in."""
        self._closed = True
        self._look()

    async def emptied(self, timeout_s: float) -> int:
        """Once the gate is closed, wait at most so long for the calls in progress; returns how many are left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        return self.in_progress

    def _leave(self, _context: Any) -> None:
        self.in_progress -= 1
        self._look()

    def _look(self) -> None:
        if self._closed and not self.in_progress:
            self._empty.set()


class _Guarded:
    def __init__(self, servicer: object, gate: Gate) -> None:
        self._servicer = servicer
        self._gate = gate

    def __getattr__(self, method: str) -> Callable[[Any, Any], Awaitable[Any]]:
        behaviour = getattr(self._servicer, method)

        def run(request: Any, context: Any) -> Any:
            self._gate.enter(context)
            return behaviour(request, context)

        return run
