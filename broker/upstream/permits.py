"""Who may be on the way to a provider at once, and who waits in line for it, first come first served.

A permit is lost by nobody: who leaves the line, or is cancelled in the moment that it gets one, passes it on. What must not go
in here: how many there are (concurrency.py), and why somebody waits in vain.
"""

from __future__ import annotations

import asyncio


class Permits:
    """Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_use = 0
        self._line: dict[asyncio.Future[None], None] = {}  # in order

    def __repr__(self) -> str:
        return f"<Permits: {self._in_use} of {self._limit}, {len(self._line)} waiting>"

    @property
    def in_use(self) -> int:
        """Permits that are given out."""
        return self._in_use

    async def take(self, timeout_s: float) -> None:
        """Get one permit, which is to be given back. Raises TimeoutError: there was none within the time."""
        if self._in_use < self._limit and not self._line:
            self._in_use += 1
        else:
            await self._wait(timeout_s)

    def give_back(self) -> None:
        """Let the next one have it."""
        self._in_use -= 1
        self._grant()

    def resize(self, limit: int) -> None:
        """Let so many be on the way; those that are stay."""
        self._limit = limit
        self._grant()

    def let_everybody(self) -> None:
        """Let all who wait go on now: they are about to be refused, and the sooner they hear of it the better."""
        while self._line:
            self._grant_first()

    async def _wait(self, timeout_s: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line[turn] = None
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException:
            if turn in self._line:
                del self._line[turn]
            else:
                self.give_back()  # it came in the very moment of leaving
            raise

    def _grant(self) -> None:
        while self._line and self._in_use < self._limit:
            self._grant_first()

    def _grant_first(self) -> None:
        turn = next(iter(self._line))
        del self._line[turn]
        self._in_use += 1
        if not turn.cancelled():  # else its waiter, who has yet to wake up, finds itself out of line and gives back
            turn.set_result(None)
