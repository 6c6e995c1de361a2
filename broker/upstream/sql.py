"""Providers whose database is read directly: one parameterised SELECT a question, in a session that cannot write.

SQLAlchemy's exceptions end in this file. What must not go in here: SQL put together from text, judging a query (`query.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from broker.config import Config
from broker.errors import ProviderError, ProviderNonsense, ProviderTimeout, ProviderUnavailable
from broker.model.call import Question
from broker.model.catalogue import Envelope, Provider, SqlEndpoint, SqlOperation
from broker.upstream.envelope import open_envelope, paths
from broker.upstream.secret import read_secret

_CLOSE_S = 1.0  # given to queries that were let go, when the connector is closed
_LONGEST_MS = 60_000  # no interface may take longer, so no statement may either
_SQLITE_STEPS = 10_000  # of its virtual machine between two looks at the clock
_DEADLINE = "broker_deadline"  # where a SQLite connection keeps the end of its statement, in `time.monotonic` seconds
_QUERY_CANCELED = "57014"
_SQLITE_ERROR, _SQLITE_INTERRUPT = 1, 9


class SqlConnector:
    """Asks one database. Made inside the running loop."""

    def __init__(self, provider: Provider, endpoint: SqlEndpoint, config: Config, wall_ms: Callable[[], int]) -> None:
        self._provider = provider.id
        self._running: set[asyncio.Task[list[dict[str, Any]]]] = set()
        with _foreign_errors(provider.id):
            self._engine = _open_engine(endpoint, config)

    async def ask(self, question: Question, timeout_s: float) -> dict[str, Any] | None:
        """Return the record under our names, or None for "no record". Raises `ProviderError`."""
        operation = question.interface.operation
        assert isinstance(operation, SqlOperation)  # noqa: S101 - the catalogue's validation pairs them
        given = dict(question.arguments)
        bound = {name: given.get(name) for name in question.interface.arguments}
        with _foreign_errors(self._provider):
            rows = await self._within(timeout_s, self._rows(operation.query, bound, time.monotonic() + timeout_s))
        return open_envelope(Envelope(), paths(question), rows, self._provider)

    async def close(self) -> None:
        """Close all connections."""
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_S)
        await self._engine.dispose()

    async def _within(self, timeout_s: float, work: Coroutine[Any, Any, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Wait for the rows, then let go: psycopg takes ten seconds to give up a dark database, and no caller waits."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(task)
        finally:
            task.cancel()

    async def _rows(self, query: str, bound: Mapping[str, str | None], deadline_s: float) -> list[dict[str, Any]]:
        """Return at most two rows: the second is there to be complained of."""

        async with self._engine.connect() as connection:
            await _set_deadline(connection, deadline_s)
            result = await connection.execute(text(query), bound)
            return [{name: _plain(value) for name, value in row.items()} for row in result.mappings().fetchmany(2)]


def _plain(value: Any) -> Any:
    """Return a database's value as JSON would carry it. Dates have `isoformat`, decimals are read as text later."""
    if value is None or isinstance(value, str | int | float):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _open_engine(endpoint: SqlEndpoint, config: Config) -> AsyncEngine:
    url = make_url(endpoint.url)
    if endpoint.password_file:
        password = read_secret(config.path(config.upstream.secrets_dir), endpoint.password_file)
        url = url.set(password=password.decode())
    return _ENGINES[url.drivername](url, endpoint.pool_size, config.upstream.connect_timeout_ms / 1000)


def _open_postgresql(url: URL, pool_size: int, connect_timeout_s: float) -> AsyncEngine:
    """Each statement is a transaction of its own, which the server refuses to let write and ends after the longest time."""
    session = f"-c default_transaction_read_only=on -c statement_timeout={_LONGEST_MS}"
    return _engine(
        url,
        pool_size,
        connect_args={"options": session, "connect_timeout": math.ceil(connect_timeout_s)},
        isolation_level="AUTOCOMMIT",
        pool_pre_ping=True,
    )


def _open_sqlite(url: URL, pool_size: int, connect_timeout_s: float) -> AsyncEngine:
    """Neither write nor make a missing file (``mode=ro``); end a statement by the clock, for its thread cannot be cancelled."""
    file = f"file:{urllib.parse.quote(url.database or '')}"
    engine = _engine(
        url.set(database=file, query={"mode": "ro", "uri": "true"}),
        pool_size,
        connect_args={"timeout": connect_timeout_s},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def watch(connection: Any, record: Any) -> None:
        info: dict[str, float] = record.info

        def too_late() -> bool:
            return time.monotonic() > info.get(_DEADLINE, math.inf)

        connection.run_async(lambda raw: raw.set_progress_handler(too_late, _SQLITE_STEPS))

    return engine


_ENGINES: Mapping[str, Callable[[URL, int, float], AsyncEngine]] = {
    "postgresql+psycopg": _open_postgresql,
    "sqlite+aiosqlite": _open_sqlite,
}


def _engine(url: URL, pool_size: int, **settings: Any) -> AsyncEngine:
    return create_async_engine(url, pool_size=pool_size, max_overflow=0, hide_parameters=True, **settings)


async def _set_deadline(connection: AsyncConnection, deadline_s: float) -> None:
    raw = await connection.get_raw_connection()
    raw.info[_DEADLINE] = deadline_s


@contextlib.contextmanager
def _foreign_errors(provider: str) -> Iterator[None]:
    """Turn SQLAlchemy's exceptions into ours. A database's texts repeat values: the chain is cut."""
    try:
        yield
    except TimeoutError:
        raise ProviderTimeout(provider) from None
    except SQLAlchemyError as error:
        raise _mapped(error, provider) from None
    except OSError:
        raise ProviderUnavailable(provider) from None


def _mapped(error: Exception, provider: str) -> ProviderError:
    cause = getattr(error, "orig", None)
    sqlite_code, sqlstate = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
    if sqlite_code == _SQLITE_INTERRUPT or sqlstate == _QUERY_CANCELED:
        return ProviderTimeout(provider)
    if isinstance(error, OperationalError | InterfaceError) and sqlite_code != _SQLITE_ERROR:
        return ProviderUnavailable(provider)
    return ProviderNonsense(provider, "the query failed")
