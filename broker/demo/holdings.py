"""What the people of the city hold, owe and are owed: papers, insurance, homes, allowances. Pure and seeded.

Each function gives the rows of one table in the order of its columns (tables.py) and draws by the column; `HOLDINGS` says which
table is whose. What must not go in here: the people themselves (population.py) and legal persons (bodies.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from broker.demo.people import STREETS, Draw, serials
from broker.demo.population import HEAD, Person, Population, aged, births, marriages

Rows = Iterable[tuple[Any, ...]]

_PAPER: dict[str, float] = {"有效": 94, "过期": 5, "注销": 1}
_ACCOUNT: dict[str, float] = {"正常": 95, "停用": 5}
_SCHOOLS = ("云鹤市第一中学", "云鹤市第二中学", "云鹤市第三中学", "云鹤市松涛小学", "云鹤市云溪小学", "云鹤市望汀小学")
_UNIVERSITIES = ("云鹤大学", "北云师范大学", "北云理工大学", "汀浦医科大学", "云鹤职业技术学院")
_EMPLOYERS = ("云鹤松汀建材有限公司", "云鹤瑞恒商贸有限公司", "云鹤市第一医院", "云鹤芦溪餐饮有限公司", "云鹤市供水集团")
_VILLAGES = ("上芦村", "下芦村", "听雨村", "回雁村", "梧声村")


def rows(*columns: Iterable[Any]) -> Rows:
    """Put columns side by side."""
    return zip(*columns, strict=True)


class Groups:
    """The people by what they can have."""

    def __init__(self, population: Population) -> None:
        persons = population.persons
        self.everyone = persons
        self.homes = population.homes
        self.living = [p for p in persons if p.status == "VALID"]
        self.dead = [p for p in persons if p.status == "DECEASED"]
        self.adults = aged(self.living, 18)
        self.minors = aged(self.living, 0, 18)
        self.pupils = aged(self.living, 6, 22)
        self.workers = aged(self.living, 18, 60)
        self.seniors = aged(self.living, 65)
        self.heads = [p for p in persons if p.household_role == HEAD]


def _ids(persons: list[Person]) -> list[str]:
    return [person.resident_id for person in persons]


def _named(persons: list[Person]) -> tuple[list[str], list[str]]:
    return _ids(persons), [person.name for person in persons]


def _marriages(draw: Draw, groups: Groups) -> Rows:
    return marriages(draw, groups.homes)


def _births(draw: Draw, groups: Groups) -> Rows:
    return births(draw, groups.homes)


def _cremations(draw: Draw, groups: Groups) -> Rows:
    return rows(
        *_named(groups.dead), [p.death_date for p in groups.dead], draw.pick(("松涛殡仪馆", "云汀殡仪馆"), len(groups.dead))
    )


def _passports(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.living, 0.15)
    years = draw.numbers(2014, 2026, len(who))
    days = draw.days("2023-01-02", "2023-12-28", len(who))
    issued, until = _spans(years, days, 10)
    return rows(serials("EY{:07d}", len(who)), *_named(who), issued, until, _validity(until))


def _spans(years: list[int], days: list[str], length: int) -> tuple[list[str], list[str]]:
    """Give days of issue and the same days some years later; the days are of a year that is no leap year."""
    pairs = [(year, day[4:]) for year, day in zip(years, days, strict=True)]
    return [f"{year}{day}" for year, day in pairs], [f"{year + length}{day}" for year, day in pairs]


def _validity(until: list[str]) -> list[str]:
    return ["有效" if day >= "2026-01-01" else "过期" for day in until]


def _travel_permits(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.living, 0.1)
    until = draw.days("2024-01-01", "2035-12-28", len(who))
    return rows(serials("C{:08d}", len(who)), _ids(who), until, _validity(until))


def _drivers(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(aged(groups.adults, 18, 71), 0.3)
    n = len(who)
    classes = draw.weighted({"C1": 70, "C2": 20, "B2": 6, "A1": 4}, n)
    issued, until = _spans(draw.numbers(2016, 2026, n), draw.days("2023-01-02", "2023-12-28", n), 10)
    columns = (_ids(who), serials("9901{:08d}", n), classes, draw.numbers(0, 12, n), issued, until)
    return rows(*columns, draw.weighted(_PAPER, n))


def _vehicles(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.adults, 0.2)
    n = len(who)
    plates = [f"云Y{number:05d}" for number in range(n)]  # no province is called 云Y
    kinds = draw.weighted({"小型轿车": 80, "小型普通客车": 12, "轻型货车": 8}, n)
    registered, inspected = draw.days("2008-01-01", "2025-12-20", n), draw.days("2025-06-01", "2027-12-28", n)
    return rows(plates, _ids(who), kinds, registered, inspected, draw.weighted(_PAPER, n))


def _education(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(aged(groups.adults, 23), 0.3)
    n = len(who)
    degrees = draw.weighted({"专科": 50, "本科": 42, "硕士研究生": 7, "博士研究生": 1}, n)
    majors = draw.pick(("计算机科学与技术", "临床医学", "会计学", "土木工程", "汉语言文学", "农学", "法学"), n)
    graduated = [f"{int(p.birth_date[:4]) + 22}-06-30" for p in who]
    numbers = serials("99010{:012d}", n)
    return rows(_ids(who), numbers, [p.name for p in who], draw.pick(_UNIVERSITIES, n), degrees, majors, graduated)


def _pupils(draw: Draw, groups: Groups) -> Rows:
    who = groups.pupils
    schools = draw.pick(_SCHOOLS, len(who))
    ages = [2025 - int(p.birth_date[:4]) for p in who]
    grades = [f"{age - 5}年级" for age in ages]
    enrolled = [f"{2025 - (age - 6) % 6}-09-01" for age in ages]
    numbers = serials("G{:09d}", len(who))
    states: dict[str, float] = {"在籍": 97, "休学": 3}
    return rows(_ids(who), numbers, [p.name for p in who], schools, grades, enrolled, draw.weighted(states, len(who)))


def _qualifications(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.workers, 0.06)
    n = len(who)
    professions = draw.pick(("医师", "护士", "教师", "注册会计师", "一级建造师", "执业药师"), n)
    issued = draw.days("2012-01-01", "2025-12-20", n)
    names = [p.name for p in who]
    return rows(_ids(who), serials("ZG{:08d}", n), names, professions, issued, draw.weighted(_PAPER, n))


def _residence_permits(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.adults, 0.05)
    until = draw.days("2025-01-01", "2028-12-28", len(who))
    return rows(_ids(who), serials("JZ{:08d}", len(who)), [p.address for p in who], until, _validity(until))


def _senior_cards(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.seniors, 0.5)
    n = len(who)
    issued = draw.days("2015-01-01", "2025-12-20", n)
    return rows(_ids(who), serials("LN{:08d}", n), issued, draw.weighted(_ACCOUNT, n))


def _notarial_acts(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.adults, 0.03)
    n = len(who)
    matters = draw.pick(("继承权公证", "委托公证", "学历公证", "亲属关系公证", "赠与公证"), n)
    numbers = serials("(2025)云鹤证字第{:06d}号", n)
    states: dict[str, float] = {"有效": 98, "撤销": 2}
    issued = draw.days("2019-01-01", "2025-12-20", n)
    return rows(numbers, *_named(who), matters, issued, draw.weighted(states, n))


def _wills(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.seniors, 0.04)
    n = len(who)
    return rows(_ids(who), serials("YZ{:07d}", n), draw.days("2015-01-01", "2025-12-20", n), draw.pick(("有效", "撤回"), n))


def _insurance(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.adults, 0.6)
    n = len(who)
    retired = [p.birth_date < "1966" for p in who]
    states = ["退休" if old else "参保缴费" for old in retired]
    pension = ["正常发放" if old else "未领取" for old in retired]
    amounts = [pay if old else 0 for old, pay in zip(retired, draw.numbers(1500, 6500, n), strict=True)]
    work = draw.weighted({"就业": 92, "登记失业": 6, "未就业": 2}, n)
    months = draw.pick([f"2025{month:02d}" for month in (10, 11, 12)], n)
    return rows(_ids(who), draw.numbers(1, 420, n), states, months, draw.pick(_EMPLOYERS, n), pension, amounts, work)


def _medical(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.living, 0.6)
    n = len(who)
    schemes = draw.weighted({"城乡居民基本医疗保险": 60, "职工基本医疗保险": 40}, n)
    remote = draw.weighted({None: 90.0, "汀浦市": 6.0, "芦江市": 4.0}, n)
    return rows(_ids(who), serials("YB{:010d}", n), schemes, draw.pick(("正常参保",), n), draw.numbers(0, 20000, n), remote)


def _funds(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.workers, 0.5)
    n = len(who)
    money = (draw.numbers(200, 5000, n), draw.numbers(0, 300_000, n))
    return rows(
        _ids(who), serials("GJJ{:09d}", n), [p.name for p in who], draw.pick(_EMPLOYERS, n), *money, draw.weighted(_ACCOUNT, n)
    )


def _income_tax(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.workers, 0.5)
    n = len(who)
    income = draw.numbers(20_000, 400_000, n)
    return rows(_ids(who), draw.pick(("2024", "2025"), n), income, [amount // 25 for amount in income])


def _disability(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.living, 0.04)
    n = len(who)
    kinds = draw.pick(("肢体", "视力", "听力", "言语", "智力", "精神"), n)
    grades = draw.pick(("一级", "二级", "三级", "四级"), n)
    until = draw.days("2024-01-01", "2035-12-28", n)
    return rows(_ids(who), serials("CJ{:08d}", n), kinds, grades, until, draw.numbers(80, 400, n))


def _allowances(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.living, 0.03)
    n = len(who)
    kinds = draw.weighted({"最低生活保障": 85, "特困供养": 15}, n)
    since = draw.days("2012-01-01", "2025-12-20", n)
    homes = [p.household_no for p in who]
    return rows(_ids(who), homes, kinds, draw.numbers(300, 1200, n), since, draw.pick(("在保", "停保"), n))


def _vaccinations(draw: Draw, groups: Groups) -> Rows:
    n = len(groups.minors)
    vaccines = draw.pick(("麻腮风疫苗", "百白破疫苗", "乙肝疫苗", "脊灰疫苗"), n)
    return rows(_ids(groups.minors), vaccines, draw.numbers(1, 5, n), draw.days("2025-01-01", "2025-12-31", n))


def _elderly_allowances(draw: Draw, groups: Groups) -> Rows:
    who = aged(groups.seniors, 80)
    n = len(who)
    since = [f"{int(p.birth_date[:4]) + 80}{p.birth_date[4:]}" for p in who]
    return rows(_ids(who), draw.pick((100, 200, 300), n), since, draw.weighted(_ACCOUNT, n))


def _real_estate(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.heads, 0.7)
    n = len(who)
    registered = draw.days("2005-01-01", "2019-12-20", n)
    titles = [f"北云(2019)云鹤市不动产权第{number:07d}号" for number in range(1, n + 1)]
    banks = draw.weighted({None: 65.0, "云鹤农商银行": 20.0, "北云银行": 15.0}, n)
    mortgaged = [day if bank else None for bank, day in zip(banks, draw.days("2020-01-01", "2025-12-20", n), strict=True)]
    courts = draw.weighted({None: 98.0, "云鹤市听松区人民法院": 2.0}, n)
    seized = [day if court else None for court, day in zip(courts, draw.days("2024-01-01", "2025-12-20", n), strict=True)]
    uses = draw.weighted({"住宅": 92, "商业": 6, "办公": 2}, n)
    homes = ([p.address for p in who], draw.numbers(38, 180, n), uses, registered)
    return rows(titles, *_named(who), *homes, banks, mortgaged, courts, seized, ["查封" if c else "现势" for c in courts])


def _sale_contracts(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.heads, 0.05)
    n = len(who)
    prices, days = draw.numbers(200_000, 2_000_000, n), draw.days("2019-01-01", "2025-12-20", n)
    addresses = [p.address for p in who]
    return rows(serials("SPF{:08d}", n), *_named(who), addresses, prices, days, draw.pick(("已备案", "已撤销"), n))


def _public_housing(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.heads, 0.03)
    n = len(who)
    since, addresses = draw.days("2016-01-01", "2025-12-20", n), [p.address for p in who]
    return rows(_ids(who), serials("GZ{:07d}", n), addresses, draw.numbers(80, 500, n), since, draw.pick(("在租", "退出"), n))


def _utility_accounts(draw: Draw, groups: Groups) -> Rows:
    for prefix, utility, ratio in (("S", "供水", 0.5), ("R", "供热", 0.3), ("Q", "燃气", 0.2)):
        who = draw.share(groups.heads, ratio)
        n = len(who)
        arrears = [max(0, amount) for amount in draw.numbers(-900, 300, n)]
        homes = ([p.name for p in who], [p.address for p in who])
        numbers = serials(prefix + "{:08d}", n)
        yield from rows(numbers, [utility] * n, *homes, draw.numbers(0, 800, n), arrears, draw.weighted(_ACCOUNT, n))


def _land_contracts(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.heads, 0.2)
    n = len(who)
    return rows(_ids(who), serials("TD{:08d}", n), draw.pick(_VILLAGES, n), draw.numbers(2, 60, n), draw.numbers(20, 900, n))


def _catchments(draw: Draw, groups: Groups) -> Rows:
    return rows(STREETS, draw.pick(("听松区", "云汀区", "望鹤区"), len(STREETS)), draw.pick(_SCHOOLS, len(STREETS)))


def _credit(draw: Draw, groups: Groups) -> Rows:
    return credit_rows(draw, _ids(draw.share(groups.adults, 0.2)), "E")


def credit_rows(draw: Draw, subjects: list[str], letter: str) -> Rows:
    """List each subject as red, black or neither; a listed one has a day and a reason code with the letter."""
    n = len(subjects)
    lists = draw.weighted({"NONE": 97, "BLACK": 2, "RED": 1}, n)
    days = draw.days("2019-01-01", "2025-12-20", n)
    reasons = draw.pick([f"{letter}{number:03d}" for number in range(1, 10)], n)
    for subject, kind, day, reason in zip(subjects, lists, days, reasons, strict=True):
        yield (subject, kind, None, None) if kind == "NONE" else (subject, kind, day, reason)


def _debtors(draw: Draw, groups: Groups) -> Rows:
    who = draw.share(groups.adults, 0.01)
    n = len(who)
    duties = draw.pick(("支付货款", "偿还借款", "支付抚养费"), n)
    courts = draw.pick(("云鹤市听松区人民法院", "云鹤市云汀区人民法院"), n)
    cases = serials("(2025)北云9901执{:06d}号", n)
    return rows(*_named(who), cases, courts, draw.days("2020-01-01", "2025-12-20", n), duties)


HOLDINGS: dict[str, Callable[[Draw, Groups], Rows]] = {
    "marriage": _marriages,
    "birth": _births,
    "cremation": _cremations,
    "passport": _passports,
    "travel_permit": _travel_permits,
    "driver": _drivers,
    "vehicle": _vehicles,
    "education": _education,
    "pupil": _pupils,
    "qualification": _qualifications,
    "residence_permit": _residence_permits,
    "senior_card": _senior_cards,
    "notary": _notarial_acts,
    "will": _wills,
    "insurance": _insurance,
    "medical": _medical,
    "fund": _funds,
    "income_tax": _income_tax,
    "disability": _disability,
    "allowance": _allowances,
    "vaccination": _vaccinations,
    "elderly_allowance": _elderly_allowances,
    "real_estate": _real_estate,
    "sale_contract": _sale_contracts,
    "public_housing": _public_housing,
    "utility_account": _utility_accounts,
    "land_contract": _land_contracts,
    "catchment": _catchments,
    "person_credit": _credit,
    "debtor": _debtors,
}
