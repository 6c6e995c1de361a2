"""Invented people and bodies: numbers, names and addresses that look right and belong to nobody. Pure and seeded.

No value can be a real person's: numbers carry a division code that GB/T 2260 never assigned (99….), with right check digits;
mobile numbers begin with 154, which no operator was given; the city and its streets do not exist. What must not go in here:
tables, files, and what the people own (holdings.py).
"""

from __future__ import annotations

import datetime as dt
import functools
import random
from collections.abc import Sequence
from operator import mul
from typing import Any, TypeVar

T = TypeVar("T")

_SLOTS = 4096
_SHORT_SPAN = 8192  # 16 bits are enough up to here

CITY = "云鹤市"
PROVINCE = "北云省"
AS_OF = dt.date(2026, 1, 1)  # the day on which the city stands still, so that a seed means the same city for ever
DISTRICTS = {
    "990101": "听松区",
    "990102": "云汀区",
    "990103": "望鹤区",
    "990104": "揽月区",
    "990105": "栖梧区",
    "990121": "衔芦县",
}
NOBODY = "990199"  # a division in which nobody was ever registered

SURNAMES = {  # per thousand of the population: surnames
    72: "王李",
    68: "张",
    54: "刘",
    45: "陈",
    31: "杨",
    22: "黄赵吴周",
    13: "徐孙马朱胡",
    11: "郭何林高",
    10: "罗郑梁谢宋",
    8: "唐许韩邓冯曹彭曾",
    6: "肖田董潘袁蔡蒋余",
    5: "于杜叶程魏苏吕丁",
    4: "任卢姚沈钟姜崔谭陆汪范石廖贾",
    3: "夏韦付方邹熊白孟秦邱侯江尹薛闫",
    2: "雷龙黎史贺陶顾毛郝龚邵万覃武钱戴严莫孔向汤",
}
DOUBLE_SURNAMES = ("欧阳", "上官", "司马", "诸葛", "尉迟", "皇甫")
_MALE = "伟强磊军勇涛超明刚平辉鹏华飞斌波宇浩凯健俊帆峰杰翔旭宁龙林东海志国建文博泽晨阳子轩梓睿昊然天佑铭城"
_FEMALE = "芳娜敏静丽艳娟霞秀燕玲桂英梅兰红玉萍洁雪琳晶慧莹颖倩婷欣怡佳悦诗涵雨萱梓琪思彤月瑶语嫣心妍可馨若溪"
_RARE = "喆堃龑䶮昪璟翀骉犇淼\U0002c029\U00020164㛃"  # outside everyday fonts and, for two, outside the basic plane
_MINORITY_OWN = ("阿卜杜拉", "古丽娜尔", "买买提", "阿依古丽", "巴图", "其其格", "吾守尔", "热依汗", "艾力", "萨仁")
_MINORITY_FATHER = ("艾合买提", "吐尔逊", "库尔班", "额尔德尼", "依明", "牙生", "玉素甫", "苏和")
_STREET_FIRST = ("松涛", "鹤鸣", "云溪", "芦影", "望汀", "揽星", "枕霞", "听雨", "衔波", "梧声", "踏雪", "回雁")
_STREET_KIND = ("街", "路", "大道", "巷")
BRAND = "云鹤松汀芦溪瑞恒嘉禾启明泰和晟隆鼎盛远航博雅"
TRADE = ("餐饮", "商贸", "建材", "物流", "信息技术", "农业科技", "医药", "文化传媒", "机械制造", "家政服务")

_GIVEN_NAMES = 8192  # in a pool from which a city's are drawn: nearly every pair of characters
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
ID_CHECKS = "10X98765432"
USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_VALUES = {character: value for value, character in enumerate(USCC_ALPHABET)}
USCC_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)

STREETS: tuple[str, ...] = tuple(first + kind for first in _STREET_FIRST for kind in _STREET_KIND)


class Draw(random.Random):
    """Seeded draws by the column, which is many times faster than by the row."""

    def pick(self, options: Sequence[T], count: int) -> list[T]:
        """Draw from options that are (nearly) equally likely."""
        span = len(options)
        if span > _SHORT_SPAN:
            return [options[lot * span >> 32] for lot in memoryview(self.randbytes(4 * count)).cast("I")]
        return [options[lot * span >> 16] for lot in self._lots(count)]

    def _lots(self, count: int) -> memoryview[int]:
        """Draw 16 bits each: products with a short span stay small integers, which Python is fast with."""
        return memoryview(self.randbytes(2 * count)).cast("H")

    def weighted(self, options: dict[T, float], count: int) -> list[T]:
        """Draw from options with weights, to a precision of a part in 4,096; none is left out."""
        share = _SLOTS / sum(options.values())
        return self.pick([o for o, weight in options.items() for _ in range(max(1, round(weight * share)))], count)

    def numbers(self, low: int, high: int, count: int) -> list[int]:
        """Draw whole numbers from low up to, not with, high."""
        return self.pick(range(low, high), count)

    def days(self, first: str, last: str, count: int) -> list[str]:
        """Draw ISO dates, both ends included."""
        return self.pick(_calendar(first, last), count)

    def share(self, rows: Sequence[T], ratio: float) -> list[T]:
        """Choose about a share of the rows, at least one, in their order."""
        limit = int(ratio * 65536)
        return [row for row, lot in zip(rows, self._lots(len(rows)), strict=True) if lot < limit] or list(rows[:1])


@functools.cache
def _calendar(first: str, last: str) -> tuple[str, ...]:
    start, stop = dt.date.fromisoformat(first).toordinal(), dt.date.fromisoformat(last).toordinal()
    return tuple(dt.date.fromordinal(day).isoformat() for day in range(start, stop + 1))


def serials(form: str, count: int) -> list[str]:
    """Number papers one after the other, e.g. ``NB{:08d}``."""
    return [form.format(number) for number in range(1, count + 1)]


def resident_id(division: str, birth: str, serial: int) -> str:
    """Compose a number after GB 11643: division, birth date, serial (odd for men), ISO 7064 MOD 11-2 check character."""
    day, tail = birth.replace("-", ""), f"{serial:03d}"
    total = _id_sum(division, 0) + _id_sum(day, 6) + _id_sum(tail, 14)
    return f"{division}{day}{tail}{ID_CHECKS[total % 11]}"


@functools.cache
def _id_sum(digits: str, start: int) -> int:
    """Weigh some digits of a number; few different parts make up all the numbers of a city."""
    return sum(map(mul, map(int, digits), ID_WEIGHTS[start:]))


def uscc(kind: str, division: str, serial: int) -> str:
    """Compose a code after GB 32100: body, division, organisation code with its own check (GB 11714), MOD 31 check."""
    organisation = f"{serial:08d}"
    rest = (11 - sum(map(mul, map(int, organisation), ORGANISATION_WEIGHTS)) % 11) % 11
    code = f"{kind}{division}{organisation}{'X' if rest == 10 else rest}"
    total = sum(_USCC_VALUES[c] * w for c, w in zip(code, USCC_WEIGHTS, strict=True))
    return code + USCC_ALPHABET[-total % 31]


def surnames(draw: Draw, count: int) -> list[str]:
    """Draw surnames as common as they are in China, a few of two characters."""
    table: dict[str, float] = {name: weight for weight, names in SURNAMES.items() for name in names}
    return draw.weighted(table | dict.fromkeys(DOUBLE_SURNAMES, 0.5), count)


def given_names(draw: Draw, count: int) -> dict[str, list[str]]:
    """Draw given names for each sex: one or two characters, about one in 300 with a rare one."""
    pools = {sex: _given_names(draw, characters) for sex, characters in (("男", _MALE), ("女", _FEMALE))}
    return {sex: draw.pick(pool, count) for sex, pool in pools.items()}


def _given_names(draw: Draw, characters: str) -> list[str]:
    first, second = draw.pick(characters, _GIVEN_NAMES), draw.pick(characters, _GIVEN_NAMES)
    one = draw.pick(_RARE, _GIVEN_NAMES)
    forms = draw.weighted({"two": 84, "one": 15.7, "rare": 0.3}, _GIVEN_NAMES)
    names = {"two": "{0}{1}", "one": "{0}", "rare": "{2}"}
    return [names[form].format(*parts) for form, *parts in zip(forms, first, second, one, strict=True)]


def minority_names(draw: Draw, count: int) -> list[str]:
    """Draw transliterated names of two parts with a middle dot."""
    own, father = draw.pick(_MINORITY_OWN, count), draw.pick(_MINORITY_FATHER, count)
    return [f"{a}·{b}" for a, b in zip(own, father, strict=True)]


def phones(draw: Draw, count: int) -> list[str]:
    """Draw mobile numbers of a range that was never assigned."""
    return [f"154{number:08d}" for number in draw.numbers(0, 100_000_000, count)]


class Place:
    """Addresses of one draw: a street, a house, a flat."""

    def __init__(self, draw: Draw, count: int) -> None:
        self.divisions = draw.pick(tuple(DISTRICTS), count)
        self.streets = draw.pick(STREETS, count)
        parts: tuple[Any, ...] = (draw.numbers(1, 400, count), draw.numbers(1, 7, count), draw.numbers(101, 2804, count))
        self.addresses = [
            f"{CITY}{DISTRICTS[division]}{street}{house}号{stair}单元{flat}室"
            for division, street, house, stair, flat in zip(self.divisions, self.streets, *parts, strict=True)
        ]


def company_names(draw: Draw, count: int) -> list[str]:
    """Draw names of businesses."""
    parts = zip(draw.pick(BRAND, count), draw.pick(BRAND, count), draw.pick(TRADE, count), strict=True)
    return [f"{CITY}{a}{b}{trade}有限公司" for a, b, trade in parts]


def scopes(draw: Draw, count: int) -> list[str]:
    """Draw scopes of business."""
    return [f"{a}、{b}" for a, b in zip(draw.pick(TRADE, count), draw.pick(TRADE, count), strict=True)]
