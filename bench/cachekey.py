"""How long a key and an entry take, natively and by the oracle of the tests.

What must not go in here: storage (that is LMDB's time, not ours: cache_read.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.benchmark import Benchmark, Case, Contender, Reading
from broker._native import cachekey
from tests.oracle import cachekey as oracle

ROUND_NS = 20_000_000

KEY = bytes(range(32))
BODY = bytes(300)  # an everyday answer
TIMES = (1_700_000_000_000, 1_700_000_060_000, 1_700_000_120_000, 1_700_003_600_000)
ENTRY = cachekey.pack_entry(KEY, 0, *TIMES, BODY)
REQUEST = (
    "police.person-status",
    3,
    1,
    bytes(16),
    (("name", "王小明"), ("purpose_scope", "resident"), ("resident_id", "510101199001011234")),
)

ACTIONS: dict[str, Callable[[Any], object]] = {
    "cache_key, 3 arguments": lambda module: module.cache_key(*REQUEST),
    "pack_entry": lambda module: module.pack_entry(KEY, 0, *TIMES, BODY),
    "read_entry": lambda module: module.read_entry(KEY, ENTRY),
    "crc32c": lambda module: module.crc32c(BODY),
}


def _ns_per_call(action: Callable[[Any], object], module: Any) -> Reading:
    calls, spent = 0, 0
    while spent < ROUND_NS:
        start = time.perf_counter_ns()
        for _ in range(100):
            action(module)
        spent += time.perf_counter_ns() - start
        calls += 100
    return Reading(spent / calls)


def _case(name: str, action: Callable[[Any], object]) -> Case:
    modules = {"native": cachekey, "oracle": oracle}
    contenders = tuple(Contender(who, lambda module=module: _ns_per_call(action, module)) for who, module in modules.items())
    return Case(name, contenders, {"body bytes": len(BODY)})


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    yield [_case(name, action) for name, action in ACTIONS.items()]


BENCHMARK = Benchmark(title="keys and entries, native and in Python", unit="ns/call", higher_is_better=False, open=_open)
