"""What the fuzzers of one input each share: random mutation for so long, or atheris where it is installed.

What must not go in here: what an input is, and what must hold for it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable

Check = Callable[[bytes], object]  # tells by its truth whether the input was taken for good


def mutate_for(check: Check, draw_input: Callable[[random.Random], bytes], seconds: float, seed: int) -> tuple[int, int]:
    """Check random inputs for so long; returns how many were tried, and how many of them were taken for good."""
    draw = random.Random(seed)
    tried = good = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        good += bool(check(draw_input(draw)))
        tried += 1
    return tried, good


def main(about: str | None, check: Check, draw_input: Callable[[random.Random], bytes]) -> None:
    """Run a fuzzer as its command line says."""
    try:
        import atheris
    except ImportError:
        parser = argparse.ArgumentParser(description=about)
        parser.add_argument("--seconds", type=float, default=10)
        parser.add_argument("--seed", type=int, default=0)
        options = parser.parse_args()
        tried, good = mutate_for(check, draw_input, options.seconds, options.seed)
        sys.stdout.write(f"{tried} inputs, {good} of them taken for good, nothing wrong\n")
    else:
        atheris.Setup(sys.argv, lambda data: check(data) and None)  # which wants no result
        atheris.Fuzz()
