"""Secrets that rotate, over real HTTP: nobody who asks sees anything of it; what does not hold is replaced once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from aiohttp import web

from broker.demo.doorkeepers import Terms
from broker.demo.signed_server import SignedServer
from broker.errors import ProviderError, ProviderNonsense, ProviderRefused, SecretMissing
from broker.model.call import Question
from broker.model.catalogue import Envelope, HttpEndpoint, HttpOperation, Provider
from broker.upstream.dialect import DIALECTS, Dialect, SecretSource
from broker.upstream.providers import Providers, wall_clock_ms
from tests.oracle.dialect import gjgxjhpt_headers, locked
from tests.upstream_kit import GOOD, config, everything_said, http_server, interface, provider, providers, question

APP_KEY = b"0123456789abcdef-longer"
OPERATION = HttpOperation(
    path="/person",
    service_id="s_1",
    parameters={"sfzh": "{resident_id}"},
    envelope=Envelope(record="data", code="code", success=("0",)),
)


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
        return web.json_response({"code": "0", "data": {"secret": locked(secret, APP_KEY), "secretEndTime": ends_ms}})

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


class Rotating(NamedTuple):
    """Somebody whose secrets rotate, and how to ask there."""

    handle: Callable[[web.Request], Awaitable[web.StreamResponse]]
    secrets: Callable[[], Iterable[Any]]  # those that hold now
    provider: Callable[[str], Provider]
    operation: HttpOperation
    pause_s: float = 0.0  # between a caller's questions


def exchange(life_ms: int, revokes: bool) -> Rotating:
    made = Exchange(life_ms, revokes=revokes)
    return Rotating(made.handle, lambda: made.secrets, exchange_at, OPERATION)


def gateway(life_ms: int, revokes: bool) -> Rotating:
    made = SignedServer("gateway-token", Terms("broker", APP_KEY.decode(), life_ms / 1000, revokes))
    there = HttpEndpoint(base_url="http://a", dialect="gateway-token", **ACCOUNT, secret_path="/auth/token")
    return _simulated(made, there, OPERATION)


def zhejiang(life_ms: int, revokes: bool) -> Rotating:
    """It refuses in a business code; its refresh secret is another after each use."""
    made = SignedServer("zhejiang", Terms("broker", APP_KEY.decode(), life_ms / 1000, revokes))
    paths = {"secret_path": "/refreshTokenByKey", "renewal_path": "/refreshTokenBySec"}
    there = HttpEndpoint(base_url="http://a", dialect="zhejiang", **ACCOUNT, **paths)
    envelope = Envelope(record="datas", code="code", success=("00",), faults={"14": "unsigned"})
    return _simulated(made, there, msgspec.structs.replace(OPERATION, envelope=envelope))


def _simulated(made: SignedServer, there: HttpEndpoint, operation: HttpOperation) -> Rotating:
    echoed = msgspec.structs.replace(operation, parameters={"resident_id": "{resident_id}", "name": "王五"})
    return Rotating(
        made.handle,
        lambda: made.doorkeeper.secrets,
        lambda base_url: provider(msgspec.structs.replace(there, base_url=base_url)),
        echoed,
        pause_s=0.5,  # they share one core with the broker
    )


ACCOUNT: dict[str, str] = {"requester_id": "broker", "app_key_file": "app-key"}
ROTATING: dict[str, Callable[[int, bool], Rotating]] = {
    "gjgxjhpt": exchange,
    "gateway-token": gateway,
    "zhejiang": zhejiang,
}
ASKED = question(interface(OPERATION))


@pytest.fixture
def secrets_dir(tmp_path: Path) -> Path:
    (tmp_path / "app-key").write_bytes(APP_KEY + b"\n")
    return tmp_path


async def ask_for(
    seconds: float, callers: int, asking: Providers, there: Provider, about: Question, pause_s: float
) -> tuple[int, list[ProviderError]]:
    """Ask from many tasks at once; return how many answers came and all failures."""
    answers, failures = 0, []
    end = asyncio.get_running_loop().time() + seconds

    async def caller() -> None:
        nonlocal answers
        while asyncio.get_running_loop().time() < end:
            try:
                await asking.ask(about, there, 5)
                answers += 1
            except ProviderError as error:
                failures.append(error)
            await asyncio.sleep(pause_s)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return answers, failures


@pytest.mark.parametrize(
    ("dialect", "revokes"),
    [("gjgxjhpt", False), ("gjgxjhpt", True), ("gateway-token", True), ("zhejiang", False), ("zhejiang", True)],
)
async def test_200_callers_see_nothing_of_a_secret_that_rotates(secrets_dir: Path, dialect: str, revokes: bool) -> None:
    rotating = ROTATING[dialect](2000, revokes)  # ms: longer than any one call takes, even on a busy machine
    issued: set[Any] = set()
    async with http_server(rotating.handle) as base_url, providers(config(secrets_dir)) as asking:
        watch = asyncio.create_task(collect(rotating.secrets, issued))
        there, about = rotating.provider(base_url), question(interface(rotating.operation))
        answers, failures = await ask_for(7, 200, asking, there, about, rotating.pause_s)
        watch.cancel()
    assert failures == []
    assert answers > 200
    assert len(issued) >= 3


async def collect(secrets: Callable[[], Iterable[Any]], issued: set[Any]) -> None:
    while True:
        issued.update(secrets())
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
            return web.json_response(
                {"code": "0", "data": {"secret": locked(b"s", APP_KEY), "secretEndTime": wall_clock_ms() + 10_000}}
            )
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
            body = {"code": "0", "data": {"secret": locked(b"TOP-SECRET", APP_KEY), "secretEndTime": wall_clock_ms() + 10_000}}
            return web.json_response(body)
        return web.Response(text=f"no {APP_KEY.decode()} {json.dumps(dict(request.headers))} TOP-SECRET")

    async with http_server(handle) as base_url, providers(config(secrets_dir)) as asking:
        with pytest.raises(ProviderNonsense) as caught:
            await asking.ask(ASKED, exchange_at(base_url), 5)
        said = [everything_said(caught.value), repr(asking), caplog.text]
    assert [text for text in said if "TOP-SECRET" in text or APP_KEY.decode() in text] == []
