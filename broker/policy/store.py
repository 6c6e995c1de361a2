"""What is in force, kept in the control plane's database: one row a value, one row a revision.

A catalogue is applied in one transaction or not at all, and every applied change has a new revision number, by which running
cores notice it and read only what has changed since theirs. What must not go in here: reading catalogue files (directory.py),
rules (validate.py), and any use from the event loop (all calls block; callers use a thread).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Integer, Table, and_, bindparam, delete, insert, select, update

from broker.config import Config
from broker.errors import ConfigurationError
from broker.model.catalogue import Catalogue
from broker.model.change import CHANGED, MOVED, PAUSED_CHANGED, REMOVED, Change, target_of
from broker.policy import bulk, changes, declared, lives
from broker.policy.database import Database, open_database
from broker.policy.directory import KINDS, key_of
from broker.policy.lives import DIRECTORY, By
from broker.policy.tables import entry, removal, revision

Place = tuple[str, str]  # kind and key
Documents = dict[Place, bytes]


class Difference(msgspec.Struct, frozen=True):
    """What applying would do: keys by kind, e.g. {"grants": ("tax-hall.1",)}."""

    added: dict[str, tuple[str, ...]]
    changed: dict[str, tuple[str, ...]]
    removed: dict[str, tuple[str, ...]]
    withheld: tuple[str, ...] = ()  # grants that are declared and stay out of force: paused, revoked or expired
    paused: tuple[str, ...] = ()  # paused grants that are declared otherwise, or no more, or again
    moved: tuple[str, ...] = ()  # grants that come under the provider that their interface has now
    ended: tuple[str, ...] = ()  # requested grants that are revoked, for the catalogue loses what they are about

    def count(self, part: str) -> int:
        """Number of values added, changed or removed."""
        return sum(len(keys) for keys in getattr(self, part).values())

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.concerns_force or self.paused or self.moved)

    @property
    def concerns_force(self) -> bool:
        """Whether what is in force changes."""
        return bool(self.ended) or any(self.count(part) for part in ("added", "changed", "removed"))


class Revision(NamedTuple):
    """One revision. A database that was restored may have another one of the same number, made at another time."""

    version: int
    made_at: str


NONE = Revision(0, "")


class Changes(msgspec.Struct, frozen=True):
    """What has come into force and gone out of it since some revision, as msgpack documents."""

    revision: Revision
    written: Documents
    removed: tuple[Place, ...] = ()
    whole: bool = True  # whether it is all that is in force


class ControlPlane:
    """The values in force, in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # Each of these raises DirectoryUnusable when the database does not answer or stays locked.

    def version(self) -> int:
        """Number of the newest revision; 0 before the first."""
        return self.newest().version

    def newest(self) -> Revision:
        """Return the newest revision; NONE before the first."""
        with self.database.reading() as connection:
            return _newest(connection)

    def read(self) -> tuple[int, Catalogue]:
        """Return the newest revision's number and all that is in force, both of the same moment.

        Raises:
            ConfigurationError: it was applied under the looser rules of an older version of this software.
        """
        with self.database.reading() as connection:
            version, held = _version(connection), _documents(connection)
        return version, decode(held)

    def changes(self, since: Revision = NONE) -> Changes:
        """Return what has changed after a revision; all that is in force if the database does not have that one."""
        with self.database.reading() as connection:
            newest = _newest(connection)
            if since == NONE or _newest(connection, since.version) != since:
                return Changes(newest, _documents(connection))
            written = select(entry.c.kind, entry.c.key, entry.c.document).where(entry.c.version > since.version)
            removed = select(removal.c.kind, removal.c.key).where(removal.c.version > since.version)
            rows = {(kind, key): bytes(document) for kind, key, document in connection.execute(written)}
            gone = tuple((kind, key) for kind, key in connection.execute(removed))
        return Changes(newest, rows, gone, whole=False)

    def told(self, since: int, most: int) -> list[Change]:
        """Return what was changed by whom, from a number on, in order, at most so many."""
        with self.database.reading() as connection:
            return changes.since(connection, since, most)

    def difference(self, catalogue: Catalogue) -> Difference:
        """Tell what applying a catalogue would change.

        Raises:
            CatalogueRefused: a declared grant has an id that stands for another one.
        """
        with self.database.reading() as connection:
            return _decide(connection, catalogue, encode(catalogue), _now())[0]

    def apply(self, catalogue: Catalogue, actor: str = "operator", method: str = "") -> tuple[int, Difference]:
        """Make what comes from the directory exactly this catalogue, less what is withheld; remember who did so, and how.

        Returns the revision in force and what changed.

        Raises:
            CatalogueRefused: a declared grant has an id that stands for another one.
        """
        wanted, by = encode(catalogue), By(actor, _now(), method)
        with self.database.writing() as connection:
            difference, plan = _decide(connection, catalogue, wanted, by.at)
            declared.write(connection, plan, by)
            if difference.concerns_force:
                _write(connection, wanted, difference, by)
            changes.note(connection, by, _of_grants(difference))
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
    row = {"applied_at": _now(), "added": added, "changed": changed, "removed": removed}
    made = connection.execute(insert(revision).values(**row)).inserted_primary_key
    return int(made[0]) if made else 0


def put_in_force(connection: Connection, version: int, origin: str, documents: Documents) -> None:
    """Write values of a revision, in place of what stood there."""
    _delete(connection, entry, documents)
    _delete(connection, removal, documents)
    _insert(connection, version, origin, documents)


def take_out_of_force(connection: Connection, version: int, places: Iterable[Place]) -> None:
    """Remove values as of a revision, and remember that they have gone."""
    gone = list(places)
    bulk.execute(connection, _REMEMBER, ({"of_kind": kind, "of_key": key, "now": version} for kind, key in gone))
    _delete(connection, entry, gone)


def _insert(connection: Connection, version: int, origin: str, documents: Documents) -> None:
    rows = (
        {"kind": kind, "key": key, "document": document, "origin": origin, "version": version}
        for (kind, key), document in documents.items()
    )
    bulk.execute(connection, insert(entry), rows)


def _change(connection: Connection, version: int, documents: Documents) -> None:
    rows = ({"of_kind": kind, "of_key": key, "to": document, "now": version} for (kind, key), document in documents.items())
    bulk.execute(connection, _CHANGE, rows)


def _delete(connection: Connection, table: Table, places: Iterable[Place]) -> None:
    there = and_(table.c.kind == bindparam("of_kind"), table.c.key == bindparam("of_key"))
    bulk.execute(connection, delete(table).where(there), ({"of_kind": kind, "of_key": key} for kind, key in places))


_THERE = and_(entry.c.kind == bindparam("of_kind"), entry.c.key == bindparam("of_key"))
_CHANGE = update(entry).where(_THERE).values(document=bindparam("to"), version=bindparam("now"))
_REMEMBER = insert(removal).from_select(
    ["kind", "key", "version"], select(entry.c.kind, entry.c.key, bindparam("now", type_=Integer)).where(_THERE)
)
# What is there has not gone any longer: asked of all at once, where there may be very many.
_BACK = delete(removal).where(select(entry.c.key).where(entry.c.kind == removal.c.kind, entry.c.key == removal.c.key).exists())


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _version(connection: Connection) -> int:
    return _newest(connection).version


def _newest(connection: Connection, most: int = 2**31 - 1) -> Revision:
    newest = select(revision.c.version, revision.c.applied_at).where(revision.c.version <= most)
    row = connection.execute(newest.order_by(revision.c.version.desc()).limit(1)).first()
    return Revision(row[0], str(row[1])) if row else NONE


def _documents(connection: Connection, origin: str | None = None) -> Documents:
    rows = select(entry.c.kind, entry.c.key, entry.c.document)
    if origin is not None:
        rows = rows.where(entry.c.origin == origin)
    return {(kind, key): bytes(document) for kind, key, document in connection.execute(rows)}


def _decide(
    connection: Connection, catalogue: Catalogue, wanted: Documents, now: dt.datetime
) -> tuple[Difference, declared.Plan]:
    """Say what applying would do to what is in force, and to the lives of grants."""
    held, known = _documents(connection, DIRECTORY), lives.known(connection)
    documents = {key: document for (kind, key), document in wanted.items() if kind == "grants"}
    plan = declared.plan(known, catalogue, documents, now)
    return _difference(held, wanted, plan), plan


def _difference(held: Documents, directory: Documents, plan: declared.Plan) -> Difference:
    out = {("grants", key) for key in plan.withheld}
    wanted = {at: document for at, document in directory.items() if at not in out} if out else directory
    return Difference(
        added=_by_kind(wanted.keys() - held.keys()),
        changed=_by_kind({at for at in wanted.keys() & held.keys() if wanted[at] != held[at]}),
        removed=_by_kind(held.keys() - wanted.keys()),
        withheld=plan.withheld,
        paused=plan.paused,
        moved=tuple(sorted(key for key, _ in plan.moved)),
        ended=plan.ended,
    )


def _by_kind(places: set[Place]) -> dict[str, tuple[str, ...]]:
    return {kind: keys for kind in KINDS if (keys := tuple(sorted(key for k, key in places if k == kind)))}


def _write(connection: Connection, wanted: Documents, difference: Difference, by: By) -> None:
    counts = {part: difference.count(part) for part in ("added", "changed")}
    gone = [*_places(difference.removed), *(("grants", key) for key in difference.ended)]
    version = new_revision(connection, **counts, removed=len(gone))
    take_out_of_force(connection, version, gone)
    if difference.added:
        _insert(connection, version, DIRECTORY, {at: wanted[at] for at in _places(difference.added)})
        connection.execute(_BACK)
        changes.note_added(connection, by, difference.added, version)
    altered = _places(difference.changed)
    _change(connection, version, {at: wanted[at] for at in altered})
    done = [(target_of(*at), CHANGED) for at in altered] + [(target_of(*at), REMOVED) for at in gone]
    changes.note(connection, by, done, version)


def _of_grants(difference: Difference) -> list[tuple[str, str]]:
    """What is done to grants beside coming into force and going out of it."""
    done = [(target_of("grants", key), PAUSED_CHANGED) for key in difference.paused]
    return done + [(target_of("grants", key), MOVED) for key in difference.moved]


def _places(part: dict[str, tuple[str, ...]]) -> list[Place]:
    return [(kind, key) for kind, keys in part.items() for key in keys]
