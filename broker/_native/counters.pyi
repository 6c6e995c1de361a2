"""Counters of grants in memory that every process of a broker shares (ext/counters.pyx).

The memory is a power of two lines of 64 bytes, each a grant's, found by the key in its term:

    offset  0 u64 key, 0 if free                       32 u64 day << 40 | calls of it that nobody had reserved
            8 u64 when the rate is whole again, ns     40 u64 calls in all that nobody had reserved
           16 u64 day << 40 | calls left of the block  48 zero
           24 u64 calls left of the block for good

Every word changes by compare-and-swap, so any process may die at any moment. It then loses a call that it was about to spend.

What `spend` returns, by number: 0 spent, 1 the rate is used up, 2 the block of the day is, 3 the block for good is.
"""

from collections.abc import Buffer  # type: ignore[attr-defined]
from typing import final

from broker._native.policy import Image

@final
class Counters:
    """Lines in a writable buffer, which nobody can resize or unmap before `close`."""

    def __init__(self, memory: Buffer) -> None:
        """Take hold of a buffer.

        Raises:
            ValueError: it is not a power of two lines, or does not begin on a multiple of 8.
            BufferError: it is read-only or not in one piece.
        """

    def spend(self, image: Image, ref: int, now_ns: int, day: int) -> tuple[int, int]:
        """Take one call off every limit of a grant, or off none.

        `now_ns` is of a clock that never goes back while the memory lasts, `day` as `Image.day` counts. Returns a number of
        the list above, and in how many nanoseconds the rate allows one more call, 0 where it does. A rate that is used up for
        an hour longer than it can be is of another clock, and counts as used up now.

        Raises:
            IndexError: `ref` is none of this image's terms.
            MemoryError: every line is taken.
            ValueError: the counters are closed, `now_ns` is not 0..2⁶²-1, or `day` not 0..2²⁴-1.
        """

    def refund(self, image: Image, ref: int, day: int) -> None:
        """Undo a `spend` that returned SPENT. Raises as `spend` does."""

    def deposit(self, image: Image, ref: int, day: int, amount: int, beyond: int) -> None:
        """Add a reserved block: of a day, or of the grant's whole life when `day` is 0. `beyond` is what is left to reserve.

        What is left of another day is dropped, and so is what a day has above 2⁴⁰-1.

        Raises as `spend` does, and:
            ValueError: a number is 2⁴⁰ or more.
        """

    def remaining(self, image: Image, ref: int, now_ns: int, day: int) -> tuple[int, int | None, int | None]:
        """Return how many calls are left of the burst, of the day and in all, as far as this machine knows; None: no limit."""

    def adopt(self, other: Counters, image: Image) -> None:
        """Move the lines of an image's grants out of other counters, which other processes may still be using.

        What has moved cannot be spent there any more; fronts look for the new memory.

        Raises:
            MemoryError: every line is taken.
            ValueError: either is closed.
        """

    def settle(self) -> None:
        """Take every line for one that has not moved: for a process that starts on memory that it alone may leave."""

    def lines(self) -> tuple[int, int]:
        """Return how many lines are taken, and how many there are. Raises ValueError: the counters are closed."""

    def close(self) -> None:
        """Let go of the buffer. Raises BufferError while another thread is in `decide_and_spend`."""

def decide_and_spend(
    image: Image, counters: Counters, questions: Questions, earliest_ms: int, latest_ms: int, now_ns: int, verdicts: bytearray
) -> None:
    """Decide many questions and spend what is allowed, without the interpreter lock.

    Writes a byte a question: the verdict (`policy.pyi`), or 16 + what `spend` returns where the verdict is ALLOWED and a
    limit is used up (20: every line is taken).

    Raises:
        ValueError: `verdicts` is not as long as there are questions, the counters are closed, or a time is out of range, as it
            also is where `latest_ms` lies before 1970.
    """

@final
class Questions:
    """Many questions, laid out once for `decide_and_spend`.

    Each is (number of the consumer or None, interface, version, purpose, matter, unit, what it says of itself).
    """

    def __init__(self, questions: list[tuple[int | None, bytes, int, bytes, bytes, bytes, int]]) -> None: ...
    def __len__(self) -> int: ...
