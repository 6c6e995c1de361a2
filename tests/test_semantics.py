"""Canonical forms: a table of what is read as what, and the laws that hold for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_11_2

from broker.model.catalogue import SemanticType
from broker.model.semantics import NotCanonical, canonical, canonical_forms
from tests.support.people import company_id, resident_id

ID = resident_id(7)
ID_X = next(rid for serial in range(1000) if (rid := resident_id(serial)).endswith("X"))
USCC = company_id(1234)

READ_AS = [
    ("resident_id", ID, ID),
    ("resident_id", f"  {ID} ", ID),
    ("resident_id", "".join(chr(ord(c) + 0xFEE0) for c in ID), ID),
    ("resident_id", ID_X.lower(), ID_X),
    ("person_name", "张\u2003三", "张三"),
    ("text", "a\u2009b\u205fc", "a b c"),
    ("uscc", USCC.lower(), USCC),
    ("uscc", f"{USCC[:8]}-{USCC[8:]}", USCC),
    ("person_name", " 张 三 ", "张三"),
    ("person_name", "阿卜杜拉•买买提", "阿卜杜拉·买买提"),
    ("person_name", "阿卜杜拉 ・ 买买提", "阿卜杜拉·买买提"),
    ("person_name", "Anna  Smith", "Anna Smith"),
    ("person_name", "Ａｎｎａ　Smith", "Anna Smith"),
    ("person_name", "e\u0301", "é"),
    ("address", "云鹤市 听松路 １２ 号", "云鹤市听松路12号"),
    ("date", "2019-01-31", "2019-01-31"),
    ("date", "20190131", "2019-01-31"),
    ("date", "2019/1/31", "2019-01-31"),
    ("date", "2019年1月31日", "2019-01-31"),
    ("licence_no", "jy 1990 0001", "JY19900001"),
    ("text", "  a\t b ", "a b"),
    ("number", "007.50", "7.5"),
    ("phone", "+86 139-0000-1234", "13900001234"),
    ("phone", "(0451) 5550000", "04515550000"),
    ("phone", "+44 20 7946 0000", "+442079460000"),
    ("phone", "008613900001234", "13900001234"),
    ("company_name", "云鹤 （集团） 有限公司", "云鹤(集团)有限公司"),
    ("number", "-0.0", "0"),
    ("number", "+100", "100"),
    ("number", "１２", "12"),
]

REFUSED = [
    ("resident_id", ID[:-1] + ("0" if ID[-1] != "0" else "1"), "check character"),
    ("resident_id", ID[:17], "18 (or 15)"),
    ("resident_id", "９" * 17, "18 (or 15)"),
    ("uscc", USCC[:-1] + ("0" if USCC[-1] != "0" else "1"), "check character"),
    ("uscc", "I" * 18, "18 characters"),
    ("date", "2019-02-29", "does not exist"),
    ("date", "2019-13-01", "does not exist"),
    ("date", "201911", "YYYY-MM-DD"),
    ("date", "٢٠١٩-٠١-٣١", "YYYY-MM-DD"),
    ("number", "NaN", "decimal"),
    ("phone", "13900001234/13900001235", "digits"),
    ("phone", "无", "digits"),
    ("number", "1e9", "decimal"),
    ("number", "", "empty"),
    ("text", "a\x00b", "control"),
    ("text", "a\u202eb", "invisible"),
    ("text", "\u200b", "invisible"),
    ("text", "\u3164", "invisible"),
    ("person_name", "张\u2800三", "invisible"),
    ("person_name", " ", "empty"),
    ("text", "\ud800", "control"),
]


@pytest.mark.parametrize(("kind", "written", "meant"), READ_AS)
def test_reads(kind: str, written: str, meant: str) -> None:
    assert canonical(SemanticType(kind), written) == meant


@pytest.mark.parametrize(("kind", "written", "rule"), REFUSED)
def test_refuses_by_rule_without_the_value(kind: str, written: str, rule: str) -> None:
    with pytest.raises(NotCanonical) as refusal:
        canonical(SemanticType(kind), written)
    assert rule in str(refusal.value)
    assert not written.strip() or written not in str(refusal.value)


def test_a_birth_date_that_does_not_exist_is_refused() -> None:
    digits = "99010119800230001"
    with pytest.raises(NotCanonical, match="birth date"):
        canonical(SemanticType.RESIDENT_ID, digits + mod_11_2.calc_check_digit(digits))


@pytest.mark.parametrize("birth", ["00010101", "18591231", "22000101", "99991231"])
def test_a_birth_year_of_nobody_is_refused(birth: str) -> None:
    with pytest.raises(NotCanonical, match="birth year"):
        canonical(SemanticType.RESIDENT_ID, resident_id(1, birth))


@pytest.mark.parametrize(("serial", "century"), [(1, "19"), (995, "19"), (996, "18"), (999, "18")])
def test_fifteen_digits_get_their_century_and_check_character(serial: int, century: str) -> None:
    full = canonical(SemanticType.RESIDENT_ID, f"990101850101{serial:03d}")
    assert full[6:8] == century
    assert mod_11_2.is_valid(full)


@given(st.sampled_from(list(SemanticType)), st.text(max_size=40))
def test_canonicalising_twice_changes_nothing(kind: SemanticType, text: str) -> None:
    try:
        once = canonical(kind, text)
    except NotCanonical:
        return
    assert canonical(kind, once) == once


def test_a_subject_is_purged_under_every_form_it_may_have() -> None:
    assert ID_X in canonical_forms(f" {ID_X.lower()}")
    assert canonical_forms("\x00") == set()
