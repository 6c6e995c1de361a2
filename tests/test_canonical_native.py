"""Native canonical forms against `semantics.canonical`: where native code is certain, Python returns the same text.

That it is certain often enough is tested beside it: every everyday value is accepted.
"""

from __future__ import annotations

import datetime as dt
import itertools
import random
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stdnum.cn import uscc
from stdnum.iso7064 import mod_11_2

from broker._native import wire
from broker.model.catalogue import SemanticType
from broker.model.semantics import NotCanonical, canonical
from tests.support.people import company_id, resident_id

KINDS = list(SemanticType)
TEXT_KINDS = [
    SemanticType.PERSON_NAME,
    SemanticType.ADDRESS,
    SemanticType.LICENCE_NO,
    SemanticType.TEXT,
    SemanticType.COMPANY_NAME,
]
IDEOGRAPHS = "".join(map(chr, range(0x4E00, 0xA000)))
EVERYDAY = [
    ("person_name", "张三"),
    ("person_name", "欧阳娜娜"),
    ("person_name", "阿卜杜拉·买买提"),
    ("person_name", "Anna Smith"),
    ("person_name", "John Q. Public Jr."),
    ("address", "云鹤市听松路12号3栋B座"),
    ("address", "12 Main Street, Apt. 4"),
    ("licence_no", "JY19900001"),
    ("licence_no", "粤A12345"),
    ("licence_no", "京ICP备05012345号-1"),
    ("text", "餐饮服务"),
    ("text", "a b"),
    ("text", "食品 JY-12.5 v2"),
    ("number", "0"),
    ("number", "7.5"),
    ("number", "-0.05"),
    ("number", "120000"),
    ("phone", "13900001234"),
    ("phone", "04515550000"),
    ("phone", "110"),
    ("company_name", "云鹤(集团)有限公司"),
    ("date", "2019-01-31"),
    ("date", "2024-02-29"),
    ("resident_id", resident_id(7)),
    ("uscc", company_id(1234)),
]
# Near misses: what is read as something else, or not at all.
NOT_TOLD = [
    ("person_name", "张 三"),
    ("person_name", " 张三"),
    ("person_name", "张三 "),
    ("person_name", "阿卜杜拉.买买提"),
    ("person_name", "阿卜杜拉•买买提"),
    ("person_name", "· a"),
    ("person_name", "Anna  Smith"),
    ("person_name", "张\x00三"),
    ("person_name", "张\u200b三"),
    ("person_name", "e\u0301"),
    ("address", "a 号"),
    ("address", "号 a"),
    ("address", "１２号"),
    ("address", "\uf900"),
    ("licence_no", "jY1990"),
    ("licence_no", "JY 1990"),
    ("licence_no", "京Icp"),
    ("text", "a\tb"),
    ("text", "a\x7f"),
    ("text", "a\u00a0b"),
    ("number", "-0"),
    ("phone", "008613900001234"),
    ("phone", "139-0000-1234"),
    ("phone", "1" * 18),
    ("phone", "12"),
    ("company_name", "云鹤 (集团)"),
    ("number", "-0.0"),
    ("number", "007"),
    ("number", "7.50"),
    ("number", "7."),
    ("number", ".5"),
    ("number", "+7"),
    ("number", "-"),
    ("number", "--1"),
    ("number", "1.2.3"),
    ("number", "1" * 31),
    ("number", "0." + "1" * 31),
    ("date", "2019-02-29"),
    ("date", "1900-02-29"),
    ("date", "0000-01-01"),
    ("date", "2019-1-31"),
    ("date", "2019-13-01"),
    ("date", "2019-00-10"),
    ("date", "2019-10-00"),
    ("date", "2019-04-31"),
    ("date", "20190131"),
    ("date", "2019/01/31"),
    ("date", "2019-01-310"),
    ("date", "2019-01-3"),
    ("resident_id", resident_id(7)[:17]),
    ("resident_id", resident_id(7) + "0"),
    ("resident_id", "0" + resident_id(7)),
    ("resident_id", "X" * 18),
    ("uscc", company_id(1234).lower()),
    ("uscc", company_id(1234)[:17]),
    ("uscc", company_id(1234) + "0"),
]


def is_canonical(kind: SemanticType, text: str) -> bool:
    """What native code says; where it is certain, Python says the same."""
    certain = wire.is_canonical_text(wire.KINDS[kind], text)
    assert not certain or canonical(kind, text) == text, (kind, text)
    return certain


def is_own_form(kind: SemanticType, text: str) -> bool:
    try:
        return canonical(kind, text) == text
    except NotCanonical:
        return False


def with_check(digits: str) -> str:
    return digits + mod_11_2.calc_check_digit(digits)


# --- the face ---------------------------------------------------------------------------------------------------------


def test_kinds_are_numbered_as_the_catalogue_lists_them():
    assert {kind.value: number for number, kind in enumerate(SemanticType)} == wire.KINDS


@pytest.mark.parametrize("kind", [10, 11, 100, 255])
def test_of_a_kind_that_is_none_nothing_is_certain(kind):
    assert not any(wire.is_canonical_text(kind, text) for _, text in EVERYDAY)


def test_mistakes_of_the_caller_are_told_without_the_text():
    for kind in (-1, 256):
        with pytest.raises(ValueError, match="kind"):
            wire.is_canonical_text(kind, "a")
    with pytest.raises(TypeError):
        wire.is_canonical_text(0, None)  # type: ignore[arg-type]
    for ask in (lambda text: wire.is_canonical_text(0, text), wire.count_chars):
        with pytest.raises(ValueError, match="UTF-8") as caught:
            ask("secret\ud800")
        assert "secret" not in str(caught.value)


@given(text=st.text())
@example(text="")
@example(text="a张é\U00020000\0")
def test_characters_are_counted_as_python_counts_them(text):
    assert wire.count_chars(text) == len(text)


# --- every type -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "text"), EVERYDAY)
def test_everyday_values_are_told(kind, text):
    assert is_canonical(SemanticType(kind), text)


@pytest.mark.parametrize(("kind", "text"), NOT_TOLD)
def test_what_is_read_as_something_else_is_not_told(kind, text):
    assert not is_canonical(SemanticType(kind), text)
    assert not is_own_form(SemanticType(kind), text)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_not_told(kind):
    assert not is_canonical(kind, "")


@given(kind=st.sampled_from(KINDS), text=st.text(max_size=20))
@settings(max_examples=500)
def test_any_text_is_told_only_where_python_leaves_it_alone(kind, text):
    is_canonical(kind, text)


@given(kind=st.sampled_from(KINDS), text=st.text(alphabet="aZ09-. ·张一\u9fff\u4dff\ua000\xb6", max_size=8))
@settings(max_examples=2000)
def test_mixtures_are_told_only_where_python_leaves_them_alone(kind, text):
    is_canonical(kind, text)


@pytest.mark.parametrize("pair", EVERYDAY)
def test_everyday_values_with_one_character_changed_or_left_out(pair):
    """Every place of every everyday value: what takes the place is near in some way, or is an ASCII character."""
    kind, text = SemanticType(pair[0]), pair[1]
    others = string.printable + "\x00\x7f·•．　张\u0301\u200bＡ"
    for at, char in itertools.product(range(len(text) + 1), ["", *others]):
        is_canonical(kind, text[:at] + char + text[at + 1 :])
        is_canonical(kind, text[:at] + char + text[at:])


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_of_the_first_plane_is_told_only_where_python_leaves_it_alone(kind):
    told = {code for code in range(0x10000) if not 0xD800 <= code < 0xE000 and is_canonical(kind, chr(code))}
    visible = set(range(0x21, 0x7F)) | set(range(0x4E00, 0xA000)) | {0xB7}
    if kind is SemanticType.LICENCE_NO:
        visible -= set(map(ord, string.ascii_lowercase))
    expected = visible if kind in TEXT_KINDS else set(map(ord, string.digits)) if kind is SemanticType.NUMBER else set()
    assert told == expected


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_every_ideograph_is_told_within_a_text(kind):
    """All in one text, in another order, and each between others: normalisation changes none, whatever stands beside it."""
    shuffled = "".join(random.Random(1).sample(IDEOGRAPHS, len(IDEOGRAPHS)))
    for text in (IDEOGRAPHS, shuffled, "·".join(shuffled), "A1".join(shuffled)):
        assert is_canonical(kind, text)
    for index in range(0, len(shuffled) - 2, 3):
        assert is_canonical(kind, shuffled[index : index + 3])


@given(name=st.text(alphabet=IDEOGRAPHS, min_size=1, max_size=8), rest=st.text(alphabet=IDEOGRAPHS + "·", max_size=12))
def test_every_chinese_name_is_told(name, rest):
    for kind in TEXT_KINDS:
        assert is_canonical(kind, name + rest)


@given(words=st.lists(st.text(alphabet=string.digits + string.ascii_uppercase + "-/.,()", min_size=1), min_size=1, max_size=5))
def test_every_ascii_text_of_words_is_told(words):
    for kind in TEXT_KINDS:
        assert is_canonical(kind, "".join(words) if kind is SemanticType.LICENCE_NO else " ".join(words))


@given(words=st.lists(st.text(alphabet=string.digits + "aB号张·", min_size=1, max_size=6), min_size=1, max_size=5))
def test_every_mixture_without_spaces_is_told(words):
    text = "".join(words)
    assert is_canonical(SemanticType.ADDRESS, text)
    assert is_canonical(SemanticType.PERSON_NAME, text)
    assert is_canonical(SemanticType.LICENCE_NO, text.upper())
    assert is_canonical(SemanticType.TEXT, " ".join(words))


# --- identifiers ------------------------------------------------------------------------------------------------------


@given(
    division=st.integers(0, 999_999),
    born=st.dates(dt.date(1860, 1, 1), dt.date(2199, 12, 31)),
    serial=st.integers(0, 999),
)
@example(division=0, born=dt.date(1860, 1, 1), serial=0)
@example(division=999_999, born=dt.date(2199, 12, 31), serial=999)
@example(division=990101, born=dt.date(2000, 2, 29), serial=1)
def test_every_valid_resident_id_is_told_and_no_other_check_character_is(division, born, serial):
    digits = f"{division:06}{born:%Y%m%d}{serial:03}"
    told = [check for check in "0123456789Xx" if is_canonical(SemanticType.RESIDENT_ID, digits + check)]
    assert told == [mod_11_2.calc_check_digit(digits)]


@pytest.mark.parametrize("year", ["0000", "1858", "1859", "1860", "1900", "1999", "2000", "2024", "2199", "2200", "9999"])
def test_birth_dates_exist_as_python_says(year):
    for month, day in itertools.product(range(15), range(34)):
        text = with_check(f"990101{year}{month:02}{day:02}001")
        assert is_canonical(SemanticType.RESIDENT_ID, text) == is_own_form(SemanticType.RESIDENT_ID, text)


@given(place=st.integers(0, 17), char=st.characters(codec="utf-8"), serial=st.integers(0, 999))
def test_a_resident_id_with_another_character_is_told_as_python_says(place, char, serial):
    text = resident_id(serial)
    text = text[:place] + char + text[place + 1 :]
    assert is_canonical(SemanticType.RESIDENT_ID, text) == is_own_form(SemanticType.RESIDENT_ID, text)


@given(
    digits=st.text(alphabet=string.digits, min_size=8, max_size=8),
    rest=st.text(alphabet=uscc._alphabet, min_size=9, max_size=9),
)
def test_every_valid_credit_code_is_told_and_no_other_check_character_is(digits, rest):
    body = digits + rest
    told = [check for check in map(chr, range(128)) if is_canonical(SemanticType.USCC, body + check)]
    assert told == [uscc.calc_check_digit(body)]


@given(body=st.text(alphabet=string.digits + string.ascii_uppercase, min_size=17, max_size=17), place=st.integers(0, 16))
def test_a_credit_code_of_other_letters_is_told_as_python_says(body, place):
    for text in (body, company_id(5)[:place] + body[place] + company_id(5)[place + 1 : 17]):
        for check in uscc._alphabet:
            assert is_canonical(SemanticType.USCC, text + check) == is_own_form(SemanticType.USCC, text + check)


# --- dates and numbers ------------------------------------------------------------------------------------------------


def test_every_day_from_1860_to_2199_is_told():
    first, last = dt.date(1860, 1, 1).toordinal(), dt.date(2199, 12, 31).toordinal()
    kind = wire.KINDS["date"]
    assert all(wire.is_canonical_text(kind, dt.date.fromordinal(day).isoformat()) for day in range(first, last + 1))


def test_the_ends_of_months_are_those_of_the_calendar_in_every_year():
    kind = wire.KINDS["date"]
    for year, (month, day) in itertools.product(range(10_000), [(2, 28), (2, 29), (2, 30), (12, 31), (12, 32)]):
        text = f"{year:04}-{month:02}-{day:02}"
        try:
            exists = bool(dt.date(year, month, day))
        except ValueError:
            exists = False
        assert wire.is_canonical_text(kind, text) == exists, text
    for year, month, day in itertools.product([1, 1900, 2000, 2023, 2024, 9999], range(15), range(34)):
        text = f"{year:04}-{month:02}-{day:02}"
        assert is_canonical(SemanticType.DATE, text) == is_own_form(SemanticType.DATE, text)


@given(text=st.text(alphabet="0123456789-/.年", max_size=12) | st.from_regex(r"\A[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}\Z"))
def test_a_date_is_told_as_python_says(text):
    assert is_canonical(SemanticType.DATE, text) == is_own_form(SemanticType.DATE, text)


@given(
    text=st.text(alphabet="0123456789-+.", max_size=8)
    | st.from_regex(r"\A-?[0-9]{1,31}(\.[0-9]{1,31})?\Z")
    | st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: format(number, "f"))
)
@example(text="9" * 30 + "." + "9" * 30)
@example(text="-" + "9" * 30 + "." + "0" * 29 + "1")
@example(text="-0.0")
@example(text="0.0")
@settings(max_examples=500)
def test_a_number_is_told_as_python_says(text):
    assert is_canonical(SemanticType.NUMBER, text) == is_own_form(SemanticType.NUMBER, text)
