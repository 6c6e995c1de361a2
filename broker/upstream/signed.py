"""Requests under secrets: which secret signs what, where it comes from, and what is done when it is not accepted.

A secret that is fetched has another behind it, under which it is asked for, and so on to the app key in its file; a refusal
goes up that chain only as far as it must. What must not go in here: signing (`dialect.py`), holding one secret (`secret.py`),
sending (handed in).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from broker.errors import ProviderRefused, ProviderTimeout
from broker.model.catalogue import HttpEndpoint
from broker.upstream.dialect import SecretStep, dialect_of, is_off
from broker.upstream.envelope import SignatureRefused
from broker.upstream.secret import FETCH_S, FetchedSecret, FileSecret, Opened, Secret, Source, open_secret

_CLOCK = "CLOCK_SKEW"  # stands for the provider's own code where its clock tells why a signature was refused
T = TypeVar("T")


@dataclass(frozen=True)
class Account:
    """As whom, and for what, a request is signed."""

    requester_id: str
    service_id: str
    app_key_file: str


@dataclass(frozen=True)
class Asked:
    """One request before it is signed."""

    method: str
    path: str
    account: Account
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Answered:
    """One response, body and all."""

    status: int
    retry_after: str | None
    date_ms: float | None  # the provider's clock, as far as it says
    body: bytes = field(repr=False)


class SignedRequests:
    """Sends one provider's requests, each under the secret that holds for it."""

    def __init__(
        self,
        provider: str,
        endpoint: HttpEndpoint,
        *,
        read_file: Callable[[str], bytes],
        send: Callable[[Asked, Secret], Awaitable[Answered]],
        decoded: Callable[[Answered], Any],
        wall_ms: Callable[[], int],
    ) -> None:
        self._provider = provider
        self._endpoint = endpoint
        self._dialect = dialect_of(endpoint)
        self._read_file = read_file
        self._send = send
        self._decoded = decoded
        self._wall_ms = wall_ms
        self._sources: dict[Account, Source] = {}
        self._chains: list[Source] = []  # every source, with those behind it

    async def ask(self, asked: Asked, read: Callable[[Answered], T]) -> T:
        """Send and return what `read` makes of the answer.

        Raises:
            ProviderError: what `read` raises, once a secret that was refused has been replaced in vain.
            SecretMissing: a file cannot be read.
        """
        source = self._source(asked.account)
        try:
            return await self._under(source, asked, lambda answered, _: read(answered))
        except SignatureRefused as error:
            refusal = error
        raise ProviderRefused(self._provider, upstream_code=refusal.upstream_code)  # to everybody else it is one of many

    async def close(self) -> None:
        """Stop renewing."""
        for source in self._chains:
            await source.close()

    async def _under(self, source: Source, asked: Asked, read: Callable[[Answered, Secret], T]) -> T:
        """Send under the current secret and, if it is not accepted, once more under another. Raises `SignatureRefused`."""
        secret = await source.current()
        answered = await self._send(asked, secret)
        try:
            return read(answered, secret)
        except SignatureRefused as error:
            refusal = error
        source.refused(secret)
        fresh = await source.current()
        if fresh is not secret:  # else the file still says the same, and asking again would change nothing
            answered = await self._send(asked, fresh)
            try:
                return read(answered, fresh)
            except SignatureRefused as error:
                refusal = error
        off = is_off(self._dialect, answered.date_ms, self._wall_ms())
        raise SignatureRefused(self._provider, upstream_code=_CLOCK if off else refusal.upstream_code)

    def _source(self, account: Account) -> Source:
        """Return the source for an account; services have one each only where the dialect signs the service."""
        account = account if self._dialect.speaks_of("sid") else replace(account, service_id="")
        if account not in self._sources:
            self._sources[account] = self._chain(account)
        return self._sources[account]

    def _chain(self, account: Account) -> Source:
        source: Source = FileSecret(functools.partial(self._read_file, account.app_key_file))
        self._chains.append(source)
        for step in self._dialect.steps:
            source = FetchedSecret(functools.partial(self._fetch, step, source, account), self._wall_ms)
            self._chains.append(source)
        return source

    async def _fetch(self, step: SecretStep, parent: Source, account: Account) -> Secret:
        """Ask the secret service, under the secret that comes before this one."""
        asked = Asked("POST", getattr(self._endpoint, step.path), account)

        def read(answered: Answered, under: Secret) -> Opened:
            return open_secret(step, self._decoded(answered), under.value, self._wall_ms(), self._provider)

        try:
            async with asyncio.timeout(FETCH_S):
                opened = await self._under(parent, asked, read)
        except TimeoutError:
            raise ProviderTimeout(self._provider) from None
        if opened.parent is not None:
            parent.replace(opened.parent)
        return opened.secret
