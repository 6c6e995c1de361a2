"""What the tests of the cache share: stores that are checked when they are let go, and entries in one line."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb

from broker._native.cachekey import Entry, pack_entry
from broker.cache.store import CacheStore, Tag, Tags
from broker.config import Cache

SMALL = Cache(map_size_mib=4)
TINY = Cache(map_size_mib=1)

Open = Callable[..., CacheStore]


@contextlib.contextmanager
def stores(data_dir: Path) -> Iterator[Open]:
    """A function that opens stores on one directory; at the end every entry must have exactly its rows."""
    opened: list[CacheStore] = []

    def open_one(settings: Cache = SMALL, boot: str = "boot") -> CacheStore:
        opened.append(CacheStore(data_dir, settings, lambda: boot))
        return opened[-1]

    yield open_one
    for store in opened:
        with contextlib.suppress(lmdb.Error):  # closed by the test
            assert store.check() == []
        store.close()


def purge(store: CacheStore, tag: Tag, name: str | bytes) -> int:
    """Purge to the end, as `exchange.purge` does."""
    return sum(iter(lambda: store.purge_some(tag, name), 0))


def key_of(number: int) -> bytes:
    return random.Random(number).randbytes(32)


def tags(interface: str = "person", provider: str = "police", subject: str = "subject", question: bytes = b"q") -> Tags:
    return Tags(interface=interface, provider=provider, subject=subject, question=question)


def put(store: CacheStore, number: int, body: bytes = b"body", ends: int = 1000, under: Tags | None = None) -> bool:
    entry = pack_entry(key_of(number), 0, 0, ends, ends, ends, body)
    return store.write(key_of(number), entry, ends_at_ms=ends, tags=under or tags(question=key_of(number)))


def body_of(entry: Entry | None) -> bytes | None:
    return None if entry is None else entry.body


def fill(store: CacheStore, count: int, seed: int = 0) -> None:
    draw = random.Random(seed)
    for number in range(count):
        assert put(store, number, draw.randbytes(draw.choice([50, 500, 1500, 4000])), ends=draw.randrange(10_000))
