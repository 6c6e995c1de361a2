"""Cities that do not exist, the dwellings in them, and the ways in which an address is written.

A dwelling is a row of seven codes, so that millions are drawn and moved without a text; a text is put together from tables of
pieces, one for each way of writing it. Cities differ by their names and division codes and are otherwise alike. What must not
go in here: who lives where.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from broker.demo import people
from broker.demo.synthetic.draws import Codes, Draws

DISTRICTS = 8  # a city
CITIES = 90
_COMMUNITIES = 80  # a district: ten streets (towns) of eight communities (villages)
_ROADS, _GROUPS = 40, 12
NOWHERE = -1

COMMUNITY, ROAD, NUMBER, BUILDING, UNIT, ROOM, INSTITUTION = range(7)
_WIDTH = 7

_PROVINCES = ("北云省", "南云省", "东汀省", "西汀省", "云中省", "鹤北省", "鹤南省", "芦东省", "松江口省")
_FIRST = "松鹤云芦汀揽枕听衔梧踏回望栖沐霁晴清澄澜碧翠丹枫"
_SECOND = "涛鸣溪影月星霞雨波声雪雁桥渡湾塘坪岭泉津浦园台坊"
_ROAD_KINDS = ("路", "街", "大道", "巷", "东路", "西街", "一路", "二路")
_INSTITUTIONS = ("", "颐养院", "福利院", "职业学院学生公寓", "第一中学宿舍", "电子厂职工宿舍", "建筑工地项目部")
_CARE_HOMES, _DORMITORIES = (1, 2), (3, 6)
_COUNTIES_FROM = 6  # districts of a city from this one on are counties
_RURAL = (0.08, 0.7)  # share of dwellings of a district, of a county
_COURTYARDS = 0.12
_DIGITS = "零一二三四五六七八九"
_WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
_FLOORS, _FLATS = 33, 4


class Style(NamedTuple):
    """One way of writing an address: which of the tables of every piece is used."""

    prefix: int = 0
    number: int = 0
    building: int = 0
    unit: int = 0
    room: int = 0


# The first is the register's; each of the others changes a piece that every address has.
STYLES: tuple[Style, ...] = (
    Style(),
    Style(prefix=1),
    Style(prefix=2),
    Style(prefix=3),
    Style(prefix=4),
    Style(prefix=5),
    Style(prefix=6),
    Style(prefix=2, building=1, unit=1, room=1),
    Style(prefix=4, building=2, unit=2, room=1),
    Style(prefix=3, number=1, building=4, unit=4, room=4),
    Style(number=2, building=3, unit=3),
    Style(prefix=1, number=1, building=1, room=2),
    Style(prefix=4, number=3, building=5, unit=5, room=1),
    Style(prefix=6, number=3, building=5, unit=5, room=1),
    Style(prefix=7, number=2),
    Style(prefix=7, building=1, room=2),
)


def chinese(number: int) -> str:
    """Write a number below 10,000 in Chinese numerals, as in 二百零五."""
    text, gap = "", False
    for unit, size in (("千", 1000), ("百", 100), ("十", 10), ("", 1)):
        digit = number // size % 10
        if digit:
            text += ("零" if gap and text else "") + _DIGITS[digit] + unit
        gap = not digit
    return text.removeprefix("一") if text.startswith("一十") else text or "零"


def _forms(count: int, *patterns: str) -> list[str]:
    """Write 0 (nothing), 1, 2, … count by every pattern, one table after the other."""
    return [text for pattern in patterns for text in ("", *(_form(pattern, number) for number in range(1, count + 1)))]


def _form(pattern: str, number: int) -> str:
    return pattern.format(n=number, wide=str(number).translate(_WIDE), zh=chinese(number))


@functools.cache
def _numbers() -> pa.Array:
    return pa.array(_forms(999, "{n}号", "{wide}号", "{zh}号", "{n}-"))


@functools.cache
def _buildings() -> pa.Array:
    return pa.array(_forms(60, "{n}栋", "{n}号楼", "{n}幢", "{zh}栋", "{wide}栋", "{n}-"))


@functools.cache
def _units() -> pa.Array:
    return pa.array(_forms(8, "{n}单元", "{n}门", "", "{zh}单元", "{wide}单元", "{n}-"))


@functools.cache
def _rooms() -> pa.Array:
    rooms = [floor * 100 + flat for floor in range(1, _FLOORS + 1) for flat in range(1, _FLATS + 1)]
    return pa.array([t for p in ("{n}室", "{n}", "{n}号", "{zh}室", "{wide}室") for t in ("", *(_form(p, r) for r in rooms))])


def division(city: int, district: int) -> str:
    """Give the code of a district of a city: 99 (never assigned), the city, the district (01…) or county (21…)."""
    return f"99{city + 1:02d}{district + 1 if district < _COUNTIES_FROM else district + 21 - _COUNTIES_FROM:02d}"


def _city_name(city: int) -> str:
    return people.CITY.removesuffix("市") if city == 0 else _FIRST[city % 24] + _SECOND[(city // 24 * 7 + city) % 24]


def _district_name(city: int, district: int) -> str:
    known = people.DISTRICTS.get(division(city, district))
    kind = "区" if district < _COUNTIES_FROM else "县"
    return known or _FIRST[(city * 5 + district * 3) % 24] + _SECOND[(city + district * 5 + 1) % 24] + kind


def names_of(city: int, district: int) -> dict[str, str]:
    """Name a province, city (without its 市) and district."""
    return {"province": _PROVINCES[city // 10], "city": _city_name(city), "district": _district_name(city, district)}


def _community(city: int, district: int, code: int) -> tuple[str, str, str, str, str]:
    """Name province, city, district, street and community."""
    county, start = district >= _COUNTIES_FROM, city * 31 + district * 11
    street = _FIRST[(start + code // 8 * 5) % 24] + _SECOND[(start + code // 8 * 7) % 24] + ("镇" if county else "街道")
    place = _FIRST[(start + code * 7 + 3) % 24] + _SECOND[(start + code * 11 + code // 24) % 24] + ("村" if county else "社区")
    return _PROVINCES[city // 10], _city_name(city) + "市", _district_name(city, district), street, place


_PREFIXES = (  # by Style.prefix
    "{0}{1}{2}{3}{4}",
    "{1}{2}{3}{4}",
    "{2}{3}{4}",
    "{0}{1}{2}{4}",
    "{1}{2}",
    "{1}{2}{3}（{4}）",
    "{0} {1} {2} {3} {4} ",
    "{5}{6}{3}{4}",
)


class City:
    """The pieces of the addresses of one city."""

    def __init__(self, city: int) -> None:
        self.divisions = [division(city, district) for district in range(DISTRICTS)]
        places = [_community(city, district, code) for district in range(DISTRICTS) for code in range(_COMMUNITIES)]
        self._prefixes = pa.array([p.format(*own, own[1][:-1], own[2][:-1]) for p in _PREFIXES for own in places])
        words = [_FIRST[(city + n * 5) % 24] + _SECOND[(city * 3 + n * 7 + n // 24) % 24] for n in range(DISTRICTS * _ROADS)]
        roads = [word + _ROAD_KINDS[n % 8] for n, word in enumerate(words)]
        self._roads = pa.array([*roads, *(f"{group}组" for group in range(1, _GROUPS + 1)), ""])

    def addresses(self, dwellings: Codes, styles: Codes | None = None) -> pa.Array:
        """Write the addresses of dwellings (rows x 7 codes), as the register does or each in its style (`STYLES`)."""
        chosen = _STYLES[np.zeros(len(dwellings), dtype=np.int64) if styles is None else styles]
        tables = (self._prefixes, self._roads, _numbers(), _buildings(), _units(), _rooms(), pa.array(_INSTITUTIONS))
        sizes = (DISTRICTS * _COMMUNITIES, 0, 1000, 61, 9, _FLOORS * _FLATS + 1, 0)
        pieces = [
            pc.take(table, pa.array(dwellings[:, column] + size * style))
            for column, (table, size, style) in enumerate(zip(tables, sizes, chosen.T, strict=True))
        ]
        return pc.binary_join_element_wise(*pieces, "")


_STYLES = np.array([(s.prefix, 0, s.number, s.building, s.unit, s.room, 0) for s in STYLES], dtype=np.int64)


@functools.lru_cache(maxsize=2)
def city_of(city: int) -> City:
    """Give a city; blocks of people come city by city, so a few are kept."""
    return City(city)


def dwellings(draws: Draws, districts: Codes) -> Codes:
    """Draw where to live in districts (indexes in the city): flats, courtyards and villages, rows x 7 codes."""
    count = len(districts)
    found = np.zeros((count, _WIDTH), dtype=np.int64)
    found[:, COMMUNITY] = districts * _COMMUNITIES + draws.below(_COMMUNITIES, count)
    found[:, ROAD] = districts * _ROADS + draws.below(_ROADS, count)
    found[:, NUMBER] = draws.between(1, 400, count)
    for column, most in ((BUILDING, 24), (UNIT, 4), (ROOM, _FLOORS * _FLATS)):
        found[:, column] = draws.between(1, most, count)
    found[draws.chance(_COURTYARDS, count), BUILDING:INSTITUTION] = 0
    rural = draws.chance(np.where(districts >= _COUNTIES_FROM, _RURAL[1], _RURAL[0]), count)
    found[rural, BUILDING:INSTITUTION] = 0
    found[rural, ROAD] = (DISTRICTS * _ROADS + draws.below(_GROUPS, count))[rural]
    return found


def institutions(draws: Draws, districts: Codes, care: Codes) -> Codes:
    """Draw care homes (where `care`) and dormitories: one address for everybody in them."""
    count = len(districts)
    found = dwellings(draws, districts)
    found[:, ROAD] = districts * _ROADS + draws.below(_ROADS, count)
    found[:, BUILDING:INSTITUTION] = 0
    homes, dormitories = (draws.between(*kinds, count) for kinds in (_CARE_HOMES, _DORMITORIES))
    found[:, INSTITUTION] = np.where(care, homes, dormitories)
    return found
