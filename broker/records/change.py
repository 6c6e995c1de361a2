"""Changes a base where it stands: rows put in or replaced, rows taken out; all of them, at once and durably, or none.

What must not go in here: replacing a whole base (load.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import lmdb
import structlog

from broker._native.query_index import Unusable
from broker.config import Config
from broker.errors import ConfigurationError, RecordsRefused
from broker.model.catalogue import BaseDeclaration
from broker.records import generations
from broker.records.index import IndexChanges
from broker.records.index_build import Built, Progress, build
from broker.records.load import Loaded, Source, good_rows, judge, note_bad, unusable
from broker.records.packing import PACKINGS, Packer
from broker.records.rows import Problem, read_key
from broker.records.store import Change, Store, directory_of, open_store

log = structlog.get_logger("records")


@dataclass
class Changed:
    """What became of the rows."""

    read: Loaded = field(default_factory=Loaded)
    added: int = 0
    replaced: int = 0
    removed: int = 0
    absent: int = 0  # were to be removed, and are not there
    index_built: bool = False  # the query index could not follow and was built anew


def upsert(config: Config, base: BaseDeclaration, sources: Iterable[Source], *, most_bad_rows: int) -> Changed:
    """Put rows into a base; those whose key is there already take its place.

    Raises:
        RecordsRefused: more than `most_bad_rows` rows are wrong, or none is right; nothing has changed.
        BaseUnusable: nothing was loaded yet.
        BaseBusy: another process is writing the base.
        DirectoryUnusable: it cannot be written, or has no more room.
    """
    changed = Changed()
    with _changing(config, base, changed) as change:
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
    with _changing(config, base, changed) as change:
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


def index(config: Config, base: BaseDeclaration, indexing: Callable[[int], Progress]) -> Built:
    """Build the query index of a base anew out of its records. `indexing` is as for `load`.

    Raises:
        BaseUnusable: nothing was loaded, or a record is damaged.
        BaseBusy: another process is writing the base.
        ConfigurationError: the base is not declared to be searched.
        DirectoryUnusable: it cannot be written, or has no more room.
    """
    directory = directory_of(config, base.id)
    packer = PACKINGS.packer(base.search)
    if packer is None:
        raise ConfigurationError(f"base `{base.id}`: is not declared to be searched, so it has no index")
    with generations.writing(directory):
        store = open_store(config, base, readonly=False)
        try:
            return build(store, packer, indexing(len(store)))
        except (OSError, lmdb.Error) as error:
            raise unusable(directory, error) from error
        finally:
            store.close()


@contextmanager
def _changing(config: Config, base: BaseDeclaration, changed: Changed) -> Iterator[Change]:
    directory = directory_of(config, base.id)
    with generations.writing(directory):
        store = open_store(config, base, readonly=False)
        new = sorted(base.fields.keys() - store.about.base.fields.keys())
        try:
            if new:
                raise RecordsRefused(f"base `{base.id}` was loaded before it had the field `{new[0]}`; load it again")
            store.free_dead_readers()
            packer = PACKINGS.packer(base.search)
            with _following(store, packer) as follower, store.changing(follower) as change:
                yield change
            if packer and not store.indexed():
                build(store, packer)
                changed.index_built = True
        except (OSError, lmdb.Error) as error:
            raise unusable(directory, error) from error
        finally:
            store.close()


@contextmanager
def _following(store: Store, packer: Packer | None) -> Iterator[IndexChanges | None]:
    """Change the query index with the base, where there is one that can be."""
    try:
        follower = IndexChanges(store, packer) if packer else None
    except Unusable as error:
        log.warning("query index cannot be changed, and is built anew", base=store.base.id, why=str(error))
        follower = None
    try:
        yield follower
    finally:
        if follower:
            follower.close()
