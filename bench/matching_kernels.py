"""How many pairs of texts are compared a second, on every path that this processor has, and by RapidFuzz's cdist.

Each contender takes Python texts and returns a new array; on one core. What must not go in here: whether results are right
(tests/test_matching_kernels_bulk.py compares them all), but for a look at a sum, so that nobody is quick by doing nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import JaroWinkler, Levenshtein

from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from broker import matching
from broker._native import matching as native

QUERIES, CHOICES = 500, 5_000

SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗"
GIVEN = "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂华志文建国玉红春海龙飞鹏浩宇欣然子涵梓轩一诺佳怡思远嘉雨晨"
FIRST = (
    "james",
    "mary",
    "robert",
    "patricia",
    "john",
    "jennifer",
    "michael",
    "linda",
    "david",
    "elizabeth",
    "william",
    "barbara",
    "richard",
    "susan",
)
LAST = (
    "smith",
    "johnson",
    "williams",
    "brown",
    "jones",
    "garcia",
    "miller",
    "davis",
    "rodriguez",
    "martinez",
    "hernandez",
    "lopez",
    "gonzalez",
)
DISTRICTS = ("武侯区", "锦江区", "青羊区", "金牛区", "成华区", "高新区")

Compare = Callable[[], Any]


def _chinese_name(draw: random.Random) -> str:
    return draw.choice(SURNAMES) + "".join(draw.choices(GIVEN, k=draw.choice((1, 2, 2, 2, 2, 3))))


def _latin_name(draw: random.Random) -> str:
    return f"{draw.choice(FIRST)} {draw.choice(LAST)}"


def _address(draw: random.Random) -> str:
    street = "".join(draw.choices(GIVEN, k=2)) + draw.choice(("路", "街", "大道"))
    estate = draw.choice(("", "".join(draw.choices(GIVEN, k=3)) + "小区"))
    house = f"{draw.randint(1, 30)}栋{draw.randint(1, 4)}单元{draw.randint(101, 3204)}室"
    return f"四川省成都市{draw.choice(DISTRICTS)}{street}{draw.randint(1, 999)}号{estate}{house}"


SHAPES = {"Chinese names": _chinese_name, "Latin names": _latin_name, "addresses": _address}
SCORERS = {
    "Jaro-Winkler": (matching.jaro_winkler, JaroWinkler.similarity, np.float32),
    "Levenshtein": (matching.levenshtein, Levenshtein.distance, np.uint8),
}


def _on_path(path: str, queries: list[str], choices: list[str], scorer: matching.Scorer) -> Compare:
    def compare() -> Any:
        native.use(path)
        return matching.cdist(queries, choices, scorer)

    return compare


def _once(compare: Compare, total: float) -> Reading:
    start = time.process_time_ns()  # of this process: neighbours on the core are not ours
    results = compare()
    spent = time.process_time_ns() - start
    if results.sum(dtype=np.float64) != total:
        raise Wrong("the results add up to something else")
    return Reading(results.size / spent * 1e3)


def _contenders(queries: list[str], choices: list[str], scorer: str) -> Iterator[Contender]:
    own, theirs, dtype = SCORERS[scorer]

    def rapidfuzz() -> Any:
        return process.cdist(queries, choices, scorer=theirs, dtype=dtype, workers=1)

    total = rapidfuzz().sum(dtype=np.float64)
    for path in reversed(native.paths()):
        compare = _on_path(path, queries, choices, own)
        yield Contender(path, lambda compare=compare: _once(compare, total))  # type: ignore[misc]
    yield Contender("RapidFuzz", lambda: _once(rapidfuzz, total))


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    before = native.path()
    draw = random.Random(1)
    cases = []
    for shape, draw_one in SHAPES.items():
        queries, choices = [draw_one(draw) for _ in range(QUERIES)], [draw_one(draw) for _ in range(CHOICES)]
        length = round(sum(map(len, choices)) / len(choices))
        sizes = {"queries": QUERIES, "choices": CHOICES, "code points": length}
        cases += [Case(f"{scorer}, {shape}", tuple(_contenders(queries, choices, scorer)), sizes) for scorer in SCORERS]
    try:
        yield cases
    finally:
        native.use(before)


BENCHMARK = Benchmark(title="texts compared, many with many", unit="M pairs/s", higher_is_better=True, open=_open)
