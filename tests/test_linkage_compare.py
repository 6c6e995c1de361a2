"""Levels of likeness: the native comparators against the oracle, and the cases that have names."""

from __future__ import annotations

import random

import pytest

from broker._native import normalise
from broker.linkage import Kind, Schema
from tests.linkage_kit import level, levels, miswritten
from tests.oracle import linkage as oracle

LATIN = "abcdefghilmnorst "
PARTS = Schema.of({"given": Kind.GIVEN_NAME, "surname": Kind.SURNAME})


def _birth(draw: random.Random) -> str:
    return f"{draw.randint(1930, 2020)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"


def _resident_id(draw: random.Random) -> str:
    return draw.choice(
        normalise.resident_id_repairs(f"990101{_birth(draw)}{draw.randint(0, 999):03}A".replace("A", "0")) or ("",)
    )


def _name(draw: random.Random) -> str:
    return draw.choice("王李张欧阳单") + "".join(draw.choices("伟玮薇明鸣若诺琴情清青己已建健", k=draw.randint(1, 3)))


MAKERS = {
    Kind.RESIDENT_ID: (_resident_id, "0123456789X"),
    Kind.DATE: (_birth, "0123456789"),
    Kind.PHONE: (lambda draw: f"1{draw.randint(3, 9)}{draw.randint(0, 10**9 - 1):09}", "0123456789"),
    Kind.TEXT: (lambda draw: "".join(draw.choices(LATIN, k=draw.randint(1, 24))), LATIN),
    Kind.IDENTIFIER: (lambda draw: "".join(draw.choices("0123456789ABC", k=draw.randint(1, 18))), "0123456789ABC"),
    Kind.NUMBER: (lambda draw: str(draw.randint(1, 9999)), "0123456789"),
    Kind.PERSON_NAME: (_name, "王李张伟玮薇明鸣若诺?"),
}


@pytest.mark.parametrize("kind", MAKERS, ids=str)
def test_comparators_say_what_the_oracle_says(kind: Kind) -> None:
    draw = random.Random(int(kind))
    make, alphabet = MAKERS[kind]
    seen = set()
    for _ in range(3000):
        one = make(draw)
        other = miswritten(one, alphabet, draw) if draw.random() < 0.8 else make(draw)
        expected = oracle.LEVELS[kind](one, other)
        assert level(kind, one, other) == level(kind, other, one) == expected, (one, other)
        seen.add(expected)
    assert len(seen) >= 3, "the samples must reach most levels"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("张伟明", "張偉明", 9),  # written in traditional characters
        ("张伟明", "张玮明", 7),
        ("刘己", "刘已", 6),
        ("张伟明", "张明伟", 5),
        ("张伟明", "张伟", 4),
        ("张伟明", "张伟刚", 3),
        ("张伟明", "张建国", 2),
        ("张伟明", "李建国", 1),
        ("张伟明", "ZHANG WEIMING", 8),
        ("张伟明", "Weiming Zhang", 8),
        ("单于飞", "Shan Yufei", 1),  # 单于 is a compound surname, read chan yu
        ("单雄", "SHAN XIONG", 8),  # but 单 alone is Shan
        ("张?明", "张伟明", 7),
        ("吐尔逊·买买提", "吐尔逊买买提", 9),
        ("吐尔逊古丽·阿布都热合曼", "吐尔逊古丽·阿布都热合曼", 9),
        ("吐尔逊古丽·阿布都热合曼", "吐尔逊古丽·阿布都热西提", 7),  # longer than what is kept: the same as far as one can see
        ("", "张伟明", 0),
    ],
)
def test_names_of_people(one: str, other: str, expected: int) -> None:
    assert level(Kind.PERSON_NAME, one, other) == level(Kind.PERSON_NAME, other, one) == expected


HOME = "北云省云鹤市听松区碧月街道霁渡社区霁台巷178号11栋3单元1502室"


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (HOME, 9),
        ("云鹤市听松区霁台巷一百七十八号11幢3单元1502", 9),
        ("听松区霁渡社区霁台巷178-11-3-1502", 9),
        ("听松区霁台巷178号11栋1502室", 9),  # the unit left out
        ("听松区霁台巷178号11栋3单元1503室", 4),
        ("听松区霁台巷178号", 4),
        ("碧月街道霁渡社区霁台巷99号", 3),
        ("碧月街道松涛路99号", 2),
        ("清涛街道松涛路99号", 1),
        ("", 0),
    ],
)
def test_addresses(other: str, expected: int) -> None:
    assert level(Kind.ADDRESS, HOME, other) == level(Kind.ADDRESS, other, HOME) == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("anna", "brown"), ("anna", "brown"), (9, 9)),
        (("anna", "brown"), ("brown", "anna"), (8, 8)),
        (("anna", "brown"), ("browne", "hanna"), (7, 7)),
        (("anna", "brown"), (None, "anna"), (0, 8)),
        (("anna", None), ("anna", "brown"), (9, 0)),
    ],
)
def test_parts_of_names_may_be_swapped(
    one: tuple[str | None, ...], other: tuple[str | None, ...], expected: tuple[int, ...]
) -> None:
    assert levels(PARTS, one, other) == expected


def test_what_is_missing_is_neither_same_nor_different() -> None:
    for kind in Kind:
        value = {Kind.DATE: "19800101", Kind.RESIDENT_ID: "990101197812240441", Kind.PHONE: "15480648578"}.get(kind, HOME)
        assert level(kind, None, None) == level(kind, None, value) == level(kind, value, "") == 0
        assert level(kind, value, value) == 9


@pytest.mark.parametrize(
    ("kind", "placeholder"), [(Kind.DATE, "1900-01-01"), (Kind.PHONE, "00000000000"), (Kind.PHONE, "11111111111")]
)
def test_placeholders_are_missing(kind: Kind, placeholder: str) -> None:
    assert level(kind, placeholder, placeholder) == 0
