"""The people of the city: households, their members, marriages and births. Pure and seeded.

What must not go in here: what people own or are owed (holdings.py), and how numbers and names are made (people.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from broker.demo import people
from broker.demo.people import AS_OF, Draw, Place

HEAD, SPOUSE, CHILD, PARENT = "户主", "配偶", "子女", "父母"
_ROLES = (HEAD, SPOUSE, CHILD, CHILD, PARENT)  # a household of n has the first n
_SIZES: dict[int, float] = {1: 25, 2: 27, 3: 27, 4: 14, 5: 7}
_BORN_AFTER_HEAD = {HEAD: (0, 1), SPOUSE: (-4, 4), CHILD: (23, 34), PARENT: (-31, -22)}
_DEATHS = ((90, 0.6), (75, 0.15), (60, 0.04), (20, 0.005), (0, 0.0))  # from this age: share of those registered
_CANCELLED_SHARE = 0.004
_SINGLE: dict[str, float] = {"未婚": 55, "离婚": 25, "丧偶": 20}
_ETHNICITIES: dict[str, float] = {"汉族": 940, "满族": 25, "蒙古族": 12, "朝鲜族": 10, "回族": 9}
_HOMES_PER_MINORITY_HOME = 250  # whose members have transliterated names
_HOSPITALS = ("云鹤市第一医院", "云鹤市妇幼保健院", "云鹤市松涛医院", "衔芦县人民医院")


class Person(NamedTuple):
    """One row of `person`."""

    resident_id: str
    name: str
    sex: str
    ethnicity: str
    birth_date: str
    address: str
    phone: str
    household_no: str
    household_role: str
    marital_status: str
    status: str
    death_date: str | None


def aged(persons: list[Person], low: int, below: int = 200) -> list[Person]:
    """Choose by age in years, on the day on which the city stands still (1 January, when nobody was born)."""
    first, last = str(AS_OF.year - below), str(AS_OF.year - low)
    return [person for person in persons if first <= person.birth_date < last]


_HOUSEHOLD_NO = Person._fields.index("household_no")


class Member(NamedTuple):
    """A place in a household before anybody has a name."""

    household: int
    role: str
    sex: str
    year: int
    surname: str


class Population(NamedTuple):
    """Everybody in the order of their numbers (rows in the order of their key go in fastest), and who lives with whom."""

    persons: list[Person]
    homes: list[list[Person]]  # the head comes first, then the spouse if there is one, children and parents
    households: list[tuple[Any, ...]]


def populate(seed: int, count: int) -> Population:
    """Invent the people of a seed."""
    draw = Draw(f"{seed}:population")
    members = _members(draw, count)
    places = Place(draw, members[-1].household + 1)
    persons = _persons(draw, members, places)
    homes = [list(home) for _, home in groupby(persons, key=itemgetter(_HOUSEHOLD_NO))]
    return Population(sorted(persons), homes, list(_households(homes, places)))


def _members(draw: Draw, count: int) -> list[Member]:
    sizes = draw.weighted(_SIZES, count)
    head_years, head_sexes = draw.numbers(1940, 2004, count), draw.pick("男女", count)
    own, others = people.surnames(draw, count), people.surnames(draw, count)
    sexes = draw.pick("男女", count)
    gaps = {role: draw.numbers(low, high, count) for role, (low, high) in _BORN_AFTER_HEAD.items()}
    members: list[Member] = []
    for home, size in enumerate(sizes):
        head_sex, mother_tongue = head_sexes[home], others[home]
        spouse_sex = "女" if head_sex == "男" else "男"
        father_name = own[home] if head_sex == "男" else mother_tongue
        sex_of = {HEAD: head_sex, SPOUSE: spouse_sex}
        name_of = {SPOUSE: mother_tongue, CHILD: father_name}
        for role in _ROLES[:size]:
            serial = len(members)
            year = min(head_years[home] + gaps[role][serial], AS_OF.year - 1)
            members.append(Member(home, role, sex_of.get(role, sexes[serial]), year, name_of.get(role, own[home])))
            if serial + 1 == count:
                return members
    return members


def _persons(draw: Draw, members: list[Member], places: Place) -> list[Person]:
    count = len(members)
    days = [f"-{month:02d}-{day:02d}" for month in range(1, 13) for day in range(1, 29) if (month, day) != (1, 1)]
    births = [f"{member.year}{day}" for member, day in zip(members, draw.pick(days, count), strict=True)]
    states = _states(draw, members)
    columns = zip(
        _resident_ids(members, births, places.divisions),
        _names(draw, members),
        (member.sex for member in members),
        _ethnicities(draw, members),
        births,
        (places.addresses[member.household] for member in members),
        people.phones(draw, count),
        (f"HH{member.household + 1:08d}" for member in members),
        (member.role for member in members),
        _marital_states(draw, members, states),
        states,
        _death_dates(draw, states),
        strict=True,
    )
    return [Person._make(row) for row in columns]


def _resident_ids(members: list[Member], births: list[str], divisions: list[str]) -> Iterator[str]:
    """Number those born in one division on one day one after the other, men odd, women even."""
    born: dict[tuple[str, str, str], int] = defaultdict(int)
    for member, birth in zip(members, births, strict=True):
        division = divisions[member.household]
        cell = (division, birth, member.sex)
        born[cell] += 1
        yield people.resident_id(division, birth, 2 * born[cell] - (member.sex == "男"))


def _names(draw: Draw, members: list[Member]) -> list[str]:
    count = len(members)
    given, minority = people.given_names(draw, count), people.minority_names(draw, count)
    return [minority[i] if _is_minority(member) else member.surname + given[member.sex][i] for i, member in enumerate(members)]


def _is_minority(member: Member) -> bool:
    return member.household % _HOMES_PER_MINORITY_HOME == _HOMES_PER_MINORITY_HOME - 1


def _ethnicities(draw: Draw, members: list[Member]) -> Iterator[str]:
    drawn = draw.weighted(_ETHNICITIES, members[-1].household + 1)
    return ("维吾尔族" if _is_minority(member) else drawn[member.household] for member in members)


def _states(draw: Draw, members: list[Member]) -> list[str]:
    dead = {year: next(share for age, share in _DEATHS if AS_OF.year - year > age) for year in {m.year for m in members}}
    states = []
    for member in members:
        lot = draw.random()
        alive = "CANCELLED" if lot > 1 - _CANCELLED_SHARE else "VALID"
        states.append("DECEASED" if lot < dead[member.year] else alive)
    return states


def _death_dates(draw: Draw, states: list[str]) -> list[str | None]:
    days = draw.days("2008-01-01", "2025-12-20", len(states))  # nobody under 20 is dead, so after every birth
    return [day if state == "DECEASED" else None for day, state in zip(days, states, strict=True)]


def _marital_states(draw: Draw, members: list[Member], states: list[str]) -> list[str]:
    found = draw.weighted(_SINGLE, len(members))
    for serial, member in enumerate(members):
        if member.role == SPOUSE:  # stands right after the head
            for one, other in ((serial - 1, serial), (serial, serial - 1)):
                found[one] = "丧偶" if states[other] == "DECEASED" else "已婚"
        elif member.role == PARENT:
            found[serial] = "丧偶" if serial % 3 else "已婚"
        elif AS_OF.year - member.year < 24:
            found[serial] = "未婚"
    return found


def _households(homes: list[list[Person]], places: Place) -> Iterator[tuple[Any, ...]]:
    located = zip(homes, places.divisions, places.streets, strict=True)
    for index, (home, division, street) in enumerate(located):
        head, grid = home[0], f"{division}{index % 400:04d}"
        yield head.household_no, head.name, len(home), head.address, street, people.DISTRICTS[division], grid


def marriages(draw: Draw, homes: list[list[Person]]) -> Iterator[tuple[Any, ...]]:
    """Give a row for every couple."""
    couples = [home[:2] for home in homes if len(home) > 1]
    days = draw.days("2025-01-02", "2025-12-20", len(couples))
    for serial, ((head, spouse), day) in enumerate(zip(couples, days, strict=True), 1):
        year = min(max(int(head.birth_date[:4]), int(spouse.birth_date[:4])) + 24, AS_OF.year - 1)
        registered = f"{year}{day[4:]}"
        yield f"J990101-{serial:08d}", head.resident_id, head.name, spouse.resident_id, spouse.name, registered, "有效"


def births(draw: Draw, homes: list[list[Person]]) -> Iterator[tuple[Any, ...]]:
    """Give a row for every child born since certificates are issued (1996), with its mother."""
    serial = 0
    for home in homes:
        for child in home[2:]:
            if child.household_role == CHILD and child.birth_date >= "1996":
                serial += 1
                mother = next(parent for parent in home[:2] if parent.sex == "女")
                hospital = _HOSPITALS[draw.randrange(len(_HOSPITALS))]
                number = f"Y{serial:09d}"
                yield number, *child[:2], child.birth_date, hospital, mother.resident_id, mother.name
