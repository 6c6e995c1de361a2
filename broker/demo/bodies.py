"""The legal persons of the city, the licences of both kinds of holders, and their standing. Pure and seeded.

What must not go in here: people (population.py) and how codes and names are made (people.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.demo import people
from broker.demo.holdings import Groups, Rows, credit_rows, rows
from broker.demo.people import Draw, Place

_KINDS = {"91": "企业", "92": "个体工商户", "52": "社会组织"}  # first two characters of the code: registering body and kind
_AUTHORITIES = ("云鹤市市场监督管理局", "听松区市场监督管理局", "云汀区市场监督管理局")
LICENCES = {  # a type and what its numbers begin with
    "营业执照": "YZ",
    "食品经营许可证": "JY",
    "烟草专卖零售许可证": "YC",
    "道路运输经营许可证": "DL",
    "临时占道许可证": "ZD",
    "卫生许可证": "WS",
}


def companies(seed: int, groups: Groups, count: int) -> list[tuple[Any, ...]]:
    """Invent the legal persons of a seed; each is represented by a living adult of the city."""
    draw = Draw(f"{seed}:company")
    kinds = draw.weighted({"91": 70, "92": 25, "52": 5}, count)
    place = Place(draw, count)
    heads = draw.pick(groups.adults, count)
    states: dict[str, float] = {"存续": 90, "注销": 7, "吊销": 3}
    return list(
        rows(
            (people.uscc(kinds[i], division, i + 1) for i, division in enumerate(place.divisions)),
            people.company_names(draw, count),
            (_KINDS[kind] for kind in kinds),
            (head.name for head in heads),
            (head.resident_id for head in heads),
            draw.numbers(1, 5000, count),
            draw.days("1999-01-01", "2025-12-20", count),
            place.addresses,
            people.scopes(draw, count),
            draw.weighted(states, count),
        )
    )


def licences(seed: int, groups: Groups, bodies: list[tuple[Any, ...]], count: int) -> Rows:
    """Invent licences: of every type in turn, three of four to legal persons and the rest to people."""
    draw = Draw(f"{seed}:licence")
    types = draw.pick(tuple(LICENCES), count)
    of_body, of_person = draw.pick(bodies, count), draw.pick(groups.adults, count)
    holders = [body if lot else person for lot, body, person in zip(draw.numbers(0, 4, count), of_body, of_person, strict=True)]
    issued = draw.days("2016-01-01", "2025-12-20", count)
    until = [f"{int(day[:4]) + 5}{'-02-28' if day[4:] == '-02-29' else day[4:]}" for day in issued]
    states = [
        "注销" if lot == 0 else "有效" if day >= "2026" else "过期"
        for lot, day in zip(draw.numbers(0, 50, count), until, strict=True)
    ]
    numbers = [f"{LICENCES[kind]}{serial:010d}" for serial, kind in enumerate(types, 1)]
    names = ([holder[0] for holder in holders], [holder[1] for holder in holders])
    return rows(numbers, types, *names, issued, until, draw.pick(_AUTHORITIES, count), states)


def _taxes(draw: Draw, bodies: list[tuple[Any, ...]]) -> Rows:
    n = len(bodies)
    ratings = draw.weighted({"A": 20, "B": 50, "M": 20, "C": 7, "D": 3}, n)
    arrears = [max(0, amount) for amount in draw.numbers(-90_000, 10_000, n)]
    return rows([b[0] for b in bodies], [b[1] for b in bodies], ratings, draw.pick(("2024", "2025"), n), arrears)


def _abnormal(draw: Draw, bodies: list[tuple[Any, ...]]) -> Rows:
    who = draw.share(bodies, 0.03)
    n = len(who)
    days = draw.days("2021-01-01", "2025-12-20", n)
    return rows([b[0] for b in who], days, draw.pick(("R01", "R02", "R03"), n), draw.pick(_AUTHORITIES, n))


def _credit(draw: Draw, bodies: list[tuple[Any, ...]]) -> Rows:
    return credit_rows(draw, [b[0] for b in bodies], "Q")


STANDINGS: dict[str, Callable[[Draw, list[tuple[Any, ...]]], Rows]] = {
    "company_tax": _taxes,
    "abnormal": _abnormal,
    "company_credit": _credit,
}
