"""Seeded draws by the column.

Every draw starts from the raw 64 bits of the generator, which numpy promises never to change for a seed; its distributions it
may improve (NEP 19), and then a seed would mean other people. What must not go in here: what is drawn.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Codes = NDArray[Any]

SLOTS = 65_536
INDEX_BITS = 20
_ONE = 1 << 32


class Draws:
    """The draws of one purpose in one block of people; a new purpose leaves the draws of the others as they are."""

    def __init__(self, seed: int, block: int, purpose: str) -> None:
        self._bits = np.random.SFC64(np.random.SeedSequence([seed, block, zlib.crc32(purpose.encode())]))

    def lots(self, count: int) -> NDArray[np.uint64]:
        """Draw 64 bits each."""
        return np.asarray(self._bits.random_raw(count), dtype=np.uint64)

    def _halves(self, count: int) -> NDArray[np.uint32]:
        return self.lots((count + 1) // 2).view(np.uint32)[:count]

    def below(self, span: int | Codes, count: int) -> Ints:
        """Draw whole numbers from 0 up to, not with, the span (one for all, or one each; at most 2**31)."""
        return ((self._halves(count).astype(np.int64) * span) >> 32).astype(np.int64)

    def between(self, low: int, high: int, count: int) -> Ints:
        """Draw whole numbers from low to high, both included."""
        return low + self.below(high - low + 1, count)

    def chance(self, share: float | NDArray[np.float64], count: int) -> Flags:
        """Say yes with a probability (one for all, or one each)."""
        return np.asarray(self._halves(count) < np.asarray(share) * _ONE, dtype=np.bool_)

    def pick(self, slots: Codes, count: int) -> Codes:
        """Draw from a table of `weighted`."""
        return slots[self.lots((count + 3) // 4).view(np.uint16)[:count]]

    def order(self, count: int) -> Ints:
        """Draw a permutation."""
        return ordered(self.lots(count) >> np.uint64(INDEX_BITS + 1))


def ordered(keys: Codes) -> Ints:
    """Sort stably: the indexes (fewer than 2**20) of whole numbers below 2**43 in their order.

    The index goes into the number that is sorted: no two are then alike, so that the fastest sort of any processor gives the
    same order, and sorting numbers is faster than sorting indexes.
    """
    packed = keys.astype(np.int64) << INDEX_BITS | np.arange(len(keys), dtype=np.int64)
    packed.sort()
    return packed & ((1 << INDEX_BITS) - 1)


def weighted(weights: Sequence[float] | NDArray[np.float64], slots: int = SLOTS) -> NDArray[np.int32]:
    """Lay out the indexes of weights in a table of slots, each with about its share of them and none left out.

    Drawing is then one look-up; a share is kept to a part in `slots`.
    """
    given = np.asarray(weights, dtype=np.float64)
    total = math.fsum(given)  # the same on every processor, which numpy's sum is not
    counts = np.maximum(1, np.floor(given / total * slots)).astype(np.int64)
    counts[int(np.argmax(counts))] += slots - int(counts.sum())
    return np.repeat(np.arange(len(given), dtype=np.int32), counts)
