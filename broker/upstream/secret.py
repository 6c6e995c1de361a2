"""Secrets for signing: read from files, or fetched from a provider's secret service and renewed before they end.

A secret is in memory only and shows in no `repr`, log or error. However many calls wait, it is fetched once; while a renewal
is under way calls go on with the one that still holds. What must not go in here: sending (the fetch is handed in) and signing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from broker.errors import BrokerError, ProviderNonsense, SecretMissing
from broker.upstream.dialect import Given, SecretStep
from broker.upstream.envelope import SignatureRefused, look_up, public_code
from broker.upstream.flight import SingleFlight

FETCH_S = 10.0  # bounds one fetch, which outlives the calls that wait for it
AES_KEY_BYTES = 16
_LONGEST_LEAD_MS = 60_000
_RETRIES_PER_LEAD = 10
_NEVER_ENDS_MS = 2**63 - 1
_TOKEN = re.compile(rb"[!-~]+")
_KEY = b"secret"  # a source has one secret, so its flights have one key


@dataclass(frozen=True)
class Secret:
    """A secret and when it holds; times in ms since the epoch."""

    value: bytes = field(repr=False)
    from_ms: int = 0
    ends_ms: int = _NEVER_ENDS_MS

    @property
    def renew_ms(self) -> int:
        """When to fetch the next: 10 % of its life before the end, or 60 s, whichever is less."""
        return self.ends_ms - self.lead_ms

    @property
    def lead_ms(self) -> int:
        """Time kept for renewal."""
        return max(0, min((self.ends_ms - self.from_ms) // 10, _LONGEST_LEAD_MS))


class Source(Protocol):
    """Where the signing secret of one service comes from."""

    async def current(self) -> Secret:
        """Return the secret to sign with now."""

    def refused(self, secret: Secret) -> None:
        """Learn that the provider did not accept this secret."""

    def replace(self, secret: Secret) -> None:
        """Learn that the provider gave another in its place."""

    async def close(self) -> None:
        """Stop renewing."""


class FileSecret:
    """A secret that is the content of a file; read again after the provider refused it, so a new one needs no restart."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._held: Secret | None = None
        self._doubted = False

    async def current(self) -> Secret:
        """Return the file's content; the same value again if a refused one is still in the file. Raises `SecretMissing`."""
        if self._held is None or self._doubted:
            found = self._read()
            if self._held is None or self._held.value != found:
                self._held = Secret(found)
            self._doubted = False
        return self._held

    def refused(self, secret: Secret) -> None:
        """Read the file again for the next call."""
        self._doubted = self._doubted or self._held is secret

    def replace(self, secret: Secret) -> None:
        """Nothing replaces a file."""

    async def close(self) -> None:
        """Nothing runs here."""


class FetchedSecret:
    """A secret that ends: fetched when there is none, renewed in the background before its end."""

    def __init__(self, fetch: Callable[[], Awaitable[Secret]], wall_ms: Callable[[], int]) -> None:
        self._fetch = fetch
        self._wall_ms = wall_ms
        self._flight = SingleFlight()
        self._held: Secret | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._renew_not_before_ms = 0

    async def current(self) -> Secret:
        """Return a secret that holds, waiting only if there is none.

        Raises:
            ProviderError: the secret service failed and no secret holds.
            SecretMissing: the app key under which it is asked cannot be read.
        """
        now_ms, held = self._wall_ms(), self._held
        if held is None or now_ms >= held.ends_ms:
            return await self._fetch_once()
        if now_ms >= max(held.renew_ms, self._renew_not_before_ms) and self._renewal is None:
            self._renew_not_before_ms = now_ms + held.lead_ms // _RETRIES_PER_LEAD  # a failing service is not hammered
            self._renewal = asyncio.create_task(self._renew())
        return held

    def refused(self, secret: Secret) -> None:
        """Forget this secret, unless it has been replaced since: of many calls refused together one fetches."""
        if self._held is secret:
            self._held = None

    def replace(self, secret: Secret) -> None:
        """Hold this one from now on."""
        self._held = secret

    async def close(self) -> None:
        """Cancel what is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
        await self._flight.drain()

    async def _renew(self) -> None:
        try:
            await self._fetch_once()
        except BrokerError:
            pass  # the one held still holds; when it ends, the call that needs the next is told why there is none
        finally:
            self._renewal = None

    async def _fetch_once(self) -> Secret:
        secret, _ = await self._flight.share(_KEY, self._store, FETCH_S + 1)
        return secret

    async def _store(self) -> Secret:
        self._held = await self._fetch()
        return self._held


def read_secret(directory: Path, name: str) -> bytes:
    """Return the content of a secret file without surrounding white space.

    Raises:
        SecretMissing: there is no such file, it cannot be read, is empty or not text, or the name leads out of the directory.
    """
    if not name or Path(name).name != name:
        raise SecretMissing(f"secret `{name}`: must be the name of a file in the secrets directory")
    try:
        content = (directory / name).read_bytes().strip()
    except OSError as error:
        raise SecretMissing(f"secret `{name}`: cannot be read ({error.strerror})") from None
    if not content:
        raise SecretMissing(f"secret `{name}`: the file is empty")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise SecretMissing(f"secret `{name}`: is not UTF-8 text") from None  # the cause would repeat the secret
    return content


def read_token(directory: Path, name: str) -> bytes:
    """Return a secret that is sent as it is, so that it must be fit for a header. Raises `SecretMissing`."""
    token = read_secret(directory, name)
    if not _TOKEN.fullmatch(token):
        raise SecretMissing(f"secret `{name}`: a token is printable ASCII without spaces")
    return token


def read_app_key(directory: Path, name: str) -> bytes:
    """Return an app key, which must be long enough to decrypt with. Raises `SecretMissing`."""
    app_key = read_secret(directory, name)
    if len(app_key) < AES_KEY_BYTES:
        raise SecretMissing(f"secret `{name}`: an app key has at least {AES_KEY_BYTES} bytes")
    return app_key


@dataclass(frozen=True)
class Opened:
    """What an answer of a secret service held."""

    secret: Secret
    parent: Secret | None = None  # replaces the one that was asked under


def open_secret(step: SecretStep, answer: Any, asked_under: bytes, now_ms: int, provider: str) -> Opened:
    """Return the secrets in a secret service's answer, e.g. ``{"code": "0", "data": {"secret": …, "secretEndTime": <ms>}}``.

    Raises:
        SignatureRefused: the code is another; what else could be wrong with a question that holds nothing but a signature?
        ProviderNonsense: the answer is built otherwise, or a secret does not open under the one it was asked under.
    """
    if not isinstance(answer, dict):
        raise ProviderNonsense(provider, "the secret service's answer is not an object")
    code = str(look_up(answer, step.code, provider)) if step.code else ""
    if code not in step.success and step.success:
        raise SignatureRefused(provider, upstream_code=public_code(code))
    opening = OPENINGS[step.opening]

    def secret(given: Given) -> Secret:
        ends_ms = int(look_up(answer, given.ends, provider)) if given.ends else _NEVER_ENDS_MS
        return Secret(opening(look_up(answer, given.value, provider), asked_under), now_ms, ends_ms)

    try:
        return Opened(secret(step.secret), secret(step.parent) if step.parent else None)
    except (AttributeError, OverflowError, TypeError, ValueError, binascii.Error):
        raise ProviderNonsense(provider, "the secret service's answer cannot be opened") from None


def _plain(text: str, _: bytes) -> bytes:
    if not text:
        raise ValueError("empty")
    return text.encode()


def _aes_ecb(text: str, key: bytes) -> bytes:
    """AES-128 in ECB mode: a weak mode, but the one that deployed secret services answer in."""
    return _decrypted(text, Cipher(algorithms.AES(key[:AES_KEY_BYTES]), modes.ECB()))  # noqa: S305


def _aes_cbc_sha1prng(text: str, key: bytes) -> bytes:
    """AES-128 in CBC mode under a constant vector; the key is what Java's SHA1PRNG gives first after being seeded with ours."""
    seed = hashlib.sha1(key, usedforsecurity=False).digest()
    drawn = hashlib.sha1(seed, usedforsecurity=False).digest()[:AES_KEY_BYTES]
    return _decrypted(text, Cipher(algorithms.AES(drawn), modes.CBC(b"AESCBCPKCS5Paddi")))


def _decrypted(text: str, cipher: Cipher[Any]) -> bytes:
    """Base64, then the cipher, then PKCS #7 padding."""
    decryptor = cipher.decryptor()
    padded = decryptor.update(base64.b64decode(text, validate=True)) + decryptor.finalize()
    unpadder = padding.PKCS7(algorithms.AES.block_size).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


# How secret services lock what they answer: its text and the secret that it was asked under -> the secret.
OPENINGS: Mapping[str, Callable[[str, bytes], bytes]] = {
    "plain": _plain,
    "aes-128-ecb": _aes_ecb,
    "aes-128-cbc-sha1prng": _aes_cbc_sha1prng,
}
