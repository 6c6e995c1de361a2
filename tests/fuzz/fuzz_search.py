"""Feeds texts of any kind to searches, in an index as it was written and in one of any bytes.

Invariants: no more candidates than asked for, probabilities within [0, 1], slots within the index; nothing outside it is read.
Run as `python tests/fuzz/fuzz_search.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. Where
atheris is installed it draws the inputs and its own options apply instead (`-max_total_time=60 corpus/`).
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from broker._native.search import Search
from broker.linkage import persons
from tests.fuzz import driver
from tests.search_kit import PLACES, SCHEMA, indexed, population

PEOPLE = 2000
SOUND = population(PEOPLE, 3)
NOISE = np.random.default_rng(1).integers(0, 256, SOUND.rows.shape, dtype=np.uint8)
PLAN = SOUND.model.blocking.plan(SCHEMA)
NOISY = Search(indexed(NOISE, SOUND.model), PLAN, *persons.search_table(SOUND.model, PEOPLE))


def check(data: bytes) -> bool:
    """One input, as what is known of somebody."""
    texts = data.decode("utf-8", "surrogateescape").split("\x1f")
    known = tuple(texts[place] if place < len(texts) and texts[place] else None for place in range(len(PLACES)))
    most = len(data) % 40
    found = SOUND.search.find(known, most) + NOISY.find(known, most)
    if any(not (0 <= one[0] < PEOPLE and 0 <= one[1] <= 1) for one in found) or len(found) > 2 * min(most, 32):
        raise AssertionError(f"candidates that cannot be, input {data.hex()}")
    return bool(found)


def draw_input(draw: random.Random) -> bytes:
    """What somebody is known by, often with a slip of bytes."""
    known, _, _ = draw.choice(SOUND.observed)
    data = bytearray("\x1f".join(text or "" for text in known).encode())
    for _ in range(draw.randint(0, 3)):
        at = draw.randrange(len(data) + 1)
        data[at : at + draw.randint(0, 4)] = draw.randbytes(draw.randint(0, 4))
    return bytes(data)


if __name__ == "__main__":
    driver.main(__doc__, check, draw_input)
