"""Normalisation for matching: how many values a second, by columns and one by one, beside what one would use otherwise.

The anchors are what a Python program has at hand: NFKC by unicodedata, simplified by OpenCC, read by pypinyin (the latter two
where installed); no readings of addresses, and nothing at hand tells their parts. They do less than we do. What must not go in
here: matching.
"""

from __future__ import annotations

import importlib
import random
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from broker._native import normal_columns, normalise

SEED = 5
VALUES = 100_000
SLOW_VALUES = 2_000  # for anchors that take a second for that many of the others
SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐单曾仇查解"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平剛華國龍"
REGIONS = ("四川省成都市锦江区", "云鹤市", "北京市朝阳区", "廣東省深圳市南山區")
ROADS = ("人民南路四段", "听松路", "五一大道", "中关村大街")


def _name(draw: random.Random) -> str:
    return draw.choice(SURNAMES) + "".join(draw.choices(GIVEN, k=draw.randint(1, 2)))


def _address(draw: random.Random) -> str:
    inside = f"{draw.randint(1, 30)}{draw.choice(('栋', '号楼', '幢'))}{draw.randint(1, 4)}单元{draw.randint(101, 2505)}室"
    return f"{draw.choice(REGIONS)}{draw.choice(ROADS)}{draw.randint(1, 300)}号{draw.choice(('锦绣花园', ''))}{inside}"


def _texts(make: Callable[[random.Random], str]) -> list[str]:
    draw = random.Random(SEED)
    return [make(draw) for _ in range(VALUES)]


def _rate(action: Callable[[Any], object], source: Any, count: int) -> Reading:
    start = time.perf_counter()
    action(source)
    return Reading(count / (time.perf_counter() - start))


def _each(function: Callable[[str], object]) -> Callable[[Iterable[str]], None]:
    def run(texts: Iterable[str]) -> None:
        for text in texts:
            function(text)

    return run


def _contender(name: str, action: Callable[[Any], object], source: Sequence[str]) -> Contender:
    return Contender(name, lambda: _rate(action, source, len(source)))


def _installed(module: str) -> Any:
    """Return the module, or None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def _arrow(name: str, action: Callable[[Any], object], texts: list[str]) -> Iterator[Contender]:
    pyarrow = _installed("pyarrow")
    if pyarrow is None:
        return
    source = pyarrow.array(texts)
    yield Contender(name, lambda: _rate(action, source, len(texts)))


def _anchors(texts: list[str], *, readings: bool) -> Iterator[Contender]:
    yield _contender("unicodedata NFKC", _each(lambda text: unicodedata.normalize("NFKC", text)), texts)
    opencc = _installed("opencc")
    if not hasattr(opencc, "OpenCC"):
        return
    convert = opencc.OpenCC("t2s").convert
    yield _contender("NFKC, OpenCC", _each(lambda text: convert(unicodedata.normalize("NFKC", text))), texts)
    pypinyin = _installed("pypinyin")
    if not readings or pypinyin is None:
        return
    yield _contender(
        "NFKC, OpenCC, pypinyin",
        _each(lambda text: pypinyin.lazy_pinyin(convert(unicodedata.normalize("NFKC", text)))),
        texts[:SLOW_VALUES],
    )


def _checked() -> None:
    """A rate of wrong results means nothing."""
    if normalise.person_name("單雄信").text != "单雄信" or len(normalise.address("听松路十二号3幢501").parts) != 4:
        raise Wrong("normalisation does not normalise")


@contextmanager
def _open() -> Iterator[Iterable[Case]]:
    _checked()
    names, addresses = _texts(_name), _texts(_address)
    yield [
        Case(
            "names with readings",
            (
                _contender("ours, list", normal_columns.person_names, names),
                *_arrow("ours, Arrow", normal_columns.person_names, names),
                _contender("ours, one by one", _each(normalise.person_name), names),
                *_anchors(names, readings=True),
            ),
            {"names": VALUES},
        ),
        Case(
            "addresses with parts",
            (
                _contender("ours, list", normal_columns.addresses, addresses),
                *_arrow("ours, Arrow", normal_columns.addresses, addresses),
                _contender("ours, one by one", _each(normalise.address), addresses),
                *_anchors(addresses, readings=False),
            ),
            {"addresses": VALUES},
        ),
    ]


BENCHMARK = Benchmark(title="normalisation for matching", unit="values/s", higher_is_better=True, open=_open)
