"""SQL providers: a SQLite file, and a PostgreSQL server where this machine has one."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ProviderError, ProviderNonsense, ProviderTimeout, ProviderUnavailable, SecretMissing
from broker.model.call import Record
from broker.model.catalogue import Argument, SemanticType, SqlEndpoint, SqlOperation
from broker.upstream.providers import Providers
from broker.upstream.query import check_query, check_url
from tests.postgres import Postgres, PostgresMissing, running_postgres
from tests.upstream_kit import (
    GOOD,
    NAME,
    OTHER_PERSON,
    PERSON,
    config,
    everything_said,
    interface,
    provider,
    providers,
    question,
    raw_server,
)

TABLE = "CREATE TABLE person (sfzh text, xm text, born date, capital numeric(20, 2))"
ROWS = (
    f"INSERT INTO person VALUES ('{PERSON}', '{NAME}', '1949-12-31', 12.50),"
    f" ('{OTHER_PERSON}', 'one', NULL, NULL), ('{OTHER_PERSON}', 'two', NULL, NULL)"
)
QUERY = "SELECT sfzh, xm, born, capital FROM person WHERE sfzh = :resident_id AND xm = COALESCE(CAST(:name AS text), xm)"
FIELDS = {"resident_id": "sfzh", "name": "xm"}
SCHEMA = {
    "resident_id": {"type": "resident_id"},
    "name": {"type": "person_name"},
    "born": {"type": "date", "required": False},
    "capital": {"type": "number", "required": False},
}
FULL = GOOD | {"born": "1949-12-31", "capital": 12.5}
COUNT_FOR_EVER = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c, :resident_id AS r FROM n"
)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    file = tmp_path / "100% 城市.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(f"{TABLE}; {ROWS};")
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    import psycopg

    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except PostgresMissing as missing:
            pytest.skip(f"PostgreSQL is not tested here: {missing}")
        with psycopg.connect(server.url("postgresql")) as connection:
            connection.execute(TABLE)
            connection.execute(ROWS)
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Every test that takes it runs against both databases."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    server: Postgres = request.getfixturevalue("postgres")
    return server.url()


async def ask(asking: Providers, url: str, query: str = QUERY, timeout_s: float = 5, **settings: Any) -> Record:
    arguments = settings.pop("arguments", {"resident_id": PERSON})
    asked = question(interface(SqlOperation(query=query, fields=FIELDS), SCHEMA), **arguments)
    return await asking.ask(asked, provider(SqlEndpoint(url=url, **settings)), timeout_s)


async def failure(asking: Providers, *arguments: Any, **settings: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(asking, *arguments, **settings)
    said = everything_said(caught.value)
    assert [value for value in (PERSON, NAME, OTHER_PERSON) if value in said] == []
    return caught.value


# --- both databases -----------------------------------------------------------------------------------------------------


async def test_one_row_is_the_record(url: str) -> None:
    async with providers() as asking:
        assert (await ask(asking, url)).fields == FULL
        assert (await ask(asking, url, arguments={"resident_id": PERSON, "name": NAME})).fields == FULL


async def test_no_row_is_no_record(url: str) -> None:
    async with providers() as asking:
        assert (await ask(asking, url, arguments={"resident_id": PERSON, "name": "nobody"})).fields is None


async def test_two_rows_are_nonsense(url: str) -> None:
    async with providers() as asking:
        error = await failure(asking, url, arguments={"resident_id": OTHER_PERSON})
    assert isinstance(error, ProviderNonsense)
    assert error.defect == "more than one record"


async def test_another_persons_row_is_refused(url: str) -> None:
    query = f"SELECT '{OTHER_PERSON}' AS sfzh, xm FROM person WHERE sfzh = :resident_id"
    async with providers() as asking:
        error = await failure(asking, url, query)
    assert isinstance(error, ProviderNonsense)
    assert error.defect == "the answer is about another subject"


@pytest.mark.parametrize("hostile", ["' OR '1'='1", "x'; DROP TABLE person; --", "%", ":name", "\\"])
async def test_an_argument_is_a_value_and_never_sql(url: str, hostile: str) -> None:
    async with providers() as asking:
        assert (await ask(asking, url, arguments={"resident_id": hostile})).fields is None
        assert (await ask(asking, url)).fields == FULL


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO person (sfzh, xm) VALUES (:resident_id, 'x')",
        "DELETE FROM person WHERE sfzh = :resident_id",
        "DROP TABLE person",
        "CREATE TABLE other (a text)",
    ],
)
async def test_the_session_cannot_write(url: str, query: str) -> None:
    async with providers() as asking:
        assert isinstance(await failure(asking, url, query), ProviderNonsense | ProviderUnavailable)
        assert (await ask(asking, url)).fields == FULL


async def test_a_query_that_fails_is_nonsense(url: str) -> None:
    async with providers() as asking:
        assert type(await failure(asking, url, "SELECT missing FROM person WHERE sfzh = :resident_id")) is ProviderNonsense
        assert type(await failure(asking, url, "SELECT sfzh AS xm FROM person WHERE sfzh = :resident_id")) is ProviderNonsense


async def test_a_query_that_takes_too_long_ends_in_time_and_frees_its_connection(url: str) -> None:
    async with providers() as asking:
        for _ in range(3):
            began = time.monotonic()
            assert type(await failure(asking, url, COUNT_FOR_EVER, 0.2, pool_size=1)) is ProviderTimeout
            assert time.monotonic() - began < 0.7
        assert (await ask(asking, url, pool_size=1)).fields == FULL


async def test_many_ask_at_once_over_few_connections(url: str) -> None:
    async with providers() as asking:
        records = await asyncio.gather(*(ask(asking, url, pool_size=2) for _ in range(100)))
    assert [record.fields for record in records] == [FULL] * 100


async def test_waiting_for_a_connection_counts_as_time(url: str) -> None:
    async with providers() as asking:
        slow = asyncio.create_task(failure(asking, url, COUNT_FOR_EVER, 0.5, pool_size=1))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert type(await failure(asking, url, timeout_s=0.1, pool_size=1)) is ProviderTimeout
        assert time.monotonic() - began < 0.4
        await slow


# --- one database -------------------------------------------------------------------------------------------------------


async def test_a_sqlite_file_that_is_not_there_is_unavailable_and_not_made(tmp_path: Path) -> None:
    async with providers() as asking:
        assert type(await failure(asking, f"sqlite+aiosqlite:///{tmp_path}/none.db")) is ProviderUnavailable
    assert list(tmp_path.iterdir()) == []


async def test_a_locked_sqlite_file_is_unavailable_after_the_connect_timeout(sqlite_url: str) -> None:
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite+aiosqlite:///"))) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        async with providers(config(connect_timeout_ms=100)) as asking:
            assert type(await failure(asking, sqlite_url)) is ProviderUnavailable


async def test_a_postgresql_that_restarts_is_found_again(postgres: Postgres) -> None:
    async with providers() as asking:
        await ask(asking, postgres.url())
        postgres.stop()
        assert type(await failure(asking, postgres.url())) is ProviderUnavailable
        postgres.start()
        assert (await ask(asking, postgres.url())).fields == FULL


async def test_connections_that_a_restart_ended_are_noticed_before_a_question_is_lost(postgres: Postgres) -> None:
    async with providers() as asking:
        await asyncio.gather(*(ask(asking, postgres.url()) for _ in range(5)))
        postgres.stop()
        postgres.start()
        records = await asyncio.gather(*(ask(asking, postgres.url()) for _ in range(5)))
    assert [record.fields for record in records] == [FULL] * 5


async def test_a_postgresql_that_accepts_and_hangs_costs_no_more_than_the_time_given() -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with raw_server(hang) as address, providers() as asking:
        began = time.monotonic()
        assert type(await failure(asking, f"postgresql+psycopg://broker@{address}/city", timeout_s=0.2)) is ProviderTimeout
        assert time.monotonic() - began < 1


async def test_a_postgresql_that_goes_dark_in_a_query_costs_no_more_than_the_time_given(postgres: Postgres) -> None:
    dark = asyncio.Event()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection("127.0.0.1", postgres.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                if dark.is_set():
                    await asyncio.sleep(60)
                sink.write(data)

        await asyncio.gather(pump(reader, down), pump(up, writer))

    async with raw_server(proxy) as address, providers() as asking:
        url = f"postgresql+psycopg://postgres@{address}/postgres"
        await ask(asking, url)
        dark.set()
        began = time.monotonic()
        assert type(await failure(asking, url, timeout_s=0.2)) is ProviderTimeout
        assert time.monotonic() - began < 1


async def test_a_password_comes_from_its_file_and_is_never_shown(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("TOP-SECRET\n")
    with_password = {"password_file": "password", "url": postgres.url()}
    async with providers(config(tmp_path)) as asking:
        assert (await ask(asking, **with_password)).fields == FULL
        postgres.stop()
        error = await failure(asking, **with_password)
        postgres.start()
        assert "TOP-SECRET" not in everything_said(error) + repr(asking) + repr(vars(asking))


async def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    async with providers(config(tmp_path)) as asking:
        with pytest.raises(SecretMissing, match="`absent`"):
            await ask(asking, "postgresql+psycopg://broker@127.0.0.1/city", password_file="absent")


async def test_a_password_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes("密码".encode("gb18030"))
    async with providers(config(tmp_path)) as asking:
        with pytest.raises(SecretMissing, match="`password`"):
            await ask(asking, "postgresql+psycopg://broker@127.0.0.1/city", password_file="password")


# --- validation ---------------------------------------------------------------------------------------------------------

ARGUMENTS = {
    "resident_id": Argument(type=SemanticType.RESIDENT_ID),
    "district": Argument(type=SemanticType.TEXT, required=False),
}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT name FROM person WHERE resident_id = :resident_id",
        "\n  with p AS (SELECT 1) select born::text FROM person WHERE id = :resident_id AND d = coalesce(:district, d)",
        "SELECT 'we insert, update and -- delete' FROM \"update\" WHERE id = :resident_id",
    ],
)
def test_a_good_query_has_no_problems(query: str) -> None:
    assert check_query(query, ARGUMENTS) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("", "must be one SELECT or WITH"),
        ("UPDATE person SET a = :resident_id", "must be one SELECT or WITH"),
        ("SELECTED :resident_id", "must be one SELECT or WITH"),
        ("SELECT :resident_id; DROP TABLE person", "must not contain `;`"),
        ("SELECT ';' || :resident_id", "must not contain `;`"),
        ("WITH gone AS (DELETE FROM person RETURNING *) SELECT * FROM gone WHERE id = :resident_id", "must only read"),
        ("SELECT a INTO b FROM c WHERE d = :resident_id", "must only read"),
        ("SELECT a FROM b WHERE c = :resident_id FOR UPDATE", "must only read"),
        ("SELECT a -- it's\n FROM b WHERE c = :resident_id", "must not contain comments"),
        ("SELECT a FROM b", "does not use the required argument `resident_id`"),
        ("SELECT a FROM b WHERE c = ':resident_id_'", "binds `resident_id_`, which is no argument"),
        ("SELECT a FROM b WHERE c = :resident_id AND t > 'at :30'", "binds `30`, which is no argument"),
    ],
)
def test_a_bad_query_says_what_is_wrong(query: str, problem: str) -> None:
    assert f"query: {problem}" in check_query(query, ARGUMENTS)


@pytest.mark.parametrize("name", ["sqlite+aiosqlite:///var/city.db", "postgresql+psycopg://broker@db:5432/city"])
def test_a_good_url_has_no_problems(name: str) -> None:
    assert check_url(name) == []


@pytest.mark.parametrize(
    "name",
    [
        "mysql://broker@db/city",
        "sqlite:///city.db",
        "",
        "postgresql+psycopg://broker:TOP@db/city",
        "postgresql+psycopg://db/city?password=TOP",
        "postgresql+psycopg://db/city?sslPassword=TOP",
        "postgresql+psycopg://db/city?%70assword=TOP",
        "postgresql+psycopg://broker:T/OP@db/city",
        "postgresql+psycopg://broker@db:port/city",
        "postgresql+psycopg://broker@db:0/city",
        "postgresql+psycopg://broker@db:65536/city",
        "postgresql+psycopg://broker@db",
        "sqlite+aiosqlite://",
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(name: str) -> None:
    problems = check_url(name)
    assert len(problems) == 1
    assert "TOP" not in problems[0]
