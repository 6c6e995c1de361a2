"""Single-flight: one piece of work a key, however many wait for it, each with a deadline of its own.

The work is a task that belongs to nobody who waits: a waiter that leaves takes nothing with it, and work that everybody has
left runs to its end. A flight is forgotten the moment it lands, so nothing here is a cache. What must not go in here: keys'
meaning, retries, and what the work does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from broker.errors import DeadlineExceeded

T = TypeVar("T")


class SingleFlight:
    """Shares work by key within one event loop."""

    def __init__(self) -> None:
        self._flights: dict[bytes, asyncio.Task[_Landed]] = {}

    def __repr__(self) -> str:
        return f"<SingleFlight: {self.in_flight} in flight>"

    @property
    def in_flight(self) -> int:
        """Pieces of work that have not ended."""
        return len(self._flights)

    async def share(self, key: bytes, work: Callable[[], Awaitable[T]], timeout_s: float) -> tuple[T, bool]:
        """Join the work under way for this key, or start it; return its result and whether somebody else had started it.

        Raises:
            DeadlineExceeded: `timeout_s` passed first, or the work was cancelled by `drain`; the work itself goes on.
            Exception: whatever the work raised, the same error for every waiter.
        """
        if timeout_s <= 0:
            raise DeadlineExceeded
        flight = self._flights.get(key)
        joined = flight is not None and not flight.done()
        if flight is None or not joined:
            flight = self._launch(key, work)
        await asyncio.wait((flight,), timeout=timeout_s)
        return _unpack(flight), joined

    async def drain(self, grace_s: float = 0.0) -> None:
        """Let what is under way end within `grace_s`, then cancel the rest and wait until it is gone."""
        left = set(self._flights.values())
        if left and grace_s > 0:
            _, left = await asyncio.wait(left, timeout=grace_s)
        for flight in left:
            flight.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _launch(self, key: bytes, work: Callable[[], Awaitable[Any]]) -> asyncio.Task[_Landed]:
        def forget(flight: asyncio.Task[_Landed]) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]

        flight = self._flights[key] = asyncio.create_task(_fly(work))
        flight.add_done_callback(forget)
        return flight


class _Landed(NamedTuple):
    """What a flight brought: a value, or an error with the traceback as the work left it."""

    value: Any
    error: Exception | None = None
    origin: TracebackType | None = None


async def _fly(work: Callable[[], Awaitable[Any]]) -> _Landed:
    """Run the work. An error is a result here: asyncio has nothing to complain of when every waiter has left."""
    try:
        return _Landed(await work())
    except Exception as error:
        return _Landed(None, error, error.__traceback__)


def _unpack(flight: asyncio.Task[_Landed]) -> Any:
    """Return or raise what the flight brought, for one of many waiters."""
    if not flight.done() or flight.cancelled():
        raise DeadlineExceeded
    landed = flight.result()
    if landed.error is None:
        return landed.value
    # Each raise of one object adds frames to its traceback: for a thousand waiters it would grow a thousand times.
    raise landed.error.with_traceback(landed.origin)
