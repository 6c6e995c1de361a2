"""Legal persons of a block: companies, shops and branches, with their codes, names in pieces, addresses and representatives.

A name is kept in pieces (where, brand, trade, legal form, branch): what goes wrong with names of companies is that a piece is
left out, put elsewhere or written in its other form. What must not go in here: what other departments hold (legal_observed.py).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from broker.demo import people
from broker.demo.synthetic import columns, names, places
from broker.demo.synthetic.columns import Characters
from broker.demo.synthetic.draws import Codes, Draws, Flags, Ints, weighted
from broker.demo.synthetic.households import TODAY, YEAR, years_of
from broker.demo.synthetic.numbers import BLOCKS_OF_CITY, Bytes, digits, district_of
from broker.demo.synthetic.settings import ERRORS, SEVERAL, Error, check_rates, check_setting

COMPANIES = 25_000  # a block
MOST_COMPANIES = 60_000_000  # what there are organisation codes for
PRESENT = -1
STATUSES = ("ACTIVE", "CANCELLED")
WHERE, BRAND, INSERT, TRADE, FORM, BRANCH = range(6)  # pieces of a name, in their order; INSERT is a place in brackets
_PIECES = 6

_BRAND_CHARACTERS = people.BRAND + "信达康安华新天宇金丰源盈宏兴利德昌顺通正万佳美福荣永恩展凯越迪创优诚"
_MORE_TRADES = (
    "网络科技 电子商务 教育咨询 广告 装饰工程 汽车销售 服装 食品 酒店管理 房地产开发 投资管理 环保科技 生物科技 电器 化工 纺织 "
    "印刷 包装材料 园林绿化 劳务 旅行社 健康管理 供应链管理 新能源 智能装备 水产养殖 百货"
)
_TRADES = (*people.TRADE, *_MORE_TRADES.split())
# By code; a form and its other way of being written stand side by side, and the shops at the end have none.
FORMS = ("", "有限公司", "有限责任公司", "股份有限公司", "股份公司", "集团有限公司", "（集团）有限公司", "经营部", "商行")
_FORM_SHARES = (70, 6, 2, 0.5, 2, 1, 10, 8.5)
OTHER_FORM = np.array([0, 2, 1, 4, 3, 6, 5, 7, 8])
_FIRST_SHOP = FORMS.index("经营部")
_BRANCHES = ("", "第一分公司", "第二分公司", "第三分公司", "分公司", "{district}分公司")
_WHERES = ("", "{city}", "{city}市", "{province}", "{city}市{district}")
WHERES = len(_WHERES)
_WHERE_SHARES = (0.1, 25, 50, 10, 15)
_INSERTS = ("", "（{city}）", "({city})")
_INSERTED, _BRANCH_SHARE = 0.08, 0.06
_HEAD_OFFICES = 0.77  # share of legal persons that are neither branch nor shop, nearly
_CODE_STEP, _CODES = 61_803_399, 100_000_000
_CODES_OF_BLOCK = 1 << 15

LEGAL_ERRORS: Mapping[str, Error] = MappingProxyType(
    {
        "code_digit": Error("uscc", 0.006),
        "code_transposed": Error("uscc", 0.003),
        "code_lower": Error("uscc", 0.01),
        "code_organisation": Error("uscc", 0.03),
        "code_missing": Error("uscc", 0.06),
        "company_form": Error("name", 0.03),
        "company_short": Error("name", 0.02),
        "company_place": Error("name", 0.04),
        "company_brackets": Error("name", 0.1, seldom=True),
        "company_homophone": Error("name", 0.01),
        "moved": Error("address", 0.12),
        "address_written": ERRORS["address_written"],
        "representative_changed": Error("representative", 0.08),
    }
)
LEGAL_RATES = MappingProxyType({name: error.rate for name, error in LEGAL_ERRORS.items()} | {SEVERAL: 0.03})
LEGAL_ABSENT = MappingProxyType({"absent": 0.03, "absent_branch": 0.01, "absent_namesake": 0.005})


@dataclass(frozen=True)
class LegalSettings:
    """All that a register of legal persons depends on; the fields mean what they mean in `Settings`.

    Raises:
        ValueError: a value is out of its range, or a rate is not one of an error there is; names the setting.
    """

    companies: int
    seed: int = 20180501
    coverage: float = 0.6
    errors: Mapping[str, float] = field(default_factory=lambda: LEGAL_RATES)
    absent: Mapping[str, float] = field(default_factory=lambda: LEGAL_ABSENT)

    def __post_init__(self) -> None:
        check_setting("companies", 1 <= self.companies <= MOST_COMPANIES)
        check_setting("seed", 0 <= self.seed < 1 << 64)
        check_setting("coverage", 0 <= self.coverage <= 1)
        check_rates("errors", self.errors, LEGAL_RATES, 1.0)
        check_rates("absent", self.absent, LEGAL_ABSENT, 0.5)


@dataclass(frozen=True)
class Companies:
    """One entry a legal person, in every column.

    place is the order in which they come into a register, pieces are codes of the parts of the name (rows x 6, those of the
    brand being rows of `LegalWorld.brands`), absent is PRESENT or an index of the classes of `LEGAL_ABSENT`.
    """

    place: Ints
    pieces: Codes
    dwelling: Codes
    representative: Characters
    established: Ints
    absent: Codes

    def taken(self, rows: Any) -> Companies:
        """Take some of them."""
        return Companies(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def joined(cls, groups: list[Companies]) -> Companies:
        """Put groups one behind the other."""
        return cls(*(np.concatenate([getattr(group, column.name) for group in groups]) for column in fields(cls)))


class LegalWorld:
    """A block: its legal persons, the present and the absent, with their codes."""

    def __init__(self, settings: LegalSettings, block: int) -> None:
        draws = Draws(settings.seed, block, "legal")
        self.block, self.city, self.district = block, block // BLOCKS_OF_CITY, district_of(block)
        own = self._settled(settings, draws)
        self.companies = Companies.joined([own, *_unlike(settings, block, own)])
        count = len(self.companies.place)
        self.numbers = (block << 20) + np.arange(count)
        self.codes = uscc_codes(places.division(self.city, self.district), self._serials(count), self._is_shop())
        self.status = draws.chance(0.12, count).astype(np.int64)

    def _settled(self, settings: LegalSettings, draws: Draws) -> Companies:
        count = COMPANIES
        characters = np.array([*map(ord, _BRAND_CHARACTERS)], dtype=np.uint32)
        brands = characters[draws.below(len(characters), count * 3).reshape(count, 3)]
        brands[draws.chance(0.7, count), 2] = 0
        self.brands = columns.spelled(brands)
        pieces = np.zeros((count, _PIECES), dtype=np.int64)
        pieces[:, WHERE] = draws.pick(weighted(_WHERE_SHARES), count)
        pieces[:, BRAND], pieces[:, TRADE] = np.arange(count), draws.below(len(_TRADES), count)
        inserted = draws.chance(_INSERTED, count)
        pieces[inserted, WHERE], pieces[inserted, INSERT] = 0, 1
        pieces[:, FORM] = 1 + draws.pick(weighted(_FORM_SHARES), count)
        branch = draws.chance(_BRANCH_SHARE, count) & (pieces[:, FORM] < _FIRST_SHOP)
        branch[0] = False
        pieces[branch] = pieces[np.flatnonzero(branch) - 1]  # of the company before it
        pieces[branch, FORM] = np.minimum(pieces[branch, FORM], _FIRST_SHOP - 1)
        pieces[branch, BRANCH] = (1 + draws.below(len(_BRANCHES) - 1, count))[branch]
        share = settings.absent.get("absent", 0.0) * settings.coverage / (1 - sum(settings.absent.values()))
        absent = np.where(draws.chance(share / (1 + share), count), 0, PRESENT)
        homes = places.dwellings(draws, np.full(count, self.district, dtype=np.int64))
        days = TODAY - draws.between(30, int(30 * YEAR), count)
        return Companies(np.arange(count), pieces, homes, representatives(draws, count), days, absent)

    def _serials(self, count: int) -> Ints:
        return (self.block * _CODES_OF_BLOCK + np.arange(count)) % _CODES * _CODE_STEP % _CODES

    def _is_shop(self) -> Flags:
        return np.asarray(self.companies.pieces[:, FORM] >= _FIRST_SHOP, dtype=np.bool_)

    def names(self, pieces: Codes, brands: pa.Array | None = None) -> pa.Array:
        """Put names together, with the block's brands or others."""
        own = pc.take(self.brands, pa.array(pieces[:, BRAND])) if brands is None else brands
        tables = {WHERE: _WHERES, INSERT: _INSERTS, TRADE: _TRADES, FORM: FORMS, BRANCH: _BRANCHES}
        here = places.names_of(self.city, self.district)
        parts = [
            own if piece == BRAND else columns.words([text.format_map(here) for text in tables[piece]], pieces[:, piece])
            for piece in range(_PIECES)
        ]
        return pc.binary_join_element_wise(*parts, "")

    def up_to(self, present: int) -> Flags:
        """Say who is in a register that ends after so many of the present, in the order of their places."""
        own = self.companies.place[self.companies.absent == PRESENT]
        limit = np.sort(own)[present] if present < len(own) else COMPANIES
        return np.asarray(self.companies.place < limit, dtype=np.bool_)


def representatives(draws: Draws, count: int) -> Characters:
    """Draw the names of those who represent companies: grown-ups of either sex."""
    birth = TODAY - draws.between(int(25 * YEAR), int(70 * YEAR), count)
    given = names.given_names(draws, years_of(birth), draws.chance(0.65, count).astype(np.int8))
    return names.with_surname(names.surnames(draws, count), given)


def _unlike(settings: LegalSettings, block: int, own: Companies) -> list[Companies]:
    """Make those who are taken for somebody present: branches nobody registered, and the same brand in another trade."""
    found = []
    share = settings.coverage / (1 - sum(settings.absent.values())) / _HEAD_OFFICES
    head_offices = (own.pieces[:, BRANCH] == 0) & (own.pieces[:, FORM] < _FIRST_SHOP)
    for kind, piece, size in (("absent_branch", BRANCH, len(_BRANCHES)), ("absent_namesake", TRADE, len(_TRADES))):
        draws = Draws(settings.seed, block, kind)
        chosen = (own.absent == PRESENT) & head_offices & draws.chance(settings.absent.get(kind, 0.0) * share, COMPANIES)
        like = own.taken(chosen)
        count = len(like.place)
        like.pieces[:, piece] = (like.pieces[:, piece] + 1 + draws.below(size - 1, count)) % size
        homes = places.dwellings(draws, np.full(count, district_of(block), dtype=np.int64))
        absent = np.full(count, list(LEGAL_ABSENT).index(kind))
        days = TODAY - draws.between(30, int(20 * YEAR), count)
        found.append(Companies(like.place, like.pieces, homes, representatives(draws, count), days, absent))
    return found


@functools.cache
def _alphabet() -> Bytes:
    return np.frombuffer(people.USCC_ALPHABET.encode(), dtype=np.uint8)


@functools.cache
def _values() -> Codes:
    values = np.zeros(128, dtype=np.int64)
    values[_alphabet()] = np.arange(len(_alphabet()))
    return values


def uscc_codes(division: str, serials: Ints, shops: Flags) -> Bytes:
    """Compose codes after GB 32100: 91 (92 for shops), division, organisation code with its own check (GB 11714), MOD 31 check.

    Rows x 18 of ASCII.
    """
    found = np.empty((len(serials), 18), dtype=np.uint8)
    found[:, 0], found[:, 1] = ord("9"), np.where(shops, ord("2"), ord("1"))
    found[:, 2:8] = np.frombuffer(division.encode(), dtype=np.uint8)
    found[:, 8:16] = digits(serials, 8)
    sums = (found[:, 8:16].astype(np.int64) - ord("0")) @ np.array(people.ORGANISATION_WEIGHTS)
    found[:, 16] = np.frombuffer(b"0123456789X", dtype=np.uint8)[-sums % 11]
    found[:, 17] = _alphabet()[-(_values()[found[:, :17]] @ np.array(people.USCC_WEIGHTS)) % 31]
    return found
