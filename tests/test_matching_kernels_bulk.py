"""The kernels of `broker.matching` in bulk: a million pairs an alphabet against RapidFuzz, and all paths against one another.

`MATCHING_PAIRS=10000000` makes it ten million (`make kernels`).
"""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from broker import matching
from broker._native import matching as native
from tests.matching_kit import ALPHABETS, ORACLES, draw_sides, expected

PAIRS = int(os.environ.get("MATCHING_PAIRS", "500000"))
CHOICES = 5000  # more than a chunk

# What records hold, by the length of the texts; the weights make most lengths everyday ones.
SHAPES = {
    "names": ([2, 3, 3, 3, 3, 4], "Chinese"),
    "names and typos": ([1, 2, 3, 4, 5, 6, 7, 8], "Chinese"),
    "Latin names": (list(range(5, 24)), "Latin"),
    "accented names": (list(range(5, 18)), "accents"),
    "addresses": (list(range(24, 36)), "many Chinese"),
    "Latin addresses": (list(range(20, 50)), "64 letters"),
    "notes": ([*range(50, 70), 100, 150], "Latin"),
    "rare characters": (list(range(5)), "beyond the BMP"),
    "two letters": (list(range(40)), "two letters"),
}


def by_path(queries: list[str], choices: list[str], scorer: matching.Scorer) -> dict[str, matching.distances.Matrix]:
    before = native.path()
    results = {}
    try:
        for name in native.paths():
            native.use(name)
            results[name] = matching.cdist(queries, choices, scorer)
    finally:
        native.use(before)
    return results


@pytest.mark.slow
@pytest.mark.timeout(0 if PAIRS > 1_000_000 else 120)
@pytest.mark.parametrize("scorer", ORACLES, ids=lambda scorer: scorer.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_all_paths_agree_with_the_oracle_on_every_pair(shape: str, scorer: matching.Scorer) -> None:
    lengths, alphabet = SHAPES[shape]
    draw = random.Random(shape)
    left = PAIRS
    while left > 0:
        rows = min(left // CHOICES + 1, 200)
        queries, choices = draw_sides(draw, ALPHABETS[alphabet], rows, CHOICES, lambda: draw.choice(lengths))
        wanted = expected(queries, choices, scorer)
        for path, got in by_path(queries, choices, scorer).items():
            assert np.array_equal(got, wanted), f"{path}: {np.count_nonzero(got != wanted)} of {got.size} differ"
        left -= rows * CHOICES
