"""A process that spends a grant as fast as it can, and notes after each call what it came to where others can read it.

    python -m tests.support.spender IMAGE COUNTERS TALLY REF DAY NOW CALLS

NOW is a time in nanoseconds, or 0 for the clock's. It begins when a line comes on standard input, ends after so many calls that
were spent or refused for a quota, and may be killed at any moment. The tally is a count of 64 bits for every outcome.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from pathlib import Path

from broker._native.counters import Counters
from broker._native.policy import Image

HEADER_BYTES = 64  # of the file of counters
OUTCOMES = 8
RATE_USED_UP = 1


def mapped(file: str) -> mmap.mmap:
    with Path(file).open("r+b") as opened:
        return mmap.mmap(opened.fileno(), 0)


def main(image_file: str, counters_file: str, tally_file: str, *numbers: str) -> None:
    ref, day, fixed_ns, calls = (int(number) for number in numbers)
    image = Image(mapped(image_file))
    counters = Counters(memoryview(mapped(counters_file))[HEADER_BYTES:])
    tally = memoryview(mapped(tally_file)).cast("Q")  # written a word at a time: a kill leaves none half written
    seen = [0] * OUTCOMES
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    while calls:
        outcome, _ = counters.spend(image, ref, fixed_ns or time.monotonic_ns(), day)
        seen[outcome] += 1
        tally[outcome] = seen[outcome]
        calls -= outcome != RATE_USED_UP or bool(fixed_ns)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
