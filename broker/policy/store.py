"""What is in force, kept in the control plane's database: one row a value, one row a revision.

A catalogue is applied in one transaction or not at all, and every applied change has a new revision number, by which running
cores notice it and read only what has changed since theirs. What must not go in here: reading catalogue files (directory.py),
rules (validate.py), and any use from the event loop (all calls block; callers use a thread).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select

from broker.config import Config
from broker.errors import ConfigurationError
from broker.model.catalogue import Catalogue
from broker.policy.database import Database, open_database
from broker.policy.directory import KINDS, key_of
from broker.policy.tables import entry, removal, revision

DIRECTORY, WORKFLOW = "directory", "workflow"  # where a value that is in force comes from
Place = tuple[str, str]  # kind and key
Documents = dict[Place, bytes]


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


class Changes(msgspec.Struct, frozen=True):
    """What has come into force and gone out of it since some revision, as msgpack documents."""

    version: int
    written: Documents
    removed: tuple[Place, ...]


class ControlPlane:
    """The values in force, in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # Each of these raises DirectoryUnusable when the database does not answer or stays locked.

    def version(self) -> int:
        """Number of the newest revision; 0 before the first."""
        with self.database.reading() as connection:
            return _version(connection)

    def read(self) -> tuple[int, Catalogue]:
        """Return the newest revision's number and all that is in force, both of the same moment.

        Raises:
            ConfigurationError: it was applied under the looser rules of an older version of this software.
        """
        with self.database.reading() as connection:
            version, held = _version(connection), _documents(connection)
        return version, decode(held)

    def changes(self, since: int) -> Changes:
        """Return what the revisions after `since` changed; with 0, everything that is in force."""
        with self.database.reading() as connection:
            version = _version(connection)
            written = select(entry.c.kind, entry.c.key, entry.c.document)
            removed = select(removal.c.kind, removal.c.key).where(removal.c.version > since)
            if since:
                written = written.where(entry.c.version > since)
            rows = {(kind, key): bytes(document) for kind, key, document in connection.execute(written)}
            gone = tuple((kind, key) for kind, key in connection.execute(removed)) if since else ()
        return Changes(version, rows, gone)

    def difference(self, catalogue: Catalogue) -> Difference:
        """Tell what applying a catalogue would change."""
        with self.database.reading() as connection:
            return _difference(_documents(connection, DIRECTORY), encode(catalogue))

    def apply(self, catalogue: Catalogue) -> tuple[int, Difference]:
        """Make what comes from the directory exactly this catalogue; returns the revision in force and what changed."""
        wanted = encode(catalogue)
        with self.database.writing() as connection:
            difference = _difference(_documents(connection, DIRECTORY), wanted)
            if not difference.empty:
                _write(connection, wanted, difference)
            return _version(connection), difference

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()


def open_control(config: Config) -> ControlPlane:
    """Open the control plane that the settings name. Raises as `Database` does."""
    return ControlPlane(open_database(config))


def decode(held: Documents) -> Catalogue:
    """Turn documents into values.

    Raises:
        ConfigurationError: they were written under the looser rules of an older version of this software.
    """
    values: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    try:
        for (kind, _), document in sorted(held.items()):
            values[kind].append(msgspec.msgpack.decode(document, type=KINDS[kind]))
    except msgspec.ValidationError as error:
        raise ConfigurationError("control.url: holds values that this version refuses; apply the catalogue again") from error
    return Catalogue(**{kind: tuple(found) for kind, found in values.items()})


def encode(catalogue: Catalogue) -> Documents:
    """Turn values into documents."""
    return {(kind, key_of(value)): encode_value(value) for kind in KINDS for value in getattr(catalogue, kind)}


def encode_value(value: Any) -> bytes:
    """Turn one value into its document; equal values make equal documents."""
    return msgspec.msgpack.encode(value, order="deterministic")


def new_revision(connection: Connection, *, added: int = 0, changed: int = 0, removed: int = 0) -> int:
    """Begin the next revision; what is put in force or taken out in this transaction belongs to it."""
    row = {"applied_at": dt.datetime.now(dt.UTC), "added": added, "changed": changed, "removed": removed}
    made = connection.execute(insert(revision).values(**row)).inserted_primary_key
    return int(made[0]) if made else 0


def put_in_force(connection: Connection, version: int, origin: str, documents: Documents) -> None:
    """Write values of a revision, in place of what stood there."""
    _delete(connection, entry, documents)
    _delete(connection, removal, documents)
    rows = [
        {"kind": kind, "key": key, "document": document, "origin": origin, "version": version}
        for (kind, key), document in documents.items()
    ]
    if rows:
        connection.execute(insert(entry), rows)


def take_out_of_force(connection: Connection, version: int, places: Iterable[Place]) -> None:
    """Remove values as of a revision, and remember that they have gone."""
    gone = list(places)
    _delete(connection, entry, gone)
    _delete(connection, removal, gone)
    if gone:
        connection.execute(insert(removal), [{"kind": kind, "key": key, "version": version} for kind, key in gone])


def _delete(connection: Connection, table: Any, places: Iterable[Place]) -> None:
    rows = [{"of_kind": kind, "of_key": key} for kind, key in places]
    if rows:
        connection.execute(delete(table).where(table.c.kind == bindparam("of_kind"), table.c.key == bindparam("of_key")), rows)


def _version(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(revision.c.version), 0))).scalar_one())


def _documents(connection: Connection, origin: str | None = None) -> Documents:
    rows = select(entry.c.kind, entry.c.key, entry.c.document)
    if origin is not None:
        rows = rows.where(entry.c.origin == origin)
    return {(kind, key): bytes(document) for kind, key, document in connection.execute(rows)}


def _difference(held: Documents, wanted: Documents) -> Difference:
    return Difference(
        added=_by_kind(wanted.keys() - held.keys()),
        changed=_by_kind({at for at in wanted.keys() & held.keys() if wanted[at] != held[at]}),
        removed=_by_kind(held.keys() - wanted.keys()),
    )


def _by_kind(places: set[Place]) -> dict[str, tuple[str, ...]]:
    return {kind: keys for kind in KINDS if (keys := tuple(sorted(key for k, key in places if k == kind)))}


def _write(connection: Connection, wanted: Documents, difference: Difference) -> None:
    counts = {part: difference.count(part) for part in ("added", "changed", "removed")}
    version = new_revision(connection, **counts)
    take_out_of_force(connection, version, _places(difference.removed))
    put_in_force(connection, version, DIRECTORY, {at: wanted[at] for at in _places(difference.added, difference.changed)})


def _places(*parts: dict[str, tuple[str, ...]]) -> list[Place]:
    return [(kind, key) for part in parts for kind, keys in part.items() for key in keys]
