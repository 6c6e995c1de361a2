"""The witnesses that the settings name: asked at the start what they hold, and given every checkpoint while a core runs.

What must not go in here: what a witness is (audit/witnesses.py), and comparing what they hold with the log (audit/signer.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import aiohttp

from broker.audit.witnesses import FileWitness, HttpWitness, Watched, Witness, held_by
from broker.config import Config
from broker.telemetry import metrics

_LOOK_S = 1.0


@contextlib.asynccontextmanager
async def witnesses_of(settings: Config) -> AsyncIterator[list[Witness]]:
    """Give the witnesses of a log; they can be used within the context."""
    files = [FileWitness(settings.path(file)) for file in settings.audit.witness_files]
    async with aiohttp.ClientSession() as session:
        yield [*files, *(HttpWitness(url, session) for url in settings.audit.witness_urls)]


async def held_elsewhere(settings: Config) -> dict[str, str]:
    """Return the newest note of each witness that can be reached, by its name, "" of one that has none."""
    async with witnesses_of(settings) as witnesses:
        return await held_by(witnesses)


class Witnessing:
    """Gives checkpoints to every witness, none of which delays another, and tells how far each is behind."""

    def __init__(self, settings: Config, held: Mapping[str, str]) -> None:
        """Args: held: what witnesses had at the start, as `held_elsewhere` tells it."""
        self._settings, self._held = settings, held
        self._watched: list[Watched] = []
        self._newest = ""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Within the context notes are given."""
        async with witnesses_of(self._settings) as witnesses:
            self._watched = [Watched(witness) for witness in witnesses]
            running = [asyncio.create_task(one.run()) for one in self._watched]
            running.append(asyncio.create_task(self._tell()))
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    def offer(self, newest: str) -> None:
        """Have the newest checkpoint, which is durable, given to all that do not have it; "": there is none yet."""
        if newest == self._newest:
            return
        is_first, self._newest = not self._newest, newest
        for one in self._watched:
            if not is_first or self._held.get(one.witness.name) != newest:  # the last core may have had no time to
                one.offer(newest)

    async def _tell(self) -> None:
        while True:
            for one in self._watched:
                metrics.audit_witness_behind.labels(one.witness.name).set(one.look())
            await asyncio.sleep(_LOOK_S)
