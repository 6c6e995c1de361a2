"""What operators are told of a query index: how big and how old it is, how much has changed since, and whether it is right.

What must not go in here: opening one (index.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec

from broker.errors import BaseUnusable
from broker.records import index_files
from broker.records.index import OpenIndex
from broker.records.packing import Packer
from broker.records.store import Store

SHARE_TO_REBUILD = 0.5  # of the changes that there is room for
_ROWS_A_BATCH = 10_000


class IndexFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What can be told of an index without reading all of it."""

    state: str  # "ok", or what an operator should do or know
    mib: float = 0.0  # on disk, with room for changes
    bytes_a_record: float = 0.0  # of the index, without that room
    changes: int = 0  # since it was built
    room: int = 0  # for changes
    built_at: str = ""
    dropped_keys: int = 0  # that too many records share


def facts_of(store: Store, packer: Packer) -> IndexFacts:
    """Return what there is to tell of the index of a base."""
    try:
        index = OpenIndex(store, packer)
    except BaseUnusable as error:
        return IndexFacts(state=error.why)
    try:
        return _facts(store, index)
    finally:
        index.close()


def _facts(store: Store, index: OpenIndex) -> IndexFacts:
    facts = index.native.facts()
    changes, room = index.native.changes()
    full = changes >= SHARE_TO_REBUILD * room
    return IndexFacts(
        state="much has changed; run `broker records index`" if full else "ok",
        mib=round((facts["bytes"] + index_files.delta_file(store.directory, index.build).stat().st_size) / (1 << 20), 1),
        bytes_a_record=round(facts["bytes"] / max(facts["rows"], 1), 1),
        changes=changes,
        room=room,
        built_at=dt.datetime.fromtimestamp(facts["built_at_ms"] // 1000, dt.UTC).isoformat(),
        dropped_keys=facts["dropped_buckets"],
    )


def problems(store: Store, packer: Packer, done: Callable[[int], Any] = lambda _: None) -> list[str]:
    """Read all of an index, compare it with the records, and return what is wrong. `done` is told how many were compared.

    Raises:
        BaseUnusable: a record is damaged.
    """
    try:
        index = OpenIndex(store, packer)
    except BaseUnusable as error:
        return [error.why]
    try:
        found = [f"{chunks} chunks of it are damaged"] if (chunks := index.verify()) else []
        if (live := index.native.live()) != len(store):
            found.append(f"it has {live} records, the base {len(store)}")
        if differ := sum(_differing(store, packer, index, done)):
            found.append(f"{differ} records are not in it as they are in the base")
        return found
    finally:
        index.close()


def _differing(store: Store, packer: Packer, index: OpenIndex, done: Callable[[int], Any]) -> list[int]:
    found = []
    blank = bytes(packer.packing.record_bytes)
    for keys, columns in store.batches(_ROWS_A_BATCH):
        slots = [index.native.find(key) for key in keys]
        held = [None if slot is None else index.native.record(slot) for slot in slots]
        packed = packer.pack(columns, len(keys))
        found.append(max(held.count(None), packer.packing.differing(packed, b"".join(record or blank for record in held))))
        done(len(keys))
    return found
