"""Witnesses: they keep checkpoints where whoever can change the log cannot change them.

A file on another mount is appended to; an HTTP endpoint takes a note by POST (200: it is kept) and gives the newest one it has
by GET (200; 204 or 404: none). Each has a queue of its own, so one that hangs delays neither who signs nor the others. What
must not go in here: what a note says, but for comparing (signer.py, verify.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Protocol

import aiohttp
import structlog
from yarl import URL

from broker.audit import notes

MOST_WAITING = 4096  # notes; the oldest goes first, for a later one has all that an earlier one has
OVERDUE_S = 900.0
_AGAIN_S = 5.0
_ASKED_S = 3.0  # that a start waits for what witnesses hold
_MOST_NOTE_BYTES = 1 << 20

log = structlog.get_logger("audit")


class WitnessUnreachable(Exception):
    """A witness did not take a note, or did not tell what it has; the text says why."""


class Witness(Protocol):
    """One who keeps notes."""

    name: str

    async def give(self, note: str) -> None:
        """Have it keep a note. Raises WitnessUnreachable."""

    async def held(self) -> str:
        """Return the newest note that it keeps, or "". Raises WitnessUnreachable."""


class FileWitness:
    """A file, on another mount than the log."""

    def __init__(self, file: Path) -> None:
        self.name, self._file, self._is_whole = str(file), file, False

    async def give(self, note: str) -> None:
        """See `Witness`."""
        try:
            await asyncio.to_thread(self._append, note)
        except (OSError, notes.NoteRefused) as error:
            raise WitnessUnreachable(f"{self._file}: cannot be written ({error})") from error

    async def held(self) -> str:
        """See `Witness`."""
        try:
            return (await asyncio.to_thread(notes.last, self._file))[0]
        except FileNotFoundError:
            return ""
        except (OSError, notes.NoteRefused) as error:
            raise WitnessUnreachable(f"{self._file}: cannot be read ({error})") from error

    def _append(self, note: str) -> None:
        if not self._is_whole and self._file.exists():  # a power cut, or a full disk, may have left a part of a note
            os.truncate(self._file, notes.last(self._file)[1])
        self._is_whole = False
        notes.append(self._file, note)
        self._is_whole = True


def name_of(url: str) -> str:
    """Return what a witness is called: logs and metrics have it, so there are no credentials in it."""
    return str(URL(url).with_user(None).with_query(None))


class HttpWitness:
    """An HTTP endpoint."""

    def __init__(self, url: str, session: aiohttp.ClientSession, timeout_s: float = 5.0) -> None:
        self._url, self._session, self._timeout = URL(url), session, aiohttp.ClientTimeout(total=timeout_s)
        self.name = name_of(url)

    async def give(self, note: str) -> None:
        """See `Witness`."""
        async with self._asked("POST", note) as response:
            if response.status != 200:
                raise WitnessUnreachable(f"{self.name}: answered {response.status}")

    async def held(self) -> str:
        """See `Witness`."""
        async with self._asked("GET") as response:
            if response.status in (204, 404):
                return ""
            if response.status != 200:
                raise WitnessUnreachable(f"{self.name}: answered {response.status}")
            text = await _read(response)
        if text and notes.whole(text) != (text, 0):  # as a page that says that there is maintenance
            raise WitnessUnreachable(f"{self.name}: answered with what is no note")
        return text.decode()

    @contextlib.asynccontextmanager
    async def _asked(self, method: str, note: str = "") -> AsyncIterator[aiohttp.ClientResponse]:
        body = note.encode() or None
        try:
            asked = self._session.request(method, self._url, data=body, timeout=self._timeout, allow_redirects=False)
            async with asked as response:
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise WitnessUnreachable(f"{self.name}: {type(error).__name__}") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read a body, or as much of one that is too long as shows that it is."""
    read = bytearray()
    while len(read) <= _MOST_NOTE_BYTES and (more := await response.content.readany()):
        read += more
    return bytes(read)


class Watched:
    """A witness with what it is still to be given."""

    def __init__(self, witness: Witness, *, again_s: float = _AGAIN_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.witness, self._again_s, self._clock = witness, again_s, clock
        self._waiting: deque[str] = deque(maxlen=MOST_WAITING)
        self._more = asyncio.Event()
        self._taken_at = clock()
        self._refused = self._alarmed = False

    def offer(self, note: str) -> None:
        """Have a note given as soon as may be; returns at once."""
        if not self._waiting:
            self._taken_at = self._clock()
        self._waiting.append(note)
        self._more.set()

    @property
    def behind_s(self) -> float:
        """How long the witness has taken nothing although there was something; 0 if it has all."""
        return self._clock() - self._taken_at if self._waiting else 0.0

    def look(self) -> float:
        """Return `behind_s`; have an operator told, once, when it is too long, also of one that hangs."""
        if self.is_overdue and not self._alarmed:
            self._alarmed = True
            log.error("a witness has taken no checkpoint", witness=self.witness.name, seconds=int(self.behind_s))
        return self.behind_s

    @property
    def is_overdue(self) -> bool:
        """Whether an operator has to look."""
        return self.behind_s >= OVERDUE_S

    async def run(self) -> None:
        """Give what is waiting, one after the other, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                await self._give(self._waiting[0])

    async def _give(self, note: str) -> None:
        try:
            await self.witness.give(note)
        except WitnessUnreachable as error:
            self._refuse(str(error))
            await asyncio.sleep(self._again_s)
            return
        if self._waiting and self._waiting[0] is note:  # else it was pushed out meanwhile
            self._waiting.popleft()
        if self._refused:
            log.info("a witness takes checkpoints again", witness=self.witness.name)
        self._taken_at, self._refused, self._alarmed = self._clock(), False, False

    def _refuse(self, why: str) -> None:
        if not self._refused:
            self._refused = True
            log.warning("a witness does not take a checkpoint; trying again", witness=self.witness.name, why=why)


async def held_by(witnesses: Sequence[Witness]) -> dict[str, str]:
    """Return the newest note of each witness by its name, "" if it has none; who cannot be reached is logged, and not there."""
    asked = await asyncio.gather(*map(_held, witnesses))
    return {witness.name: note for witness, note in zip(witnesses, asked, strict=True) if note is not None}


async def _held(witness: Witness) -> str | None:
    why = "gave no answer in time"  # as a mount that hangs
    with contextlib.suppress(TimeoutError):
        try:
            async with asyncio.timeout(_ASKED_S):
                return await witness.held()
        except WitnessUnreachable as error:
            why = str(error)
    log.warning("what a witness has cannot be compared", witness=witness.name, why=why)
    return None
