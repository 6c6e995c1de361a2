"""Writes what was applied as a catalogue directory, which applied again changes nothing.

Declared grants that are withheld are in it, for a directory without them would end them. Grants that were requested are not:
they have a life of their own, and a directory that declared them would be refused. What must not go in here: how a value looks
in TOML (model/toml.py).
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import select

from broker.errors import DirectoryUnusable
from broker.model import toml
from broker.model.catalogue import Catalogue
from broker.policy.database import Database
from broker.policy.directory import KINDS
from broker.policy.lives import DIRECTORY, known
from broker.policy.store import decode
from broker.policy.tables import entry

_LEVELS_ABOVE = 3  # looked at for a catalogue that the new directory would become a part of
_OF_CATALOGUE = re.compile(rf"^\s*\[\[\s*({'|'.join(KINDS)})\s*\]\]", re.MULTILINE)


def declared(database: Database) -> Catalogue:
    """Return what the directory said that was applied last.

    Raises:
        ConfigurationError: it was applied under the looser rules of an older version of this software.
        DirectoryUnusable: the database does not answer or stays locked.
    """
    rows = select(entry.c.kind, entry.c.key, entry.c.document).where(entry.c.origin == DIRECTORY, entry.c.kind != "grants")
    with database.reading() as connection:
        held = {(kind, key): bytes(document) for kind, key, document in connection.execute(rows)}
        grants = {("grants", key): life.document for key, life in known(connection).items() if life.origin == DIRECTORY}
    return decode(held | grants)


def write(catalogue: Catalogue, directory: Path) -> list[Path]:
    """Write a catalogue into a directory, one file a kind; returns the files.

    Raises:
        DirectoryUnusable: it cannot be written, or has TOML files in or above it that would be applied together with these.
    """
    try:
        if next(directory.rglob("*.toml"), None):
            raise DirectoryUnusable(f"{directory}: holds TOML files already; export into a new directory")
        if outer := _around(directory):
            raise DirectoryUnusable(
                f"{directory}: lies in {outer}, which is a catalogue; export into a directory outside of it"
            )
        directory.mkdir(parents=True, exist_ok=True)
        return [write_values(directory / f"{kind}.toml", kind, getattr(catalogue, kind)) for kind in KINDS]
    except OSError as error:
        raise DirectoryUnusable(f"{directory}: cannot be written ({error.strerror})") from error


def _around(directory: Path) -> Path | None:
    """Return the directory above that holds files of a catalogue itself, if there is one; other TOML files do no harm."""
    above = directory.resolve().parents[:_LEVELS_ABOVE]
    return next((outer for outer in above if any(map(_is_of_catalogue, outer.glob("*.toml")))), None)


def _is_of_catalogue(file: Path) -> bool:
    try:
        return file.is_file() and _OF_CATALOGUE.search(file.read_text("utf-8", "replace")) is not None
    except OSError:  # not to be read by whoever exports, nor then applied
        return False


def write_values(file: Path, kind: str, values: tuple[object, ...]) -> Path:
    """Write values of one kind into a file, whole or not at all. Raises OSError."""
    text = toml.document({kind: [toml.plain(value) for value in values]})
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, encoding="utf-8")
    return part.replace(file)
