"""Feeds texts and rows of any bytes to linkage. Invariant: packed alike by column and one by one, compared the same both ways.

A row of any bytes is what a damaged file of records would hold: it may mean nothing, but keys and comparators stay inside it.
Run as `python tests/fuzz/fuzz_linkage.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. Where
atheris is installed it draws the inputs and its own options apply instead (`-max_total_time=60 corpus/`).
"""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa

from broker._native import linkage_index as native
from broker._native.linkage import count_rarity
from broker.linkage import Kind, Schema
from broker.linkage.blocking import Blocking, candidates
from tests.fuzz import driver

SCHEMA = Schema.of({kind.name.lower(): kind for kind in Kind})
RULES = tuple(itertools.islice(candidates(SCHEMA), 24))
PLAN = Blocking(RULES).plan(SCHEMA)
STRIDE = SCHEMA.layout.stride
SEEDS = (
    "张伟明",
    "吐尔逊古丽·阿布都热合曼",
    "ZHANG Weiming",
    "990101197812240441",
    "99010119781224044x",
    "1978-12-24",
    "19781341",
    "+86 158 3417 0001",
    "北云省云鹤市听松区碧月街道霁渡社区霁台巷178-11-3-1502",
    "12 willow street",
    "𠮷田?",
    "",
)


def compared(rows: np.ndarray, lefts: list[int], rights: list[int]) -> list[int]:
    out = np.empty(len(lefts), np.uint64)
    native.compare(SCHEMA.layout, rows, rows, np.array(lefts, np.uint32), np.array(rights, np.uint32), out)
    return out.tolist()


def check(data: bytes) -> bool:
    """One input, as texts and as rows."""
    texts = data.decode("utf-8", "replace").split("\x1f")
    values = tuple(texts[place % len(texts)] for place in range(len(SCHEMA.fields)))
    table = pa.table({field.name: [value] for field, value in zip(SCHEMA.fields, values, strict=True)})
    packed = SCHEMA.pack_one(values)
    if bytes(SCHEMA.pack(table)[0]) != packed:
        raise AssertionError(f"packed otherwise by column, input {data.hex()}")
    raw = (data * (3 * STRIDE // max(1, len(data)) + 1))[: 3 * STRIDE] if data else bytes(3 * STRIDE)
    rows = np.frombuffer(packed + raw, np.uint8).reshape(4, STRIDE).copy()
    pairs = list(itertools.product(range(4), repeat=2))
    lefts, rights = [i for i, _ in pairs], [k for _, k in pairs]
    if compared(rows, lefts, rights) != compared(rows, rights, lefts):
        raise AssertionError(f"compared otherwise the other way round, input {data.hex()}")
    native.Index(PLAN, rows, 64).find(rows, 0, 1, 4, np.zeros((16, 16), np.float32), 0.0, True)
    for place in range(len(SCHEMA.fields)):
        count_rarity(SCHEMA.layout, place, [rows])
    return any(values)


def draw_input(draw: random.Random) -> bytes:
    """Some texts, seldom whole; sometimes bytes."""
    if draw.random() < 0.3:
        return draw.randbytes(draw.randint(0, 2 * STRIDE))
    texts = bytearray("\x1f".join(draw.choices(SEEDS, k=draw.randint(1, 11))).encode())
    for _ in range(draw.randint(0, 3)):
        texts[draw.randrange(len(texts) + 1) : draw.randrange(len(texts) + 1)] = draw.randbytes(draw.randint(0, 3))
    return bytes(texts)


if __name__ == "__main__":
    driver.main(__doc__, check, draw_input)
