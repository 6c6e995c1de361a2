"""Changes a base where it stands: rows put in or replaced, rows taken out; all of them, at once and durably, or none.

What must not go in here: replacing a whole base (load.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import lmdb

from broker.config import Config
from broker.errors import RecordsRefused
from broker.model.catalogue import BaseDeclaration
from broker.records import generations
from broker.records.load import Loaded, Source, good_rows, judge, note_bad, unusable
from broker.records.rows import Problem, read_key
from broker.records.store import Change, directory_of, open_store


@dataclass
class Changed:
    """What became of the rows."""

    read: Loaded = field(default_factory=Loaded)
    added: int = 0
    replaced: int = 0
    removed: int = 0
    absent: int = 0  # were to be removed, and are not there


def upsert(config: Config, base: BaseDeclaration, sources: Iterable[Source], *, most_bad_rows: int) -> Changed:
    """Put rows into a base; those whose key is there already take its place.

    Raises:
        RecordsRefused: more than `most_bad_rows` rows are wrong, or none is right; nothing has changed.
        BaseUnusable: nothing was loaded yet.
        BaseBusy: another process is writing the base.
        DirectoryUnusable: it cannot be written, or has no more room.
    """
    changed = Changed()
    with _changing(config, base) as change:
        seen = set()
        for numbered in good_rows(base, sources, changed.read):
            if numbered.row.key in seen:
                note_bad(changed.read, numbered.file, numbered.number, (Problem("key", "stands in an earlier row already"),))
                continue
            seen.add(numbered.row.key)
            is_new = change.put(numbered.row)
            changed.added += is_new
            changed.replaced += not is_new
            changed.read.stored += 1
        judge(changed.read, most_bad_rows)
    return changed


def delete(config: Config, base: BaseDeclaration, sources: Iterable[Source], *, most_bad_rows: int) -> Changed:
    """Take out the records whose keys the rows name. Raises as `upsert` does."""
    changed = Changed()
    with _changing(config, base) as change:
        for source in sources:
            for number, written in enumerate(source.rows, 1):
                changed.read.rows += 1
                key = read_key(base, written)
                if isinstance(key, bytes):
                    changed.read.stored += 1
                    was_there = change.remove(key)
                    changed.removed += was_there
                    changed.absent += not was_there
                else:
                    note_bad(changed.read, source.name, number, key)
        judge(changed.read, most_bad_rows)
    return changed


@contextmanager
def _changing(config: Config, base: BaseDeclaration) -> Iterator[Change]:
    directory = directory_of(config, base.id)
    with generations.writing(directory):
        store = open_store(config, base, readonly=False)
        new = sorted(base.fields.keys() - store.about.base.fields.keys())
        try:
            if new:
                raise RecordsRefused(f"base `{base.id}` was loaded before it had the field `{new[0]}`; load it again")
            store.free_dead_readers()
            with store.changing() as change:
                yield change
        except (OSError, lmdb.Error) as error:
            raise unusable(directory, error) from error
        finally:
            store.close()
