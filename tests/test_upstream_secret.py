"""Secrets: from files, opened, fetched once, renewed before they end, replaced when they were rotated."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ProviderNonsense, ProviderRefused, ProviderUnavailable, SecretMissing
from broker.upstream.dialect import DIALECTS, Given, SecretStep
from broker.upstream.secret import (
    OPENINGS,
    FetchedSecret,
    FileSecret,
    Opened,
    Secret,
    open_secret,
    read_app_key,
    read_secret,
    read_token,
)
from tests.oracle.dialect import locked
from tests.upstream_kit import everything_said

(STEP,) = DIALECTS["gjgxjhpt"].steps
APP_KEY = b"0123456789abcdef-longer"


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


async def test_a_refused_file_secret_that_is_still_in_the_file_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"old")
    source = FileSecret(lambda: read_secret(tmp_path, "key"))
    old = await source.current()
    source.refused(old)
    assert await source.current() is old
    (tmp_path / "key").unlink()
    assert await source.current() is old
    source.refused(old)
    with pytest.raises(SecretMissing):
        await source.current()


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
    answer = {"code": "0", "data": {"secret": locked(secret, APP_KEY), "secretEndTime": ends}}
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
        {"secret": locked(b"s", APP_KEY), "secretEndTime": "soon"},
        {"secret": locked(b"s", APP_KEY), "secretEndTime": None},
        {"secret": locked(b"s", APP_KEY)},
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


# Locked once with openssl: `enc -aes-128-ecb` under the key's first 16 bytes; `enc -aes-128-cbc` under what a Java virtual
# machine's SHA1PRNG gives first after setSeed(key), 760efe4a060a0ffd0c3edb8718b319ff, with the vector "AESCBCPKCS5Paddi".
@pytest.mark.parametrize(
    ("opening", "text", "secret"),
    [
        ("plain", "the-secret", b"the-secret"),
        ("aes-128-ecb", "qTsJsSOhf0CqK3FQmQtsLw==", b"the-secret"),
        ("aes-128-cbc-sha1prng", "eMg6l22xYQVmavk3KAXjdA==", b"the-token"),
    ],
)
def test_what_was_locked_by_others_opens(opening: str, text: str, secret: bytes) -> None:
    assert OPENINGS[opening](text, APP_KEY) == secret


def test_every_step_to_a_secret_has_an_opening() -> None:
    assert {step.opening for dialect in DIALECTS.values() for step in dialect.steps} <= OPENINGS.keys()


def test_a_pair_opens_and_a_secret_without_an_end_holds_for_good() -> None:
    pair = {"refreshSecret": "r", "refreshSecretEndTime": 9, "requestSecret": "q", "requestSecretEndTime": "7"}
    opened = open_secret(DIALECTS["zhejiang"].steps[1], {"code": "00", "datas": pair}, b"r0", 5, "exchange")
    assert opened == Opened(Secret(b"q", 5, 7), Secret(b"r", 5, 9))
    endless = open_secret(SecretStep("secret_path", Given("t")), {"t": "token"}, b"", 5, "exchange")
    assert endless.secret.renew_ms > 2**62


@pytest.mark.parametrize("answer", [{}, {"t": None}, {"t": ""}, {"t": 5}, {"t": ["x"]}])
def test_a_plain_token_is_a_text(answer: Any) -> None:
    with pytest.raises(ProviderNonsense):
        open_secret(SecretStep("secret_path", Given("t")), answer, b"", 5, "exchange")


@pytest.mark.parametrize("content", [b"two words", b"line\nline", "密".encode(), b"a\tb"])
def test_a_token_that_is_not_fit_for_a_header_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(SecretMissing, match="`token`") as caught:
        read_token(tmp_path, "token")
    assert content.decode() not in everything_said(caught.value)
    (tmp_path / "token").write_bytes(b"abc.def-_~+/=\n")
    assert read_token(tmp_path, "token") == b"abc.def-_~+/="


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
