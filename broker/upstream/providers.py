"""The one face of the folder: asks a provider a question and returns a checked record.

A connector belongs to one value of a provider's endpoint. When the endpoint changes, calls go to a new connector at once
and the old one is closed after the last call that uses it. What must not go in here: protocols, formats and whether to ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from broker.config import Config
from broker.errors import ProviderNonsense, ProviderTimeout, ProviderUnavailable
from broker.model.call import Question, Record
from broker.model.catalogue import Endpoint, GrpcEndpoint, HttpEndpoint, Provider, SqlEndpoint
from broker.upstream.answer import check_answer
from broker.upstream.grpc import GrpcConnector
from broker.upstream.guard import Guard
from broker.upstream.http import HttpConnector
from broker.upstream.reach import place_of
from broker.upstream.sql import SqlConnector


class Connector(Protocol):
    """Asks one provider in its own protocol; foreign exceptions never leave it."""

    async def ask(self, question: Question, timeout_s: float) -> Mapping[str, Any] | None:
        """Return the record's values under our names, unchecked, or None for "no record". Raises `ProviderError`."""

    async def close(self) -> None:
        """Give up all connections."""


def wall_clock_ms() -> int:
    """Return the time of day, UTC, in ms since the epoch."""
    return time.time_ns() // 1_000_000


class Sightings:
    """Whether an interface's answers fitted its schema when one was last seen; by definition, for another is another's."""

    def __init__(self) -> None:
        self._fits: dict[bytes, bool] = {}
        self.changes = 0  # how often an interface was seen otherwise than before

    def observe(self, definition: bytes, *, fits: bool) -> None:
        """Remember the last answer's form."""
        self.changes += fits is not self.fits(definition)
        self._fits[definition] = fits

    def fits(self, definition: bytes) -> bool:
        """Tell how the last answer was; nothing is held against an interface of which none was seen."""
        return self._fits.get(definition, True)

    def forget_except(self, definitions: Collection[bytes]) -> None:
        """Forget what is no longer in force."""
        for gone in self._fits.keys() - set(definitions):
            del self._fits[gone]


_CONNECTORS: Mapping[type, Callable[[Provider, Any, Config, Callable[[], int]], Connector]] = {
    HttpEndpoint: HttpConnector,
    GrpcEndpoint: GrpcConnector,
    SqlEndpoint: SqlConnector,
}


class _Held:
    """A connector, the endpoint it is for, and the calls that use it now."""

    def __init__(self, endpoint: Endpoint, connector: Connector) -> None:
        self.endpoint = endpoint
        self.connector = connector
        self.calls = 0


class _Guarded(NamedTuple):
    """What is known of a provider's health, and of which address: another one is another server."""

    address: object
    guard: Guard


class Providers:
    """Asks providers. Belongs to one event loop; connections are made at the first question, not before."""

    def __init__(
        self,
        config: Config,
        wall_ms: Callable[[], int] = wall_clock_ms,
        mono_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._wall_ms = wall_ms
        self._mono_s = mono_s
        self._guarded: dict[str, _Guarded] = {}  # by provider id
        self.sightings = Sightings()
        self._held: dict[str, _Held] = {}  # by provider id
        self._retired: set[_Held] = set()  # replaced, and still in use
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        busy = sum(held.calls for held in self._held.values())
        return f"<Providers: {len(self._held)} connected, {busy} calls, {len(self._closing)} closing>"

    async def ask(self, question: Question, provider: Provider, timeout_s: float) -> Record:
        """Ask the provider if its guard lets us; `timeout_s` is the whole time allowed, signing secrets included.

        It is asked a second time only if nothing of an answer came and the interface has no side effect.

        Raises:
            ProviderNotAsked: it was not asked, and not before `retry_after_s` should it be.
            ProviderError: as its kind says; its text and metadata hold no argument and no value of an answer.
            SecretMissing: a key or password file of this provider cannot be read.
        """
        if timeout_s <= 0:
            raise ProviderTimeout(provider.id)
        interface = question.interface

        async def send(left_s: float) -> Mapping[str, Any] | None:
            with self._lease(provider) as connector:
                values = await connector.ask(question, left_s)
            return None if values is None else check_answer(question, values, provider.id)

        try:
            fields = await self._guard(provider).ask(interface.id, send, timeout_s, repeatable=not interface.side_effect)
        except ProviderNonsense:
            self.sightings.observe(question.definition, fits=False)
            raise
        if fields is not None:
            self.sightings.observe(question.definition, fits=True)
        return Record(fields=fields, fetched_at_ms=self._wall_ms())

    def retire_except(self, providers: Collection[str]) -> None:
        """Let go of providers that are no longer in the catalogue: their connections, pools and secrets."""
        for gone in self._held.keys() - set(providers):
            self._retire(self._held.pop(gone))
        for gone in self._guarded.keys() - set(providers):
            self._guarded.pop(gone).guard.forget()

    async def close(self) -> None:
        """Close every connector; calls under way end as if their provider were gone."""
        self._closed = True
        for held in (*self._held.values(), *self._retired):
            self._close_soon(held)
        self._held.clear()
        self._retired.clear()
        while self._closing:
            await asyncio.gather(*self._closing)

    def _guard(self, provider: Provider) -> Guard:
        """Return the guard of the provider where it is now.

        What is known of it outlives another requester, dialect or secret: these make nobody well who is down.
        """
        address = _address(provider.endpoint)
        known = self._guarded.get(provider.id)
        if known is not None and known.address == address:
            return known.guard
        if known is not None:
            known.guard.retire()
        new = self._guarded[provider.id] = _Guarded(address, Guard(provider.id, self._config.upstream, self._mono_s))
        return new.guard

    @contextlib.contextmanager
    def _lease(self, provider: Provider) -> Iterator[Connector]:
        held = self._current(provider)
        held.calls += 1
        try:
            yield held.connector
        finally:
            held.calls -= 1
            if held in self._retired and held.calls == 0:
                self._retired.remove(held)
                self._close_soon(held)

    def _current(self, provider: Provider) -> _Held:
        """Return the connector for this value of the endpoint, retiring the one of an earlier value."""
        if self._closed:
            raise ProviderUnavailable(provider.id)
        held = self._held.get(provider.id)
        if held is not None and held.endpoint == provider.endpoint:
            return held
        if provider.endpoint is None:  # the catalogue's validation lets no interface have such a provider
            raise ProviderUnavailable(provider.id)
        connector = _CONNECTORS[type(provider.endpoint)](provider, provider.endpoint, self._config, self._wall_ms)
        new = _Held(provider.endpoint, connector)
        self._held[provider.id] = new
        if held is not None:
            self._retire(held)
        return new

    def _retire(self, held: _Held) -> None:
        if held.calls:
            self._retired.add(held)
        else:
            self._close_soon(held)

    def _close_soon(self, held: _Held) -> None:
        task = asyncio.create_task(held.connector.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _address(endpoint: Endpoint | None) -> object:
    """Return what two endpoints of one server have in common. Pure."""
    try:
        return None if endpoint is None else place_of(endpoint)
    except ValueError:  # there is no such port; the connector says so
        return endpoint
