"""The control plane: what was applied, kept in a database (SQLite by default, PostgreSQL by URL) through SQLAlchemy Core.

One row a value, one row a revision. A catalogue is applied in one transaction or not at all, and every applied change has a
new revision number, by which running cores notice it. What must not go in here: reading files (directory.py), rules
(validate.py), and any use from the event loop (all calls block; callers use a thread).
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import (
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

from broker.errors import ConfigurationError, DirectoryUnusable
from broker.model.catalogue import Catalogue
from broker.policy.directory import KINDS, key_of

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

    def __init__(self, url: str) -> None:
        """Open the database, creating or migrating its tables where needed.

        Raises:
            ConfigurationError: the URL is not one, or the database is of a newer version of this software.
            DirectoryUnusable: the SQLite file cannot be written.
        """
        self._engine = _engine(url)
        try:
            _migrate(self._engine)
        except CommandError as error:
            raise ConfigurationError("control.url: the database was made by a newer version of this software") from error
        except SQLAlchemyError as error:
            raise DirectoryUnusable(f"control.url: the database cannot be used ({type(error).__name__})") from error

    def version(self) -> int:
        """Number of the newest revision; 0 before the first."""
        with self._engine.connect() as connection:
            return _version(connection)

    def read(self) -> tuple[int, Catalogue]:
        """Return the newest revision's number and the whole catalogue, both of the same moment."""
        with self._engine.connect() as connection, connection.begin():
            version = _version(connection)
            rows = connection.execute(select(entry.c.kind, entry.c.document).order_by(entry.c.kind, entry.c.key)).all()
        values: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        for kind, document in rows:
            values[kind].append(msgspec.msgpack.decode(document, type=KINDS[kind]))
        return version, Catalogue(**{kind: tuple(found) for kind, found in values.items()})

    def difference(self, catalogue: Catalogue) -> Difference:
        """Tell what applying a catalogue would change."""
        with self._engine.connect() as connection:
            return _difference(_documents(connection), _encoded(catalogue))

    def apply(self, catalogue: Catalogue) -> tuple[int, Difference]:
        """Make the control plane hold exactly this catalogue; returns the revision in force and what changed."""
        with self._engine.begin() as connection:
            wanted = _encoded(catalogue)
            difference = _difference(_documents(connection), wanted)
            if not difference.empty:
                _write(connection, wanted, difference)
            return _version(connection), difference

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except SQLAlchemyError as error:
        raise ConfigurationError("control.url: is not a database URL") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        try:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DirectoryUnusable(f"{Path(parsed.database).parent}: cannot be made ({error.strerror})") from error
    return create_engine(parsed, pool_pre_ping=True)


def _migrate(engine: Engine) -> None:
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        head = ScriptDirectory.from_config(settings).get_current_head()
        if MigrationContext.configure(connection).get_current_revision() != head:
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")


def _version(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(revision.c.version), 0))).scalar_one())


Documents = dict[tuple[str, str], bytes]


def _documents(connection: Connection) -> Documents:
    return {(kind, key): bytes(document) for kind, key, document in connection.execute(select(entry))}


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
