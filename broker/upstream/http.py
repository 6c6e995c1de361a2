"""Providers that speak JSON over HTTP: one bounded pool a provider, one request a question, signed in the provider's dialect.

Redirects, cookies, proxies from the environment and compressed bodies are refused: none is part of such an interface, and
each is a way to be led astray. aiohttp's exceptions end in this file. What must not go in here: retries for the sake of
success (the one of `signed.py` replaces a secret that was rotated), and what an answer means.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import email.utils
import functools
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from broker.config import Config
from broker.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderOverloaded,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from broker.model.call import Question
from broker.model.catalogue import HttpEndpoint, HttpOperation, Provider
from broker.upstream import codec
from broker.upstream.dialect import Dialect, Facts, SecretSource, dialect_of, envelope_of, sign
from broker.upstream.envelope import SignatureRefused, fill, open_envelope, paths
from broker.upstream.secret import Secret, read_app_key, read_secret, read_token
from broker.upstream.signed import Account, Answered, Asked, SignedRequests

RETRY_AFTER_S = (1.0, 900.0)  # what a provider says is kept within these
_DNS_TTL_S = 10  # a provider that moves is found again after this
_SECRET_CONNECTIONS = 1  # so that questions which wait for a secret cannot keep it from being fetched
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "shared-data-broker"}


class HttpConnector:
    """Asks one HTTP provider. Made inside the running loop."""

    def __init__(self, provider: Provider, endpoint: HttpEndpoint, config: Config, wall_ms: Callable[[], int]) -> None:
        self._provider = provider.id
        self._endpoint = endpoint
        self._dialect = dialect_of(endpoint)
        self._max_answer_bytes = config.upstream.max_answer_bytes
        self._wall_ms = wall_ms
        self._requests = SignedRequests(
            provider.id,
            endpoint,
            read_file=functools.partial(_secret_reader(self._dialect), config.path(config.upstream.secrets_dir)),
            send=self._send,
            decoded=self._decoded,
            wall_ms=wall_ms,
        )
        # Taken before signing: a signature must not grow old in a queue for a connection.
        self._slots = asyncio.Semaphore(config.upstream.max_connections_per_provider)
        self._session = _open_session(config)

    async def ask(self, question: Question, timeout_s: float) -> dict[str, Any] | None:
        """Return the record under our names, or None for "no record". Raises `ProviderError`."""
        operation = question.interface.operation
        assert isinstance(operation, HttpOperation)  # noqa: S101 - the catalogue's validation pairs them
        asked = _asked(operation, self._endpoint, dict(question.arguments))
        envelope, fields = envelope_of(self._dialect, operation), paths(question)

        def read(answered: Answered) -> dict[str, Any] | None:
            return open_envelope(envelope, fields, self._decoded(answered), self._provider)

        with _foreign_errors(self._provider):
            async with asyncio.timeout(timeout_s), self._slots:
                return await self._requests.ask(asked, read)

    async def close(self) -> None:
        """Close the secrets' sources and all connections."""
        await self._requests.close()
        await self._session.close()

    async def _send(self, asked: Asked, secret: Secret) -> Answered:
        account = asked.account
        facts = Facts(account.requester_id, account.service_id, self._wall_ms(), secrets.token_hex(16))
        signed = sign(self._dialect, facts, secret.value)
        with _foreign_errors(self._provider):
            async with self._session.request(
                asked.method,
                self._endpoint.base_url + asked.path,
                params={**asked.query, **signed.query},
                data=asked.body,
                headers=signed.headers | _content_type(asked),
                allow_redirects=False,
            ) as response:
                with _after_headers(self._provider):
                    body = await _read_body(response, self._max_answer_bytes, self._provider)
        headers = response.headers
        return Answered(response.status, headers.get("Retry-After"), _date_ms(headers.get("Date", "")), body)

    def _decoded(self, answered: Answered) -> Any:
        error = status_error(self._provider, answered.status, answered.retry_after, self._wall_ms())
        if error is not None:
            raise error
        return codec.decode("json", answered.body, self._provider)


def _secret_reader(dialect: Dialect) -> Callable[[Path, str], bytes]:
    """Return how the file behind a dialect is read: by what the secret in it must be fit for."""
    if dialect.secret is SecretSource.NONE:
        return _no_secret
    if dialect.shows_secret:
        return read_token
    locked = any(step.opening == "aes-128-ecb" for step in dialect.steps)
    return read_app_key if locked else read_secret


def _no_secret(_: Path, __: str) -> bytes:
    return b""


def _open_session(config: Config) -> aiohttp.ClientSession:
    limit = config.upstream.max_connections_per_provider + _SECRET_CONNECTIONS
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, limit_per_host=limit, ttl_dns_cache=_DNS_TTL_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.upstream.connect_timeout_ms / 1000),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_HEADERS,
        auto_decompress=False,
        trust_env=False,
    )


def _asked(operation: HttpOperation, endpoint: HttpEndpoint, arguments: Mapping[str, str]) -> Asked:
    parameters = fill(operation.parameters, arguments)
    account = Account(
        operation.requester_id or endpoint.requester_id,
        operation.service_id,
        operation.app_key_file or endpoint.app_key_file,
    )
    if operation.method == "GET":
        return Asked("GET", operation.path, account, query=parameters)
    return Asked("POST", operation.path, account, body=codec.encode("json", parameters))


def _content_type(asked: Asked) -> dict[str, str]:
    return {} if asked.body is None else {"Content-Type": "application/json"}


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int, provider: str) -> bytes:
    """Read at most `max_bytes`: the length that a provider announces is not to be believed, nor that it ever stops."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise ProviderNonsense(provider, f"the answer is larger than {max_bytes} bytes")
    return bytes(body)


def status_error(provider: str, status: int, retry_after: str | None, now_ms: int) -> ProviderError | None:
    """Return the error that an HTTP status means, or None for 2xx. Pure."""
    code, wait_s = f"HTTP_{status}", retry_after_s(retry_after, now_ms)
    match status // 100, status:
        case 2, _:
            return None
        case _, 429:
            return ProviderOverloaded(provider, upstream_code=code, retry_after_s=wait_s)
        case _, 401 | 403:
            return SignatureRefused(provider, upstream_code=code)
        case 4, _:
            return ProviderRefused(provider, upstream_code=code)
        case 5, _:
            return ProviderUnavailable(provider, upstream_code=code, retry_after_s=wait_s)
    return ProviderNonsense(provider, "a redirect or an unknown status", upstream_code=code)


def retry_after_s(header: str | None, now_ms: int) -> float | None:
    """Return the seconds to wait that a ``Retry-After`` header asks for (RFC 9110 §10.2.3), within 1 s and 15 min.

    None where there is no header or it cannot be read.
    """
    seconds = _seconds(header.strip(), now_ms) if header else None
    return None if seconds is None else min(max(seconds, RETRY_AFTER_S[0]), RETRY_AFTER_S[1])


def _seconds(text: str, now_ms: int) -> float | None:
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return float(text)
    date_ms = _date_ms(text)
    return None if date_ms is None else (date_ms - now_ms) / 1000


def _date_ms(text: str) -> float | None:
    """Return an HTTP date (RFC 9110 §5.6.7) in ms since the epoch, or None if the text is none."""
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=dt.UTC)
    return date.timestamp() * 1000


def _lost_before_answer(provider: str) -> ProviderUnavailable:
    error = ProviderUnavailable(provider)
    error.before_answer = True
    return error


@contextlib.contextmanager
def _after_headers(provider: str) -> Iterator[None]:
    """A connection that is lost once an answer has begun: the provider has had the question."""
    try:
        yield
    except TimeoutError:
        raise
    except (aiohttp.ClientConnectionError, ConnectionError):
        raise ProviderUnavailable(provider) from None


@contextlib.contextmanager
def _foreign_errors(provider: str) -> Iterator[None]:
    """Turn aiohttp's exceptions into ours. Their texts hold URLs, and a URL may hold arguments: the chain is cut."""
    try:
        yield
    except TimeoutError:
        raise ProviderTimeout(provider) from None
    except aiohttp.ClientResponseError:
        raise ProviderNonsense(provider, "the answer is not HTTP") from None
    except aiohttp.ClientSSLError:  # a certificate does not get better by looking twice
        raise ProviderUnavailable(provider) from None
    except (aiohttp.ClientConnectionError, ConnectionError):
        raise _lost_before_answer(provider) from None
    except (aiohttp.ClientError, OSError):
        raise ProviderUnavailable(provider) from None
