"""Feeds texts to the kernels of `broker.matching`. Invariant: every path says what RapidFuzz says, to the last bit.

An input is read as two lists of texts: a byte of flags, and texts in UTF-32 (what is no code point becomes one), parted by
line feeds. Run as `python tests/fuzz/fuzz_matching.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`.
Where atheris is installed it draws the inputs and its own options apply instead (`-max_total_time=60 corpus/`).
"""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from broker import matching
from broker._native import matching as native
from tests.fuzz import driver
from tests.matching_kit import ALPHABETS, EDGES, ORACLES, draw_text, expected, expected_by_position, with_typos

POINTS = 0x110000


def encode(flags: int, queries: list[str], choices: list[str]) -> bytes:
    text = "\n".join(queries) + "\n\n" + "\n".join(choices)
    return bytes([flags]) + struct.pack(f"<{len(text)}I", *map(ord, text))


def decode(data: bytes) -> tuple[int, list[str], list[str]]:
    body = data[1 : 1 + len(data[1:]) // 4 * 4]
    text = "".join(chr(point % POINTS) for (point,) in struct.iter_unpack("<I", body))
    queries, _, choices = text.partition("\n\n")
    return data[0] if data else 0, queries.split("\n"), choices.split("\n")


def check(data: bytes) -> bool:
    """One input; returns whether anything in it was alike, since texts with nothing in common show little."""
    flags, queries, choices = decode(data)
    scorer = tuple(ORACLES)[flags % 3]
    wanted = expected(queries, choices, scorer)
    for path in native.paths():
        native.use(path)
        got = matching.cdist(queries, choices, scorer)
        if not np.array_equal(got, wanted):
            raise AssertionError(f"{path}, {scorer.name}, input {data.hex()}")
    both = min(len(queries), len(choices))
    pairs = matching.cpdist(queries[:both], choices[:both], scorer)
    if not np.array_equal(pairs, expected_by_position(queries[:both], choices[:both], scorer)):
        raise AssertionError(f"cpdist, {scorer.name}, input {data.hex()}")
    return bool(np.unique(wanted).size > 1)


def draw_input(draw: random.Random) -> bytes:
    """Few queries, some tens of choices that are often like them, lengths around the edges of lanes; sometimes damaged."""
    alphabet = draw.choice(tuple(ALPHABETS.values())).replace("\n", "")
    longest = draw.choice(EDGES)
    queries = [draw_text(draw, alphabet, draw.randint(0, longest)) for _ in range(draw.randint(1, 4))]
    choices = [with_typos(draw, draw.choice(queries), alphabet) for _ in range(draw.randint(0, 100))]
    choices += [draw_text(draw, alphabet, draw.choice(EDGES)) for _ in range(draw.randint(0, 4))]
    data = bytearray(encode(draw.randrange(3), queries, choices))
    for _ in range(draw.choice((0, 0, 1, 8))):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


if __name__ == "__main__":
    driver.main(__doc__, check, draw_input)
