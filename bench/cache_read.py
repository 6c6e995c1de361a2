"""What `CacheStore.read` costs over LMDB itself: the same hot keys, read from a small and from a large cache.

The bare side begins a transaction and gets the bytes, nothing more: no header, no checksum, no copy. What must not go in here:
writing (setting up is not timed).
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import lmdb

from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from broker._native.cachekey import pack_entry
from broker.cache.environment import LIB_VERSION
from broker.cache.store import CacheStore, Tags
from broker.config import Cache

ENTRIES = (1_000, 100_000)
HOT_KEYS = 1_000
PASSES = 100  # over the hot keys, in a round
MAP_MIB = 256
BODY = bytes(300)
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
TIMES = (NOW_MS, NOW_MS + HOUR_MS, NOW_MS + HOUR_MS, NOW_MS + HOUR_MS)


def _keys(count: int) -> list[bytes]:
    draw = random.Random(count)
    return [draw.randbytes(32) for _ in range(count)]


def _store(directory: Path, keys: Sequence[bytes]) -> CacheStore:
    store = CacheStore(directory, Cache(map_size_mib=MAP_MIB))
    for key in keys:
        tags = Tags(interface="national.person.basic", provider="national.police", subject=key.hex(), question=key)
        store.write(key, pack_entry(key, 0, *TIMES, BODY), ends_at_ms=TIMES[-1], tags=tags)
    return store


def _bare(directory: Path, keys: Sequence[bytes]) -> lmdb.Environment:
    environment = lmdb.open(str(directory), map_size=MAP_MIB << 20, sync=False, lib_version=LIB_VERSION)
    with environment.begin(write=True) as transaction:
        for key in keys:
            transaction.put(key, pack_entry(key, 0, *TIMES, BODY))
    return environment


def _get(environment: lmdb.Environment) -> Callable[[bytes], object]:
    def get(key: bytes) -> object:
        with environment.begin(buffers=True) as transaction:
            return transaction.get(key)

    return get


def _ns_per_read(read: Callable[[bytes], object], keys: Sequence[bytes]) -> Reading:
    found = sum(read(key) is not None for key in keys)
    if found != len(keys):
        raise Wrong(f"{found} of {len(keys)} keys were found")
    start = time.perf_counter_ns()
    for _ in range(PASSES):
        for key in keys:
            read(key)
    return Reading((time.perf_counter_ns() - start) / (PASSES * len(keys)))


def _case(count: int, stack: ExitStack) -> Case:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    keys = _keys(count)
    store = stack.enter_context(closing(_store(directory / "store", keys)))
    bare = stack.enter_context(closing(_bare(directory / "bare", keys)))
    hot = random.Random(0).sample(keys, HOT_KEYS)
    contenders = (
        Contender("CacheStore.read", lambda: _ns_per_read(store.read, hot)),
        Contender("lmdb begin+get", lambda: _ns_per_read(_get(bare), hot)),
    )
    sizes = {"entries": count, "hot keys": HOT_KEYS, "body bytes": len(BODY)}
    return Case(f"{count:,} entries", contenders, sizes)


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    with ExitStack() as stack:
        yield (_case(count, stack) for count in ENTRIES)


BENCHMARK = Benchmark(title="a hot read of the answer cache", unit="ns/read", higher_is_better=False, open=_open)
