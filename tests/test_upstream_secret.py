"""Secrets: from files, opened, fetched once, renewed before they end, replaced when they were rotated."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from broker.errors import ProviderError, ProviderNonsense, ProviderRefused, ProviderUnavailable, SecretMissing
from broker.model.catalogue import Envelope, HttpEndpoint, HttpOperation
from broker.upstream.dialect import DIALECTS, Dialect, SecretSource
from broker.upstream.providers import Providers, wall_clock_ms
from broker.upstream.secret import FetchedSecret, FileSecret, Secret, open_secret, read_app_key, read_secret
from tests.oracle.dialect import gjgxjhpt_headers
from tests.upstream_kit import GOOD, config, everything_said, http_server, interface, provider, providers, question

(STEP,) = DIALECTS["gjgxjhpt"].steps
APP_KEY = b"0123456789abcdef-longer"
OPERATION = HttpOperation(
    path="/person",
    service_id="s_1",
    parameters={"sfzh": "{resident_id}"},
    envelope=Envelope(record="data", code="code", success=("0",)),
)


def locked(secret: bytes, app_key: bytes = APP_KEY) -> str:
    """Encrypt a secret as a secret service does."""
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(app_key[:16]), modes.ECB()).encryptor()
    return base64.b64encode(encryptor.update(padder.update(secret) + padder.finalize()) + encryptor.finalize()).decode()


# --- files --------------------------------------------------------------------------------------------------------------


def test_a_secret_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b" secret\n")
    assert read_secret(tmp_path, "key") == b"secret"


@pytest.mark.parametrize("name", ["absent", "", "../key", "/etc/hostname", ".", "..", "directory", "empty", "binary"])
def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "secrets" / "directory").mkdir(parents=True)
    (tmp_path / "secrets" / "empty").touch()
    (tmp_path / "secrets" / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "key").write_bytes(b"secret")
    with pytest.raises(SecretMissing, match=f"`{name}`"):
        read_secret(tmp_path / "secrets", name)


def test_a_short_app_key_is_refused_without_showing_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short-app-key")
    with pytest.raises(SecretMissing) as caught:
        read_app_key(tmp_path, "key")
    assert "short-app-key" not in everything_said(caught.value)


async def test_a_file_secret_is_read_again_after_it_was_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"old")
    source = FileSecret(lambda: read_secret(tmp_path, "key"))
    old = await source.current()
    (tmp_path / "key").write_bytes(b"new")
    assert (await source.current()).value == b"old"
    source.refused(old)
    assert (await source.current()).value == b"new"


# --- opening ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [1_700_000_000_000, "1700000000000"])
@pytest.mark.parametrize("secret", [b"s", b"sixteen bytes ok", "密钥".encode()])
def test_a_secret_opens_under_the_app_key(secret: bytes, ends: Any) -> None:
    answer = {"code": "0", "data": {"secret": locked(secret), "secretEndTime": ends}}
    opened = open_secret(STEP, answer, APP_KEY, 5, "exchange").secret
    assert opened == Secret(secret, 5, 1_700_000_000_000)
    assert repr(opened) == "Secret(from_ms=5, ends_ms=1700000000000)"


@pytest.mark.parametrize(
    "data",
    [
        {"secret": locked(b"s", b"another key 0123"), "secretEndTime": 1},
        {"secret": "not base64!", "secretEndTime": 1},
        {"secret": "YWJj", "secretEndTime": 1},
        {"secret": "", "secretEndTime": 1},
        {"secret": 5, "secretEndTime": 1},
        {"secret": locked(b"s"), "secretEndTime": "soon"},
        {"secret": locked(b"s"), "secretEndTime": None},
        {"secret": locked(b"s")},
        {},
        None,
        [],
    ],
)
def test_an_answer_that_does_not_open_is_nonsense_and_shows_nothing(data: Any) -> None:
    with pytest.raises(ProviderNonsense) as caught:
        open_secret(STEP, {"code": "0", "data": data}, APP_KEY, 0, "exchange")
    assert APP_KEY.decode() not in everything_said(caught.value)


@pytest.mark.parametrize(("code", "shown"), [("401", "401"), (7, "7"), (None, "None"), ("密钥 wrong", "")])
def test_a_secret_service_that_refuses_says_its_code(code: Any, shown: str) -> None:
    with pytest.raises(ProviderRefused) as caught:
        open_secret(STEP, {"code": code, "data": {}}, APP_KEY, 0, "exchange")
    assert caught.value.upstream_code == shown


@pytest.mark.parametrize(
    ("life_ms", "lead_ms"), [(3_600_000, 60_000), (600_000, 60_000), (300_000, 30_000), (1000, 100), (0, 0), (-5, 0)]
)
def test_time_for_renewal_is_a_tenth_of_its_life_and_at_most_a_minute(life_ms: int, lead_ms: int) -> None:
    assert Secret(b"", 1000, 1000 + life_ms).renew_ms == 1000 + life_ms - lead_ms


# --- fetching -----------------------------------------------------------------------------------------------------------


class Service:
    """A secret service without a network: secrets of 1,000 ms on a clock that the test moves."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.fetched = 0
        self.broken: Exception | None = None

    async def fetch(self) -> Secret:
        self.fetched += 1
        await asyncio.sleep(0.01)
        if self.broken:
            raise self.broken
        return Secret(b"%d" % self.fetched, self.now_ms, self.now_ms + 1000)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def source(service: Service) -> FetchedSecret:
    return FetchedSecret(service.fetch, lambda: service.now_ms)


async def test_a_secret_is_fetched_once_however_many_wait(service: Service, source: FetchedSecret) -> None:
    found = await asyncio.gather(*(source.current() for _ in range(200)))
    assert {secret.value for secret in found} == {b"1"}
    assert service.fetched == 1


async def test_it_is_renewed_before_it_ends_and_nobody_waits(service: Service, source: FetchedSecret) -> None:
    await source.current()
    service.now_ms = 899
    assert (await source.current()).value == b"1"
    await asyncio.sleep(0.03)
    assert service.fetched == 1
    service.now_ms = 900
    assert {(await source.current()).value for _ in range(100)} == {b"1"}
    await asyncio.sleep(0.03)
    assert (await source.current()).value == b"2"
    assert service.fetched == 2


async def test_a_failed_renewal_is_tried_again_after_a_pause_while_the_old_one_holds(
    service: Service, source: FetchedSecret
) -> None:
    await source.current()
    service.now_ms, service.broken = 900, ProviderUnavailable("exchange")
    for _ in range(5):
        assert (await source.current()).value == b"1"
        await asyncio.sleep(0.02)
    assert service.fetched == 2
    service.now_ms, service.broken = 910, None
    await source.current()
    await asyncio.sleep(0.03)
    assert (await source.current()).value == b"3"


async def test_when_it_has_ended_the_failure_is_told(service: Service, source: FetchedSecret) -> None:
    await source.current()
    service.now_ms, service.broken = 1000, ProviderUnavailable("exchange")
    with pytest.raises(ProviderUnavailable):
        await source.current()


async def test_of_many_refused_calls_one_fetches(service: Service, source: FetchedSecret) -> None:
    refused = await source.current()

    async def replace() -> bytes:
        source.refused(refused)
        return (await source.current()).value

    assert set(await asyncio.gather(*(replace() for _ in range(100)))) == {b"2"}
    source.refused(refused)
    assert (await source.current()).value == b"2"
    assert service.fetched == 2


async def test_a_caller_that_leaves_does_not_stop_the_fetch(service: Service, source: FetchedSecret) -> None:
    impatient = asyncio.create_task(source.current())
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await source.current()).value == b"1"
    assert service.fetched == 1


async def test_close_leaves_no_task(service: Service, source: FetchedSecret) -> None:
    await source.current()
    service.now_ms = 950
    await source.current()
    await source.close()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


# --- over the wire ------------------------------------------------------------------------------------------------------


class Exchange:
    """A national exchange over real HTTP: checks each signature, gives out secrets of `life_ms`."""

    def __init__(self, life_ms: int, *, revokes: bool) -> None:
        self.life_ms = life_ms
        self.revokes = revokes  # a new secret ends the earlier ones at once
        self.secrets: dict[bytes, int] = {}  # value -> end
        self.refused = 0

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/secret":
            return self._issue(request)
        now_ms = wall_clock_ms()
        if not any(self._signed(request, secret) for secret, ends_ms in self.secrets.items() if now_ms < ends_ms):
            self.refused += 1
            return web.json_response({"code": "401"}, status=401)
        return web.json_response({"code": "0", "data": GOOD})

    def _issue(self, request: web.Request) -> web.Response:
        if not self._signed(request, APP_KEY):
            return web.json_response({"code": "403"}, status=403)
        if self.revokes:
            self.secrets.clear()
        secret, ends_ms = b"secret-%d" % wall_clock_ms(), wall_clock_ms() + self.life_ms
        self.secrets = {old: ends for old, ends in self.secrets.items() if ends > wall_clock_ms()} | {secret: ends_ms}
        return web.json_response({"code": "0", "data": {"secret": locked(secret), "secretEndTime": ends_ms}})

    def _signed(self, request: web.Request, secret: bytes) -> bool:
        sent = {name: request.headers.get(name, "") for name in gjgxjhpt_headers("", "", 0, b"")}
        expected = gjgxjhpt_headers("broker", "s_1", int(sent["gjgxjhpt_rtime"]), secret)
        return sent == expected


def exchange_at(base_url: str) -> Any:
    return provider(
        HttpEndpoint(
            base_url=base_url, dialect="gjgxjhpt", requester_id="broker", app_key_file="app-key", secret_path="/secret"
        )
    )


ASKED = question(interface(OPERATION))


@pytest.fixture
def secrets_dir(tmp_path: Path) -> Path:
    (tmp_path / "app-key").write_bytes(APP_KEY + b"\n")
    return tmp_path


async def ask_for(seconds: float, callers: int, asking: Providers, base_url: str) -> tuple[int, list[ProviderError]]:
    """Ask from many tasks at once; return how many answers came and all failures."""
    answers, failures = 0, []
    end = asyncio.get_running_loop().time() + seconds

    async def caller() -> None:
        nonlocal answers
        while asyncio.get_running_loop().time() < end:
            try:
                await asking.ask(ASKED, exchange_at(base_url), 5)
                answers += 1
            except ProviderError as error:
                failures.append(error)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return answers, failures


@pytest.mark.parametrize("revokes", [False, True])
async def test_200_callers_see_nothing_of_a_secret_that_rotates(secrets_dir: Path, revokes: bool) -> None:
    exchange = Exchange(life_ms=2000, revokes=revokes)  # longer than any one call takes, even on a busy machine
    issued: set[bytes] = set()
    async with http_server(exchange.handle) as base_url, providers(config(secrets_dir)) as asking:
        watch = asyncio.create_task(collect(exchange, issued))
        answers, failures = await ask_for(7, 200, asking, base_url)
        watch.cancel()
    assert failures == []
    assert answers > 200
    assert len(issued) >= 3


async def collect(exchange: Exchange, issued: set[bytes]) -> None:
    while True:
        issued.update(exchange.secrets)
        await asyncio.sleep(0.01)


async def test_a_secret_that_the_exchange_forgot_is_fetched_anew(secrets_dir: Path) -> None:
    exchange = Exchange(life_ms=3_600_000, revokes=False)
    async with http_server(exchange.handle) as base_url, providers(config(secrets_dir)) as asking:
        await asking.ask(ASKED, exchange_at(base_url), 5)
        exchange.secrets.clear()
        await asking.ask(ASKED, exchange_at(base_url), 5)
    assert exchange.refused == 1
    assert len(exchange.secrets) == 1


async def test_a_wrong_app_key_is_refused_after_one_more_try(secrets_dir: Path) -> None:
    (secrets_dir / "app-key").write_bytes(b"another app key, long enough")
    exchange = Exchange(life_ms=1000, revokes=False)
    async with http_server(exchange.handle) as base_url, providers(config(secrets_dir)) as asking:
        with pytest.raises(ProviderRefused) as caught:
            await asking.ask(ASKED, exchange_at(base_url), 5)
    assert caught.value.upstream_code == "HTTP_403"


async def test_an_exchange_that_refuses_every_signature_is_asked_twice(secrets_dir: Path) -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/secret":
            return web.json_response({"code": "0", "data": {"secret": locked(b"s"), "secretEndTime": wall_clock_ms() + 10_000}})
        return web.Response(status=401)

    async with http_server(handle) as base_url, providers(config(secrets_dir)) as asking:
        with pytest.raises(ProviderRefused) as caught:
            await asking.ask(ASKED, exchange_at(base_url), 5)
    assert caught.value.upstream_code == "HTTP_401"
    assert asked == ["/secret", "/person", "/secret", "/person"]


async def test_a_new_dialect_is_an_entry_in_a_table(secrets_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dialect that signs with the app key itself; the key is replaced in its file while the broker runs."""
    city = Dialect({"X-Id": "{rid}", "X-Sign": "{sign}"}, "{rid}{secret}", "md5", "hex", SecretSource.APP_KEY)
    monkeypatch.setitem(cast("dict[str, Dialect]", DIALECTS), "city", city)
    key = APP_KEY

    async def handle(request: web.Request) -> web.Response:
        expected = hashlib.md5(b"broker" + key).hexdigest()
        return web.json_response({"code": "0", "data": GOOD}, status=200 if request.headers["X-Sign"] == expected else 401)

    async with http_server(handle) as base_url, providers(config(secrets_dir)) as asking:
        endpoint = HttpEndpoint(base_url=base_url, dialect="city", requester_id="broker", app_key_file="app-key")
        assert (await asking.ask(ASKED, provider(endpoint), 5)).fields == GOOD
        key = b"new key"
        (secrets_dir / "app-key").write_bytes(key)
        assert (await asking.ask(ASKED, provider(endpoint), 5)).fields == GOOD


async def test_a_missing_app_key_names_the_file(tmp_path: Path) -> None:
    async with http_server(Exchange(1000, revokes=False).handle) as base_url, providers(config(tmp_path)) as asking:
        with pytest.raises(SecretMissing, match="`app-key`"):
            await asking.ask(ASKED, exchange_at(base_url), 5)


async def test_no_secret_is_ever_shown(secrets_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        if request.path == "/secret":
            body = {"code": "0", "data": {"secret": locked(b"TOP-SECRET"), "secretEndTime": wall_clock_ms() + 10_000}}
            return web.json_response(body)
        return web.Response(text=f"no {APP_KEY.decode()} {json.dumps(dict(request.headers))} TOP-SECRET")

    async with http_server(handle) as base_url, providers(config(secrets_dir)) as asking:
        with pytest.raises(ProviderNonsense) as caught:
            await asking.ask(ASKED, exchange_at(base_url), 5)
        said = [everything_said(caught.value), repr(asking), caplog.text]
    assert [text for text in said if "TOP-SECRET" in text or APP_KEY.decode() in text] == []
