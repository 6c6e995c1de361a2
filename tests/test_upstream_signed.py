"""Every dialect against a provider that checks signatures by code of its own: who is let in, who is not, what is done then."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from broker.demo.doorkeepers import DOORKEEPERS, SKEW_MS, Doorkeeper, Terms, Visit
from broker.demo.signed_server import SignedServer
from broker.errors import ProviderError, ProviderRefused, ProviderUnavailable, SecretMissing
from broker.model.call import Question
from broker.model.catalogue import Envelope, HttpEndpoint, HttpOperation, Provider
from broker.upstream.dialect import DIALECTS
from broker.upstream.providers import Providers, wall_clock_ms
from tests.oracle.dialect import gateway_headers, gjzwfwpt_headers, shandong_headers, zhejiang_query
from tests.upstream_kit import NAME, PERSON, config, everything_said, http_server, interface, provider, providers, question

KEY = "0123456789abcdef-longer"
ENVELOPES = {
    "gjzwfwpt": Envelope(),  # its dialect says it all
    "zhejiang": Envelope(record="datas", code="code", success=("00",), faults={"14": "unsigned"}),
}
CODED = Envelope(record="data", code="code", success=("0",))
SERVICES = {
    "gjgxjhpt": {"secret_path": "/secret"},
    "gateway-token": {"secret_path": "/auth/token"},
    "zhejiang": {"secret_path": "/refreshTokenByKey", "renewal_path": "/refreshTokenBySec"},
}
FROM_FILES = ["bearer", "gateway-token-file", "gjzwfwpt", "shandong"]
FETCHED = [name for name, dialect in DIALECTS.items() if dialect.steps]


def asking_about(dialect: str, **operation: Any) -> Question:
    """A question whose answer repeats what is sent."""
    settings = {
        "path": "/sysapi/s_1",
        "service_id": "s_1",
        "parameters": {"resident_id": "{resident_id}", "name": "{name}"},
        "envelope": ENVELOPES.get(dialect, CODED),
    }
    return question(interface(HttpOperation(**(settings | operation))), resident_id=PERSON, name=NAME)


def at(base_url: str, dialect: str, **endpoint: str) -> Provider:
    account = {"requester_id": "R1", "app_key_file": "app-key"}
    return provider(HttpEndpoint(base_url=base_url, dialect=dialect, **(account | SERVICES.get(dialect, {}) | endpoint)))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    (tmp_path / "app-key").write_text(KEY)
    return tmp_path / "app-key"


@contextlib.asynccontextmanager
async def served(dialect: str, key_file: Path, **terms: Any) -> AsyncIterator[tuple[SignedServer, str]]:
    """A provider of a dialect that knows the broker; yields it and its base URL."""
    server = SignedServer(dialect, Terms(**({"requester": "R1", "app_key": KEY} | terms)))
    async with http_server(server.handle) as base_url:
        yield server, base_url


async def code_of(asking: Providers, about: Question, there: Provider) -> str:
    """Ask and return the provider's code with which it was refused."""
    with pytest.raises(ProviderError) as caught:
        await asking.ask(about, there, 5)
    assert type(caught.value) is ProviderRefused
    assert KEY not in everything_said(caught.value)
    return caught.value.upstream_code


# --- let in -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_is_let_in_again_and_again(dialect: str, key_file: Path) -> None:
    async with served(dialect, key_file) as (server, base_url), providers(config(key_file.parent)) as asking:
        for _ in range(5):
            record = await asking.ask(asking_about(dialect), at(base_url, dialect), 5)
            assert record.fields == {"resident_id": PERSON, "name": NAME}
    assert (server.asked, server.refused) == (5, 0)


def test_every_dialect_has_a_doorkeeper() -> None:
    assert DOORKEEPERS.keys() == DIALECTS.keys()


async def test_a_get_carries_its_signature_beside_its_parameters(key_file: Path) -> None:
    async with served("zhejiang", key_file) as (server, base_url), providers(config(key_file.parent)) as asking:
        record = await asking.ask(asking_about("zhejiang", method="GET"), at(base_url, "zhejiang"), 5)
    assert record.fields == {"resident_id": PERSON, "name": NAME}
    assert server.refused == 0


@pytest.mark.parametrize("dialect", ["gjzwfwpt", "shandong", "gateway-token"])
async def test_sm3_is_agreed_on_by_both_sides_or_by_none(dialect: str, key_file: Path) -> None:
    async with served(dialect, key_file, digest="sm3") as (_, base_url), providers(config(key_file.parent)) as asking:
        there = at(base_url, dialect, digest="hmac-sm3")
        assert (await asking.ask(asking_about(dialect), there, 5)).fields == {"resident_id": PERSON, "name": NAME}
        assert await code_of(asking, asking_about(dialect), at(base_url, dialect)) == "HTTP_401"


async def test_interfaces_of_one_account_share_its_secret_where_services_are_not_signed(key_file: Path) -> None:
    issued = {}
    for dialect in FETCHED:
        async with served(dialect, key_file) as (server, base_url), providers(config(key_file.parent)) as asking:
            asked_for: list[str] = []
            server.doorkeeper.issue = _watched(server.doorkeeper.issue, asked_for)  # type: ignore[method-assign]
            for service in ("s_1", "s_2", "s_3"):
                about = asking_about(dialect, path=f"/sysapi/{service}", service_id=service)
                await asking.ask(about, at(base_url, dialect), 5)
            issued[dialect] = len(asked_for)
    assert issued == {"gjgxjhpt": 3, "gateway-token": 1, "zhejiang": 2}


def _watched(issue: Callable[[str, Visit], Any], seen: list[str]) -> Callable[[str, Visit], Any]:
    def watched(path: str, visit: Visit) -> Any:
        seen.append(path)
        return issue(path, visit)

    return watched


async def test_an_interface_with_an_account_of_its_own_signs_as_that(key_file: Path) -> None:
    (key_file.parent / "own").write_text("another key")
    terms = {"requester": "R2", "app_key": "another key"}
    async with served("gjzwfwpt", key_file, **terms) as (_, base_url), providers(config(key_file.parent)) as asking:
        own = asking_about("gjzwfwpt", requester_id="R2", app_key_file="own")
        assert (await asking.ask(own, at(base_url, "gjzwfwpt"), 5)).fields == {"resident_id": PERSON, "name": NAME}
        assert await code_of(asking, asking_about("gjzwfwpt"), at(base_url, "gjzwfwpt")) == "HTTP_401"


# --- secrets that are not accepted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", FROM_FILES)
async def test_a_key_replaced_in_its_file_costs_one_refusal_and_no_call(dialect: str, key_file: Path) -> None:
    async with served(dialect, key_file) as (server, base_url), providers(config(key_file.parent)) as asking:
        await asking.ask(asking_about(dialect), at(base_url, dialect), 5)
        key_file.write_text("the-next-key")
        server.doorkeeper._terms = Terms("R1", "the-next-key")
        for _ in range(3):
            assert (await asking.ask(asking_about(dialect), at(base_url, dialect), 5)).fields is not None
    assert (server.asked, server.refused) == (5, 1)


@pytest.mark.parametrize(("status", "asked"), [(401, 2), (403, 2), (400, 1), (404, 1), (429, 1), (500, 1)])
async def test_only_two_statuses_mean_that_a_signature_was_not_accepted(status: int, asked: int, key_file: Path) -> None:
    shown: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        shown.append(request.headers["Authorization"])
        key_file.write_text(f"key-{len(shown)}")  # so that another secret is there to ask under
        return web.Response(status=status)

    async with http_server(handle) as base_url, providers(config(key_file.parent)) as asking:
        with pytest.raises(ProviderError) as caught:
            await asking.ask(asking_about("bearer"), at(base_url, "bearer"), 5)
    assert caught.value.upstream_code == f"HTTP_{status}"
    assert shown == [f"Bearer {KEY}", "Bearer key-1"][:asked]


@pytest.mark.parametrize("dialect", FROM_FILES)
async def test_a_wrong_key_is_not_tried_twice(dialect: str, key_file: Path) -> None:
    key_file.write_text("a-wrong-key")
    async with served(dialect, key_file) as (server, base_url), providers(config(key_file.parent)) as asking:
        assert await code_of(asking, asking_about(dialect), at(base_url, dialect)) == "HTTP_401"
    assert (server.asked, server.refused) == (1, 1)


@pytest.mark.parametrize("dialect", ["gateway-token", "zhejiang"])
async def test_secrets_that_a_provider_forgot_are_fetched_anew(dialect: str, key_file: Path) -> None:
    async with served(dialect, key_file) as (server, base_url), providers(config(key_file.parent)) as asking:
        await asking.ask(asking_about(dialect), at(base_url, dialect), 5)
        server.doorkeeper.secrets.clear()
        assert (await asking.ask(asking_about(dialect), at(base_url, dialect), 5)).fields is not None
        server.doorkeeper.secrets.clear()
        vars(server.doorkeeper)["_refresh"] = ("", 0)  # and, where there is one, the secret behind it
        assert (await asking.ask(asking_about(dialect), at(base_url, dialect), 5)).fields is not None
    assert (server.asked, server.refused) == (5, 2)


async def test_a_code_that_nobody_named_is_no_reason_to_ask_again(key_file: Path) -> None:
    """Zhejiang's refusals come with status 200; only a catalogue that names their code has secrets replaced by them."""
    async with served("zhejiang", key_file) as (server, base_url), providers(config(key_file.parent)) as asking:
        silent = asking_about("zhejiang", envelope=Envelope())
        assert (await asking.ask(silent, at(base_url, "zhejiang"), 5)).fields is not None
        server.doorkeeper.secrets.clear()
        assert await code_of(asking, silent, at(base_url, "zhejiang")) == "14"
    assert (server.asked, server.refused) == (2, 1)


async def test_a_pair_lives_on_over_the_end_of_both_its_secrets(key_file: Path) -> None:
    """Each renewal gives a new refresh secret, too; the key is shown only when that one has ended: at first and twice later."""
    now_ms = wall_clock_ms()
    terms = {"life_s": 900.0, "clock": lambda: now_ms / 1000}
    ours = providers(config(key_file.parent), wall_ms=lambda: now_ms)
    async with served("zhejiang", key_file, **terms) as (server, base_url), ours as asking:
        asked_for: list[str] = []
        server.doorkeeper.issue = _watched(server.doorkeeper.issue, asked_for)  # type: ignore[method-assign]
        for minutes in (0, 1, 16, 3, 14, 2, 16, 50, 61, 500, 16):
            now_ms += minutes * 60_000
            assert (await asking.ask(asking_about("zhejiang"), at(base_url, "zhejiang"), 5)).fields is not None
    assert server.refused == 0
    by_key, by_secret = "/refreshTokenByKey", "/refreshTokenBySec"
    renewals = [by_secret] * 4
    assert asked_for == [by_key, by_secret, *renewals, by_key, by_secret, by_key, by_secret, by_secret]


@pytest.mark.parametrize("dialect", FETCHED)
async def test_an_account_that_a_secret_service_does_not_know_is_refused(dialect: str, key_file: Path) -> None:
    key_file.write_text("another key, long enough")
    async with served(dialect, key_file) as (server, base_url), providers(config(key_file.parent)) as asking:
        code = await code_of(asking, asking_about(dialect), at(base_url, dialect))
    assert code == ("14" if dialect == "zhejiang" else "HTTP_401")
    assert server.asked == 0


async def test_a_token_that_no_header_can_hold_is_not_sent(key_file: Path) -> None:
    key_file.write_text("two words")
    async with served("bearer", key_file) as (server, base_url), providers(config(key_file.parent)) as asking:
        with pytest.raises(SecretMissing, match="`app-key`"):
            await asking.ask(asking_about("bearer"), at(base_url, "bearer"), 5)
    assert server.asked == 0


# --- clocks -------------------------------------------------------------------------------------------------------------

TIMED = [name for name, dialect in DIALECTS.items() if dialect.speaks_of("rtime")]


@pytest.mark.parametrize("dialect", TIMED)
@pytest.mark.parametrize("minutes", [-11, -9, 9, 11])
async def test_a_clock_outside_the_window_is_said_to_be_the_reason(dialect: str, minutes: int, key_file: Path) -> None:
    def wall_ms() -> int:
        return wall_clock_ms() + minutes * 60_000

    ours = providers(config(key_file.parent), wall_ms=wall_ms)
    async with served(dialect, key_file, life_s=10_000.0) as (server, base_url), ours as asking:
        if abs(minutes) < SKEW_MS / 60_000:
            assert (await asking.ask(asking_about(dialect), at(base_url, dialect), 5)).fields is not None
        else:
            assert await code_of(asking, asking_about(dialect), at(base_url, dialect)) == "CLOCK_SKEW"
    assert server.asked <= 1


# --- the doorkeepers, asked by hand -------------------------------------------------------------------------------------

NOW = 1_700_000_000_000
SECRET = "held"
Made = tuple[dict[str, str], dict[str, str]]  # headers, query
BY_HAND: dict[str, Callable[[int], Made]] = {
    "bearer": lambda _: ({"Authorization": f"Bearer {KEY}"}, {}),
    "gjzwfwpt": lambda at: (gjzwfwpt_headers("R1", "s_1", at, KEY.encode()), {}),
    "gateway-token": lambda at: (gateway_headers("R1", at, SECRET.encode()), {}),
    "gateway-token-file": lambda at: (gateway_headers("R1", at, KEY.encode()), {}),
    "zhejiang": lambda at: ({}, zhejiang_query("R1", at, SECRET.encode())),
    "shandong": lambda at: (shandong_headers("R1", at, f"nonce-{at}", KEY.encode()), {}),
}


def doorkeeper(dialect: str) -> Doorkeeper:
    made = DOORKEEPERS[dialect](Terms("R1", KEY, clock=lambda: NOW / 1000))
    made.secrets = {SECRET: NOW + 1, "ended": NOW}
    return made


def spoilt(headers: dict[str, str], query: dict[str, str]) -> Iterator[Made]:
    """Every way to change or leave out one thing."""
    for part in (headers, query):
        for name, value in part.items():
            for wrong in (value[:-1], value + "0", value[::-1], ""):
                changed = {**part, name: wrong}
                yield (changed, query) if part is headers else (headers, changed)


@pytest.mark.parametrize("dialect", BY_HAND)
def test_a_doorkeeper_lets_nobody_in_who_changed_anything(dialect: str) -> None:
    headers, query = BY_HAND[dialect](NOW)
    for other_headers, other_query in spoilt(headers, query):
        assert not doorkeeper(dialect).admits(Visit(other_headers, other_query, "s_1"))
    assert doorkeeper(dialect).admits(Visit(headers, query, "s_1"))


@pytest.mark.parametrize("dialect", sorted(BY_HAND.keys() & set(TIMED)))
def test_a_doorkeeper_keeps_to_its_window(dialect: str) -> None:
    def admitted(off_ms: int) -> bool:
        return doorkeeper(dialect).admits(Visit(*BY_HAND[dialect](NOW + off_ms), "s_1"))

    assert [admitted(off) for off in (-SKEW_MS - 1, -SKEW_MS, SKEW_MS, SKEW_MS + 1)] == [False, True, True, False]


def test_the_platform_serves_nobody_who_names_another_service_or_none() -> None:
    keeper, headers = doorkeeper("gjzwfwpt"), gjzwfwpt_headers("R1", "", NOW, KEY.encode())
    assert not keeper.admits(Visit(headers, {}, ""))
    assert not keeper.admits(Visit(gjzwfwpt_headers("R1", "s_1", NOW, KEY.encode()), {}, "s_2"))


def test_a_secret_that_ended_is_none() -> None:
    assert not doorkeeper("gateway-token").admits(Visit(gateway_headers("R1", NOW, b"ended"), {}, "s_1"))
    assert not doorkeeper("zhejiang").admits(Visit({}, zhejiang_query("R1", NOW, b"ended"), "s_1"))


def test_a_nonce_is_taken_once_as_long_as_its_time_could_be() -> None:
    now_ms = [NOW]
    keeper = DOORKEEPERS["shandong"](Terms("R1", KEY, clock=lambda: now_ms[0] / 1000))

    def admitted(at_ms: int, nonce: str) -> bool:
        return keeper.admits(Visit(shandong_headers("R1", at_ms, nonce, KEY.encode()), {}, "s_1"))

    assert [admitted(NOW, "a"), admitted(NOW, "a"), admitted(NOW + 1, "a"), admitted(NOW, "b")] == [True, False, False, True]
    now_ms[0] = NOW + 2 * SKEW_MS - 1
    assert not admitted(now_ms[0], "a")
    now_ms[0] += 1
    assert admitted(now_ms[0], "a")


async def test_a_request_sent_twice_is_answered_once(key_file: Path) -> None:
    headers = shandong_headers("R1", wall_clock_ms(), "once", KEY.encode())
    async with served("shandong", key_file) as (_, base_url), aiohttp.ClientSession(base_url) as session:
        statuses = [(await session.post("/s_1", headers=headers)).status for _ in range(2)]
    assert statuses == [200, 401]


# --- what the platform's codes mean -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [("300", ProviderRefused), ("db-001", ProviderUnavailable), ("api-007", ProviderRefused), ("catalog-1", ProviderRefused)],
)
async def test_the_dialects_error_map_holds_where_an_interface_has_none(
    code: str, error: type[ProviderError], key_file: Path
) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response({"code": code, "message": "", "data": None})

    async with http_server(handle) as base_url, providers(config(key_file.parent)) as asking:
        with pytest.raises(error) as caught:
            await asking.ask(asking_about("gjzwfwpt"), at(base_url, "gjzwfwpt"), 5)
    assert caught.value.upstream_code == code


# --- as a process -------------------------------------------------------------------------------------------------------


async def test_a_provider_of_any_dialect_can_be_started_to_try_a_catalogue_on(key_file: Path) -> None:
    program = (
        "import sys, broker.demo.signed_server as server; "
        "assert not [name for name in sys.modules if name.startswith('broker.upstream')]; server.main()"
    )
    options = ["--dialect", "shandong", "--requester", "R1", "--app-key-file", str(key_file)]
    with subprocess.Popen([sys.executable, "-c", program, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        try:
            async with providers(config(key_file.parent)) as asking:
                record = await asking.ask(asking_about("shandong"), at(base_url, "shandong"), 5)
        finally:
            process.terminate()
    assert record.fields == {"resident_id": PERSON, "name": NAME}
    assert process.returncode == 0
