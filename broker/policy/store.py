"""The control plane: what was applied, kept in a database (SQLite by default, PostgreSQL by URL) through SQLAlchemy Core.

One row a value, one row a revision. A catalogue is applied in one transaction or not at all, and every applied change has a
new revision number, by which running cores notice it. Who writes keeps other writers out before it reads, and who reads sees
one moment. What must not go in here: reading catalogue files (directory.py), rules (validate.py), and any use from the event
loop (all calls block; callers use a thread).
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import (
    URL,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    create_engine,
    delete,
    func,
    insert,
    make_url,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from broker.config import Config
from broker.errors import ConfigurationError, DirectoryUnusable, SecretMissing
from broker.model.catalogue import Catalogue
from broker.policy.directory import KINDS, key_of

# The first statement of a transaction that reads, and of one that writes, by dialect. SQLite's driver would begin only at the
# first write. PostgreSQL's lock is an advisory one, because the first writer makes the tables and could not lock one of them.
_READ: Mapping[str, str] = {"sqlite": "BEGIN", "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"}
_WRITE: Mapping[str, str] = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SET LOCAL lock_timeout = '5s'; SELECT pg_advisory_xact_lock(hashtext('shared-data-broker'))",
}
_CONNECT: Mapping[str, dict[str, Any]] = {
    "sqlite": {"isolation_level": None},  # so that it begins nothing of itself; waits 5 s for a lock
    "postgresql": {"connect_timeout": 5},
}
_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql+psycopg")

metadata = MetaData()

entry = Table(
    "catalogue_entry",
    metadata,
    Column("kind", String(16), nullable=False),
    Column("key", String(128), nullable=False),
    Column("document", LargeBinary, nullable=False),  # msgpack of the value, names in order
    PrimaryKeyConstraint("kind", "key"),
)

revision = Table(
    "catalogue_revision",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=True),
    Column("applied_at", DateTime(timezone=True), nullable=False),
    Column("added", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("removed", Integer, nullable=False),
)


class Difference(msgspec.Struct, frozen=True):
    """What applying would do: keys by kind, e.g. {"grants": ("tax-hall.1",)}."""

    added: dict[str, tuple[str, ...]]
    changed: dict[str, tuple[str, ...]]
    removed: dict[str, tuple[str, ...]]

    def count(self, part: str) -> int:
        """Number of values added, changed or removed."""
        return sum(len(keys) for keys in getattr(self, part).values())

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not any(self.count(part) for part in ("added", "changed", "removed"))


class ControlPlane:
    """One database of applied values."""

    def __init__(self, url: str, password_file: Path | None = None) -> None:
        """Open the database, creating or migrating its tables where needed.

        Raises:
            ConfigurationError: the URL is not one, or the database is of a newer version of this software.
            DirectoryUnusable: the SQLite file cannot be written, or no database answers.
            SecretMissing: the password file cannot be read.
        """
        self._engine = _engine(_url(url, password_file))
        try:
            _migrate(self._engine)
        except CommandError as error:
            raise ConfigurationError("control.url: the database was made by a newer version of this software") from error

    # Each of these raises DirectoryUnusable when the database does not answer or stays locked.

    def version(self) -> int:
        """Number of the newest revision; 0 before the first."""
        with _transaction(self._engine, _READ) as connection:
            return _version(connection)

    def read(self) -> tuple[int, Catalogue]:
        """Return the newest revision's number and the whole catalogue, both of the same moment.

        Raises:
            ConfigurationError: it was applied under the looser rules of an older version of this software.
        """
        with _transaction(self._engine, _READ) as connection:
            version, held = _version(connection), _documents(connection)
        try:
            return version, _decoded(held)
        except msgspec.ValidationError as error:
            raise ConfigurationError(
                "control.url: holds values that this version refuses; apply the catalogue again"
            ) from error

    def difference(self, catalogue: Catalogue) -> Difference:
        """Tell what applying a catalogue would change."""
        with _transaction(self._engine, _READ) as connection:
            return _difference(_documents(connection), _encoded(catalogue))

    def apply(self, catalogue: Catalogue) -> tuple[int, Difference]:
        """Make the control plane hold exactly this catalogue; returns the revision in force and what changed."""
        wanted = _encoded(catalogue)
        with _transaction(self._engine, _WRITE) as connection:
            difference = _difference(_documents(connection), wanted)
            if not difference.empty:
                _write(connection, wanted, difference)
            return _version(connection), difference

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def open_control(config: Config) -> ControlPlane:
    """Open the control plane that the settings name. Raises as `ControlPlane` does."""
    password_file = config.path(config.control.password_file) if config.control.password_file else None
    return ControlPlane(config.expand(config.control.url), password_file)


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
            command.upgrade(settings, "head")


def _version(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(revision.c.version), 0))).scalar_one())


Documents = dict[tuple[str, str], bytes]


def _documents(connection: Connection) -> Documents:
    rows = connection.execute(select(entry).order_by(entry.c.kind, entry.c.key))
    return {(kind, key): bytes(document) for kind, key, document in rows}


def _decoded(held: Documents) -> Catalogue:
    values: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for (kind, _), document in held.items():
        values[kind].append(msgspec.msgpack.decode(document, type=KINDS[kind]))
    return Catalogue(**{kind: tuple(found) for kind, found in values.items()})


def _encoded(catalogue: Catalogue) -> Documents:
    return {
        (kind, key_of(value)): msgspec.msgpack.encode(value, order="deterministic")
        for kind in KINDS
        for value in getattr(catalogue, kind)
    }


def _difference(held: Documents, wanted: Documents) -> Difference:
    return Difference(
        added=_by_kind(wanted.keys() - held.keys()),
        changed=_by_kind({at for at in wanted.keys() & held.keys() if wanted[at] != held[at]}),
        removed=_by_kind(held.keys() - wanted.keys()),
    )


def _by_kind(places: set[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    return {kind: keys for kind in KINDS if (keys := tuple(sorted(key for k, key in places if k == kind)))}


def _write(connection: Connection, wanted: Documents, difference: Difference) -> None:
    for kind, key in _places(difference.removed, difference.changed):
        connection.execute(delete(entry).where(entry.c.kind == kind, entry.c.key == key))
    rows = [
        {"kind": kind, "key": key, "document": wanted[kind, key]} for kind, key in _places(difference.added, difference.changed)
    ]
    if rows:
        connection.execute(insert(entry), rows)
    counts = {part: difference.count(part) for part in ("added", "changed", "removed")}
    connection.execute(insert(revision).values(applied_at=dt.datetime.now(dt.UTC), **counts))


def _places(*parts: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(kind, key) for part in parts for kind, keys in part.items() for key in keys]
