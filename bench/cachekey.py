"""How long a key and an entry take, natively and by the oracle.

Each round runs both one after the other, so that a change of the machine's speed hits both; the median of the rounds counts.
Run as `python -m bench.cachekey`. What must not go in here: storage (that is LMDB's time, not ours).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from broker._native import cachekey
from tests.oracle import cachekey as oracle

ROUNDS = 7
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

CASES: dict[str, Callable[[Any], object]] = {
    "cache_key, 3 arguments": lambda module: module.cache_key(*REQUEST),
    "pack_entry, 300 bytes": lambda module: module.pack_entry(KEY, 0, *TIMES, BODY),
    "read_entry, 300 bytes": lambda module: module.read_entry(KEY, ENTRY),
    "crc32c, 300 bytes": lambda module: module.crc32c(BODY),
}


def run() -> dict[str, dict[str, float]]:
    """Return nanoseconds a call for each case: `native`, `oracle` and their `ratio` (medians of 7 interleaved rounds)."""
    results = {}
    for name, case in CASES.items():
        rounds = [(_ns_per_call(case, cachekey), _ns_per_call(case, oracle)) for _ in range(ROUNDS + 1)][1:]
        native, pure = (statistics.median(column) for column in zip(*rounds, strict=True))
        results[name] = {"native": native, "oracle": pure, "ratio": statistics.median(o / n for n, o in rounds)}
    return results


def _ns_per_call(case: Callable[[Any], object], module: Any) -> float:
    calls, spent = 0, 0
    while spent < ROUND_NS:
        start = time.perf_counter_ns()
        for _ in range(100):
            case(module)
        spent += time.perf_counter_ns() - start
        calls += 100
    return spent / calls


def main() -> None:
    """Print the table."""
    print(f"{'':26}{'native ns':>12}{'oracle ns':>12}{'ratio':>9}")
    for name, result in run().items():
        print(f"{name:26}{result['native']:12.0f}{result['oracle']:12.0f}{result['ratio']:9.1f}")


if __name__ == "__main__":
    main()
