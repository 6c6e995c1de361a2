"""The control plane's database: SQLite by default, PostgreSQL by URL, through SQLAlchemy Core, its tables kept by Alembic.

Who writes keeps other writers out before it reads, and who reads sees one moment. What must not go in here: what the tables
hold (tables.py) and what is done with them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from broker.config import Config
from broker.errors import ConfigurationError, DirectoryUnusable, SecretMissing

# The first statement of a transaction that reads, and of one that writes, by dialect. SQLite's driver would begin only at the
# first write. PostgreSQL's lock is an advisory one, because the first writer makes the tables and could not lock one of them.
_READ: Mapping[str, str] = {"sqlite": "BEGIN", "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"}
_WRITE: Mapping[str, str] = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SET LOCAL lock_timeout = '5s'; SELECT pg_advisory_xact_lock(hashtext('shared-data-broker'))",
}
# The same without keeping others out, for who locks the rows that it changes; SQLite has one writer at a time anyway.
_UPDATE: Mapping[str, str] = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SET LOCAL lock_timeout = '5s'"}
_CONNECT: Mapping[str, dict[str, Any]] = {
    "sqlite": {"isolation_level": None},  # so that it begins nothing of itself; waits 5 s for a lock
    "postgresql": {  # a server that has gone silent is noticed within seconds, not within TCP's quarter of an hour
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "options": "-c statement_timeout=60000",
    },
}
_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql+psycopg")


class Database:
    """One database with up-to-date tables. All calls block; callers on an event loop use a thread."""

    def __init__(self, url: str, password_file: Path | None = None, *, at_once: bool = True) -> None:
        """Open the database, creating or migrating its tables where needed: now, or else before the first transaction.

        Raises:
            ConfigurationError: the URL is not one, or the database is of a newer version of this software.
            DirectoryUnusable: the SQLite file cannot be written, or no database answers.
            SecretMissing: the password file cannot be read.
        """
        self._engine = _engine(_url(url, password_file))
        self._migrated = False
        self._migrating = threading.Lock()
        if at_once:
            self._ready()

    # Each raises DirectoryUnusable when the database does not answer or stays locked.

    def reading(self) -> contextlib.AbstractContextManager[Connection]:
        """Begin a transaction that sees one moment."""
        return _transaction(self._ready(), _READ)

    def writing(self) -> contextlib.AbstractContextManager[Connection]:
        """Begin a transaction that no other writer can come between; committed at the end of the context."""
        return _transaction(self._ready(), _WRITE)

    def updating(self) -> contextlib.AbstractContextManager[Connection]:
        """Begin a transaction that changes single rows, which it locks itself; committed at the end of the context."""
        return _transaction(self._ready(), _UPDATE)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _ready(self) -> Engine:
        with self._migrating:
            if not self._migrated:
                _migrate(self._engine)
                self._migrated = True
        return self._engine


def open_database(config: Config, *, at_once: bool = True) -> Database:
    """Open the database that the settings name. Raises as `Database` does."""
    password_file = config.path(config.control.password_file) if config.control.password_file else None
    return Database(config.expand(config.control.url), password_file, at_once=at_once)


def _url(text: str, password_file: Path | None) -> URL:
    try:
        url = make_url(text)
    except (SQLAlchemyError, ValueError) as error:  # ValueError: its port is not a number
        raise ConfigurationError("control.url: is not a database URL") from error
    if url.drivername not in _DRIVERS:
        raise ConfigurationError("control.url: must start with sqlite or postgresql+psycopg")
    return url.set(password=_password(password_file)) if password_file else url


def _password(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SecretMissing(f"control.password_file: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise SecretMissing("control.password_file: is not UTF-8 text") from None  # the cause would repeat the password
    if not password:
        raise SecretMissing("control.password_file: is empty")
    return password


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite" and url.database:
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DirectoryUnusable(f"{Path(url.database).parent}: cannot be made ({error.strerror})") from error
    arguments = {name: value for name, value in _CONNECT[url.get_backend_name()].items() if name not in url.query}
    return create_engine(url, pool_pre_ping=True, connect_args=arguments)


@contextlib.contextmanager
def _transaction(engine: Engine, begin: Mapping[str, str]) -> Iterator[Connection]:
    """Begin as the table says, commit at the end, and turn SQLAlchemy's exceptions into one line."""
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(begin[engine.dialect.name])
            yield connection
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise DirectoryUnusable(f"control.url: the database cannot be used ({type(cause).__name__})") from error


def _migrate(engine: Engine) -> None:
    """Upgrade the tables if they are not of this version; who only reads them needs no lock for that."""
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    head = ScriptDirectory.from_config(settings).get_current_head()
    with _transaction(engine, _READ) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current != head:
        with _transaction(engine, _WRITE) as connection:
            settings.attributes["connection"] = connection
            _upgrade(settings)


def _upgrade(settings: AlembicConfig) -> None:
    try:
        command.upgrade(settings, "head")
    except CommandError as error:
        raise ConfigurationError("control.url: the database was made by a newer version of this software") from error
