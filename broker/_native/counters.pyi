"""Counters of grants in memory that every process of a broker shares (ext/counters.pyx).

The memory is a power of two lines of 64 bytes, each a grant's, found by the key in its term:

    offset  0 u64 key, 0 if free                       32 u64 day << 40 | calls of it that nobody had reserved
            8 u64 when the rate is whole again, ns     40 u64 calls in all that nobody had reserved
           16 u64 day << 40 | calls left of the block  48 zero
           24 u64 calls left of the block for good

Every word changes by compare-and-swap, so any process may die at any moment.

What `spend` returns, by number: 0 spent, 1 the rate is used up, 2 the block of the day is, 3 the block for good is.
"""

from collections.abc import Buffer  # type: ignore[attr-defined]
from typing import final

from broker._native.policy import Image

@final
class Counters:
    """Lines in a writable buffer."""

    def __init__(self, memory: Buffer) -> None:
        """Raises:
        ValueError: the buffer is not a power of two lines.
        """

    def spend(self, image: Image, ref: int, now_ns: int, day: int) -> tuple[int, int]:
        """Take one call off every limit of a grant, or off none.

        `now_ns` is of a clock that never goes back while the memory lasts, `day` as `Image.day` counts. Returns a number of
        the list above, and in how many nanoseconds the rate allows one more call, 0 where it does.

        Raises:
            IndexError: `ref` is none of this image's terms.
            MemoryError: every line is taken.
            ValueError: the counters are closed.
        """

    def deposit(self, image: Image, ref: int, day: int, amount: int, beyond: int) -> None:
        """Add a reserved block: of a day, or of the grant's whole life when `day` is 0. `beyond` is what is left to reserve.

        Raises as `spend` does, and:
            ValueError: a number is 2⁴⁰ or more.
        """

    def remaining(self, image: Image, ref: int, now_ns: int, day: int) -> tuple[int, int | None, int | None]:
        """Return how many calls are left of the burst, of the day and in all, as far as this machine knows; None: no limit."""

    def restore(self, line: bytes) -> None:
        """Write a line of other counters here, while nobody else uses these. Raises ValueError, MemoryError."""

    def lines(self) -> tuple[int, int]:
        """Return how many lines are taken, and how many there are."""

    def close(self) -> None:
        """Let go of the buffer."""

def decide_and_spend(
    image: Image, counters: Counters, questions: Questions, earliest_ms: int, latest_ms: int, now_ns: int, verdicts: bytearray
) -> None:
    """Decide many questions and spend what is allowed, without the interpreter lock.

    Writes a byte a question: the verdict (`policy.pyi`), or 16 + what `spend` returns where the verdict is ALLOWED and a
    limit is used up (20: every line is taken).

    Raises:
        ValueError: `verdicts` is not as long as there are questions, or the counters are closed.
    """

@final
class Questions:
    """Many questions, laid out once for `decide_and_spend`.

    Each is (number of the consumer or None, interface, version, purpose, matter, unit, what it says of itself).
    """

    def __init__(self, questions: list[tuple[int | None, bytes, int, bytes, bytes, bytes, int]]) -> None: ...
    def __len__(self) -> int: ...
