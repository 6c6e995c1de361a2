"""Texts of many alphabets for tests of `broker.matching`, and what RapidFuzz says of them.

What must not go in here: assertions about one behaviour.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Jaro, JaroWinkler, Levenshtein

from broker import matching

ORACLES: dict[matching.Scorer, Any] = {
    matching.jaro: Jaro,
    matching.jaro_winkler: JaroWinkler,
    matching.levenshtein: Levenshtein,
}

# Small alphabets give many matches, large ones few; the sizes at which paths part are 63 symbols and 16 bits.
ALPHABETS: dict[str, str] = {
    "two letters": "ab",
    "Latin": "abcdefghijklmnopqrstuvwxyz ",
    "63 letters": "".join(map(chr, range(0x41, 0x41 + 63))),
    "64 letters": "".join(map(chr, range(0x41, 0x41 + 64))),
    "accents": "aàáâbcçdeèéê",
    "Chinese": "王李张刘陈杨黄赵吴周伟芳娜秀英敏静丽强磊军洋勇艳杰",
    "many Chinese": "".join(map(chr, range(0x4E00, 0x4E00 + 2000))),
    "beyond the BMP": "𠮷𡈽𡌛𣑊𤋮𪚥a王",
    "ends of Unicode": "\x00\x01\x7f\x80\xff\u0100\ud800\udfff\uffff\U00010000\U0010ffff",
}
# Lengths around those at which lanes grow, and a word ends.
EDGES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 127, 128, 129, 200)


def draw_text(draw: random.Random, alphabet: str, length: int) -> str:
    return "".join(draw.choices(alphabet, k=length))


def with_typos(draw: random.Random, text: str, alphabet: str) -> str:
    """Some characters replaced, dropped, doubled or swapped; sometimes none."""
    changed = list(text)
    for _ in range(draw.randint(0, 3)):
        at = draw.randint(0, len(changed))
        match draw.randrange(4):
            case 0:
                changed[at : at + 1] = draw.choice(alphabet)
            case 1:
                del changed[at : at + 1]
            case 2:
                changed[at:at] = draw.choice(alphabet)
            case _:
                changed[at : at + 2] = reversed(changed[at : at + 2])
    return "".join(changed)


def draw_texts(draw: random.Random, alphabet: str, count: int, length: Callable[[], int]) -> list[str]:
    return [draw_text(draw, alphabet, length()) for _ in range(count)]


def draw_sides(
    draw: random.Random, alphabet: str, queries: int, choices: int, length: Callable[[], int]
) -> tuple[list[str], list[str]]:
    """Queries and choices, of which half are queries with typos."""
    asked = draw_texts(draw, alphabet, queries, length)
    offered = draw_texts(draw, alphabet, choices - choices // 2, length)
    offered += [with_typos(draw, draw.choice(asked), alphabet) for _ in range(choices // 2)]
    draw.shuffle(offered)
    return asked, offered


def _score(scorer: matching.Scorer) -> tuple[Callable[..., Any], Any]:
    oracle = ORACLES[scorer]
    return (oracle.distance, np.uint32) if scorer.counts_edits else (oracle.similarity, np.float32)


def expected(queries: Sequence[str], choices: Sequence[str], scorer: matching.Scorer) -> matching.distances.Matrix:
    """What RapidFuzz says of all with all."""
    score, dtype = _score(scorer)
    return process.cdist(queries, choices, scorer=score, dtype=dtype, workers=1)


def expected_by_position(queries: Sequence[str], choices: Sequence[str], scorer: matching.Scorer) -> matching.distances.Matrix:
    score, dtype = _score(scorer)
    return process.cpdist(queries, choices, scorer=score, dtype=dtype, workers=1)
