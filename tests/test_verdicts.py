"""Likeness by meaning, and the verdicts over a record."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model.call import FieldVerdict, SubjectStatus, Verdict
from broker.model.catalogue import MatchRule, SemanticType, Standing
from broker.records.likeness import DIFFERENT, SAME, is_readable, likeness
from broker.records.verdicts import overall, status_of
from tests.support.people import company_id, resident_id

NAME, DATE, ADDRESS, TEXT = SemanticType.PERSON_NAME, SemanticType.DATE, SemanticType.ADDRESS, SemanticType.TEXT
PHONE, COMPANY = SemanticType.PHONE, SemanticType.COMPANY_NAME

THE_SAME = [
    pytest.param(NAME, "张伟明", "張偉明", id="traditional"),
    pytest.param(NAME, "阿依古丽·买买提", "阿依古丽•买买提", id="another dot"),
    pytest.param(NAME, " 张 伟 明 ", "张伟明", id="blanks"),
    pytest.param(NAME, "Ahmad SMITH", "ａｈｍａｄ smith", id="width and case"),
    pytest.param(DATE, "1980-01-02", "1980年1月2日", id="a date in words"),
    pytest.param(ADDRESS, "建设路12号3栋2单元501室", "建设路十二号3幢2-501", id="an address in short"),
    pytest.param(SemanticType.RESIDENT_ID, resident_id(1), resident_id(1).lower(), id="an id in small letters"),
    pytest.param(SemanticType.NUMBER, "1.50", "1.5", id="a number"),
    pytest.param(TEXT, "正常", " 正常 ", id="a text"),
    pytest.param(PHONE, "13900001234", "+86 139-0000-1234", id="a phone with its country"),
    pytest.param(COMPANY, "云鹤(集团)有限公司", "云鹤（集团）有限责任公司", id="a company in other brackets"),
]
NEAR = [
    pytest.param(NAME, "张伟明", "张玮明", id="a homophone"),
    pytest.param(NAME, "张伟明", "张明伟", id="two in the wrong order"),
    pytest.param(NAME, "张?明", "张伟明", id="one that could not be read"),
    pytest.param(NAME, "己小天", "已小天", id="one that looks alike"),
    pytest.param(NAME, "阿不都热依木买买提", "阿布都热依木买买提", id="a transliteration"),
    pytest.param(DATE, "1980-01-02", "1980-02-01", id="day and month"),
    pytest.param(DATE, "1980-01-02", "1981-01-02", id="a digit"),
    pytest.param(ADDRESS, "云鹤市松涛区建设路12号3栋2单元501室", "建设路12号3栋2单元501", id="without the district"),
    pytest.param(COMPANY, "云鹤市松涛食品有限公司", "松涛食品有限公司", id="a company without its place"),
    pytest.param(COMPANY, "松涛食品有限公司", "松涛食品", id="a company without its form"),
]
UNLIKE = [
    pytest.param(NAME, "张伟", "张明", id="another given name, one of two characters"),
    pytest.param(NAME, "张伟明", "李伟明", id="another surname"),
    pytest.param(NAME, "张伟", "张伟明", id="a character more"),
    pytest.param(NAME, "张玮铭", "章伟明", id="nothing the same, all heard alike"),
    pytest.param(NAME, "???", "???", id="nothing that could be read"),
    pytest.param(DATE, "1980-01-02", "1992-11-30", id="another day"),
    pytest.param(ADDRESS, "建设路12号3栋2单元501室", "建设路12号3栋2单元502室", id="the neighbour's"),
    pytest.param(ADDRESS, "建设路12号", "解放路12号", id="another road"),
    pytest.param(PHONE, "13900001234", "13900001235", id="another phone"),
    pytest.param(PHONE, "0451-5550000-12", "0451-5550000-13", id="another extension"),
    pytest.param(COMPANY, "松涛食品有限公司", "松涛食品有限公司鹤城分公司", id="a branch is not its parent"),
    pytest.param(COMPANY, "松涛食品有限公司", "松涛食品厂", id="another legal form"),
    pytest.param(COMPANY, "松涛食品有限公司", "建设机械有限公司", id="another company's name"),
    pytest.param(SemanticType.RESIDENT_ID, resident_id(1), resident_id(2), id="another id"),
    pytest.param(SemanticType.USCC, company_id(1), company_id(2), id="another company"),
    pytest.param(SemanticType.LICENCE_NO, "A-1", "A-2", id="another licence"),
    pytest.param(TEXT, "正常", "注销", id="another text"),
    pytest.param(SemanticType.RESIDENT_ID, "-", "无", id="two that say nothing, as ids"),
    pytest.param(SemanticType.USCC, "不详", "无", id="two that say nothing, as codes"),
    pytest.param(TEXT, "?", "!", id="two signs"),
    pytest.param(TEXT, "\u200b", " ", id="nothing to the eye"),
    pytest.param(SemanticType.LICENCE_NO, "1-23", "12-3", id="a licence whose parts are others"),
    pytest.param(SemanticType.LICENCE_NO, "1" * 512 + "2", "1" * 512 + "3", id="long numbers that end differently"),
    pytest.param(NAME, "a" * 64 + "b", "a" * 64 + "c", id="long names that end differently"),
    pytest.param(TEXT, "a" * 512, "a" * 512 + "b", id="long texts of which one goes on"),
]


@pytest.mark.parametrize(("kind", "one", "other"), THE_SAME)
def test_what_means_the_same(kind: SemanticType, one: str, other: str) -> None:
    assert likeness(kind, one, other) == likeness(kind, other, one) == SAME


@pytest.mark.parametrize(("kind", "one", "other"), NEAR)
def test_what_slips_make_of_it(kind: SemanticType, one: str, other: str) -> None:
    assert DIFFERENT < likeness(kind, one, other) == likeness(kind, other, one) < SAME


@pytest.mark.parametrize(("kind", "one", "other"), UNLIKE)
def test_what_differs(kind: SemanticType, one: str, other: str) -> None:
    assert likeness(kind, one, other) == likeness(kind, other, one) == DIFFERENT


@pytest.mark.parametrize("kind", list(SemanticType))
def test_a_long_value_is_itself(kind: SemanticType) -> None:
    assert likeness(kind, "1a" * 400, "1a" * 400 + " ") == SAME


@pytest.mark.parametrize("asserted", ["张??", "?伟?", "??明", "张□明", "张＊明"])
def test_a_name_with_signs_for_characters_is_not_asserted(asserted: str) -> None:
    assert not is_readable(NAME, asserted)
    assert is_readable(TEXT, asserted)
    assert is_readable(NAME, "张伟明")


TEXTS = st.text(st.sampled_from("张伟明卫己已·•? ０1-2号栋aÀ﨑\U00020000\ud800") | st.characters(), max_size=12)


@given(st.sampled_from(list(SemanticType)), TEXTS, TEXTS)
def test_likeness_is_symmetric_bounded_and_never_fails(kind: SemanticType, one: str, other: str) -> None:
    score = likeness(kind, one, other)
    assert DIFFERENT <= score <= SAME
    assert math.isclose(score, likeness(kind, other, one), rel_tol=1e-12)


@given(st.sampled_from([SemanticType.RESIDENT_ID, SemanticType.USCC, SemanticType.LICENCE_NO]), TEXTS, TEXTS)
def test_identifiers_are_never_near(kind: SemanticType, one: str, other: str) -> None:
    assert likeness(kind, one, other) in (DIFFERENT, SAME)


# --- over a record ------------------------------------------------------------------------------------------------------

MATCH, MISMATCH, NOT_HELD = (FieldVerdict(one) for one in (Verdict.MATCH, Verdict.MISMATCH, Verdict.NOT_HELD))
CLOSE = FieldVerdict(Verdict.CLOSE, 0.9)


@pytest.mark.parametrize(
    ("rule", "found", "expected"),
    [
        ({}, {"a": MATCH, "b": MATCH}, Verdict.MATCH),
        ({}, {"a": MATCH, "b": CLOSE}, Verdict.CLOSE),
        ({}, {"a": CLOSE, "b": NOT_HELD}, Verdict.NOT_HELD),
        ({}, {"a": MISMATCH, "b": NOT_HELD}, Verdict.MISMATCH),
        ({"decisive": ("a",)}, {"a": MATCH, "b": MISMATCH}, Verdict.MATCH),
        ({"decisive": ("c",)}, {"a": MATCH, "b": MISMATCH}, Verdict.MISMATCH),
        ({"accept_score": 0.9}, {"a": MATCH, "b": CLOSE}, Verdict.MATCH),
        ({"accept_score": 0.95}, {"a": MATCH, "b": CLOSE}, Verdict.CLOSE),
    ],
)
def test_the_worst_that_counts_is_the_verdict(rule: dict[str, Any], found: dict[str, FieldVerdict], expected: Verdict) -> None:
    assert overall(MatchRule(**rule), found) is expected


STANDING = Standing(field="state", valid=("正常",), cancelled=("注销",), deceased=("死亡",), expired=("过期",), until="until")
TODAY = dt.date(2027, 1, 15)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({"state": "正常"}, SubjectStatus.VALID),
        ({"state": "注销", "until": "2099-01-01"}, SubjectStatus.CANCELLED),
        ({"state": "死亡", "until": "2000-01-01"}, SubjectStatus.DECEASED),
        ({"state": "过期"}, SubjectStatus.EXPIRED),
        ({"state": "别的"}, SubjectStatus.UNKNOWN),
        ({"state": "吊销", "until": "2099-01-01"}, SubjectStatus.UNKNOWN),
        ({"state": "吊销", "until": "2000-01-01"}, SubjectStatus.EXPIRED),
        ({}, SubjectStatus.UNKNOWN),
        ({"until": "2027-01-15"}, SubjectStatus.VALID),
        ({"state": "正常", "until": "2027-01-14"}, SubjectStatus.EXPIRED),
        ({"state": "正常", "until": "长期"}, SubjectStatus.VALID),
    ],
)
def test_a_record_says_what_state_it_is_in(held: dict[str, str], expected: SubjectStatus) -> None:
    assert status_of(STANDING, held, TODAY) is expected


def test_where_nothing_tells_nothing_is_known() -> None:
    assert status_of(Standing(), {"state": "正常"}, TODAY) is SubjectStatus.UNKNOWN
