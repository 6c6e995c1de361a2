"""Normalisation of dates, identifiers, telephone numbers and addresses: what is read, what is not, and how it is repaired."""

from __future__ import annotations

import datetime as dt
import random
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stdnum.cn import uscc
from stdnum.iso7064 import mod_11_2

from broker._native import normalise
from broker.model.catalogue import SemanticType
from broker.model.semantics import NotCanonical, canonical
from tests.oracle import normalise as oracle
from tests.support.people import company_id, resident_id
from tests.test_normalise import TELLING_TEXTS


def is_right_id(number: str) -> bool:
    """By python-stdnum's check digit and Python's calendar."""
    try:
        born = dt.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return 1860 <= born.year < 2200 and bool(mod_11_2.is_valid(number))


# --- dates -------------------------------------------------------------------------------------------------------

NUMERALS = str.maketrans("0123456789", "〇一二三四五六七八九")
SHORT_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
TENS = ["", "十", "二十", "三十"]


def in_numerals(number: int) -> str:
    return TENS[number // 10] + ("" if number % 10 == 0 else str(number % 10).translate(NUMERALS))


FORMS_OF_DATES = {
    "iso": "{0:04}-{1:02}-{2:02}".format,
    "in one": "{0:04}{1:02}{2:02}".format,
    "slashes": "{0:04}/{1}/{2}".format,
    "stops": "{0:04}.{1}.{2}".format,
    "Chinese": "{0:04}年{1}月{2}日".format,
    "spaced": " {0:04} 年 {1} 月 {2} 号 ".format,
    "numerals": lambda y, m, d: f"{f'{y:04}'.translate(NUMERALS)}年{in_numerals(m)}月{in_numerals(d)}日",
    "time": "{0:04}-{1:02}-{2:02} 12:30:15.250".format,
    "zone": "{0:04}-{1:02}-{2:02}T12:30:15+08:00".format,
    "fourteen": "{0:04}{1:02}{2:02}123015".format,
    "English": lambda y, m, d: f"{d} {SHORT_MONTHS[3 * m - 3 : 3 * m]} {y:04}",
    "American": lambda y, m, d: f"{dt.date(2000, m, 1):%B} {d}, {y:04}",
}


@pytest.mark.parametrize("form", FORMS_OF_DATES)
@settings(deadline=None)
@given(day=st.dates(dt.date(1, 1, 1)))
@example(day=dt.date(2000, 2, 29))
@example(day=dt.date(1999, 10, 10))
def test_every_form_of_a_day_is_read(form: str, day: dt.date) -> None:
    written = FORMS_OF_DATES[form](day.year, day.month, day.day)
    assert normalise.date(written) == day.year * 10_000 + day.month * 100 + day.day


@pytest.mark.parametrize("form", ["iso", "in one", "slashes", "Chinese", "fourteen", "English"])
@settings(deadline=None)
@given(year=st.integers(0, 9999), month=st.integers(1, 12), number=st.integers(28, 31))
def test_days_that_do_not_exist_are_not_read(form: str, year: int, month: int, number: int) -> None:
    written = FORMS_OF_DATES[form](year, month, number)
    try:
        expected = int(f"{dt.date(year, month, number):%Y%m%d}".rjust(8, "0")) if year else 0
    except ValueError:
        expected = 0
    assert normalise.date(written) == expected


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("21-03-05", 0),
        ("850305", 0),
        ("03/05/2021", 0),
        ("05/05/2021", 20210505),
        ("31/12/2021", 20211231),
        ("12/31/2021", 20211231),
        ("二〇二一年三月廿五日", 20210325),
        ("二零二一年十二月卅一日", 20211231),
        ("二○二一年元月五日", 20210105),
        ("一九八〇年腊月初八", 0),
        ("民国六十九年五月三日", 19800503),
        ("民国69年5月3日", 19800503),
        ("公元2021年3月5日", 20210305),
        ("5 Sept. 2021", 20210905),
        ("2021年3月", 0),
        ("2021", 0),
        ("19850000", 0),
        ("2021-03-05 25:00", 0),
        ("2021-03-05-1", 0),
        ("2021年3月5日12时30分", 20210305),
        ("44260", 0),
        ("", 0),
    ],
)
def test_dates_by_example(written: str, day: int) -> None:
    assert normalise.date(written) == day


# --- identifiers -------------------------------------------------------------------------------------------------

IDS = st.builds(
    lambda serial, day: resident_id(serial, f"{day:%Y%m%d}"),
    st.integers(0, 999),
    st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)),
)


@settings(deadline=None)
@given(IDS)
def test_right_ids_are_told(number: str) -> None:
    for written in (number, number.lower(), f"{number[:6]} {number[6:14]} {number[14:]}", number.replace("0", "O")):
        read = normalise.resident_id(written)
        assert (read.text, read.standing) == (number, normalise.VALID)
        assert normalise.resident_id_repairs(written) == ()


@settings(deadline=None)
@given(IDS, st.integers(0, 17), st.sampled_from("0123456789X"))
def test_one_wrong_character_is_repaired(number: str, at: int, char: str) -> None:
    if char == number[at] or (char == "X" and at < 17):
        return
    wrong = number[:at] + char + number[at + 1 :]
    assert normalise.resident_id(wrong).standing == normalise.REPAIRABLE
    assert number in normalise.resident_id_repairs(wrong)


@settings(deadline=None)
@given(st.text(alphabet="0123456789", min_size=17, max_size=17), st.sampled_from("0123456789X"))
@example("11010519491231002", "1")
def test_repairs_are_all_that_there_are(digits: str, check: str) -> None:
    number = digits + check
    repairs = normalise.resident_id_repairs(number)
    assert len(set(repairs)) == len(repairs)
    assert set(repairs) == (set() if is_right_id(number) else oracle.repairs(number, is_right_id))
    standing = normalise.resident_id(number).standing
    assert standing == (normalise.VALID if is_right_id(number) else normalise.REPAIRABLE if repairs else normalise.INVALID)


@pytest.mark.parametrize("first", ["810000", "820000", "830000", "911124"])
def test_residence_permits_are_of_the_right_form(first: str) -> None:
    digits = first + "19800101" + "001"
    number = digits + mod_11_2.calc_check_digit(digits)
    assert normalise.resident_id(number).standing == normalise.VALID


@pytest.mark.parametrize(
    ("written", "compared", "standing"),
    [
        ("110105491231002", "11010519491231002X", "VALID"),
        ("110105491331002", "110105491331002", "INVALID"),  # no such month
        ("11010519491231002ｘ", "11010519491231002X", "VALID"),
        ("11010519491231002×", "11010519491231002X", "VALID"),
        ("１１０１０５１９４９１２３１００２Ｘ", "11010519491231002X", "VALID"),
        ("无", "", "INVALID"),
        ("护照 E1234", "E1234", "INVALID"),
    ],
)
def test_resident_ids_by_example(written: str, compared: str, standing: str) -> None:
    read = normalise.resident_id(written)
    assert (read.text, read.standing, read.organisation) == (compared, getattr(normalise, standing), "")


def test_old_ids_become_new_ones_as_canonical_forms_do() -> None:
    draw = random.Random(15)
    for _ in range(300):
        written = f"990101{draw.randrange(100):02}{draw.randint(1, 12):02}{draw.randint(1, 31):02}{draw.randrange(1000):03}"
        try:
            expected = canonical(SemanticType.RESIDENT_ID, written)
        except NotCanonical:
            assert normalise.resident_id(written).standing == normalise.INVALID
        else:
            assert normalise.resident_id(written).text == expected


def test_codes_of_companies_agree_with_stdnum() -> None:
    for serial in range(0, 20_000, 101):
        code = company_id(serial)
        misread = code.translate(str.maketrans("015", "OIS"))
        for written in (code, code.lower(), f"{code[:8]}-{code[8:16]}-{code[16:]}", misread):
            read = normalise.company_code(written)
            assert (read.text, read.organisation, read.standing) == (code, code[8:17], normalise.VALID)
        wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
        assert uscc.is_valid(wrong) is False
        assert normalise.company_code(wrong).standing == normalise.INVALID


def test_the_code_of_an_organisation_stands_in_the_code_of_2015() -> None:
    code = "91110000802100433B"
    assert uscc.is_valid(code)
    old = normalise.company_code("80210043-3")
    assert normalise.company_code(code).organisation == old.organisation == "802100433"
    assert old.standing == normalise.VALID
    assert normalise.company_code("80210043-4").standing == normalise.INVALID


@pytest.mark.parametrize(
    ("written", "compared"),
    [("川食药监许字〔2021〕第5号", "川食药监许字2021第5号"), ("jy 1990-0001", "JY19900001"), ("（粤）Ａ１２", "粤A12")],
)
def test_licences_by_example(written: str, compared: str) -> None:
    assert normalise.licence_no(written) == compared


# --- telephones --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "digits", "extension", "flags"),
    [
        ("+86 137-0013-5508", "13700135508", "", "mobile"),
        ("0086 13700135508", "13700135508", "", "mobile"),
        ("8613700135508", "13700135508", "", "mobile"),
        ("(028) 8765 4321", "02887654321", "", "fixed"),
        ("+86 28 8765 4321", "02887654321", "", "fixed"),
        ("028-87654321-801", "02887654321", "801", "fixed"),
        ("028-87654321转801", "02887654321", "801", "fixed"),
        ("028-87654321 ext. 801", "02887654321", "801", "fixed"),
        ("400-820-8820", "4008208820", "", "service"),
        ("13700135508/13900135518", "13700135508", "", "mobile more"),
        ("+1 650 253 0000", "16502530000", "", "foreign"),
        ("13800138000", "13800138000", "", "mobile placeholder"),
        ("11111111", "11111111", "", "placeholder"),
        ("13900000000", "13900000000", "", "mobile placeholder"),
        ("无", "", "", "placeholder"),
    ],
)
def test_telephones_by_example(written: str, digits: str, extension: str, flags: str) -> None:
    read = normalise.phone(written)
    assert (read.digits, read.extension) == (digits, extension)
    assert read.flags == sum(normalise.FLAGS["phone"][flag] for flag in flags.split())


# --- addresses ---------------------------------------------------------------------------------------------------


def parts(address: str) -> str:
    return " ".join(f"{normalise.PARTS[kind]}:{text}" for kind, text, _ in normalise.address(address).parts)


WHOLE = "region:云鹤市 road:听松路 number:12 building:3 unit:2 room:501"


@pytest.mark.parametrize(
    "written",
    [
        "云鹤市听松路12号3栋2单元501室",
        "云鹤市听松路十二号三幢二单元五〇一户",
        "云鹤市 听松路 12号 3号楼 2单元 501",
        "雲鶴市聽松路１２號３棟２單元５０１號",
        "云鹤市听松路12号3-2-501",
        "云鹤市听松路12号3座2门501房",
        "云鹤市听松路012号第3栋2单元0501室",
        "云鹤市，听松路12#3#楼2单元501",
    ],
)
def test_one_address_has_one_reading(written: str) -> None:
    assert parts(written) == WHOLE


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("河南省三门峡市五一路12号", "region:河南省 region:三门峡市 road:51路 number:12"),
        (
            "成都市锦江区春熙街道办事处人民南路四段27号",
            "region:成都市 region:锦江区 region:春熙街道 road:人民南路 road:4段 number:27",
        ),
        ("荣县东兴镇王家村村民委员会三组12号", "region:荣县 region:东兴镇 community:王家村 group:3 number:12"),
        ("成都市城市花园3栋501", "region:成都市 community:城市花园 building:3 room:501"),
        ("静安区123弄5号楼甲单元501", "region:静安区 lane:123 building:5 unit:a room:501"),
        ("中关村大街1号附3号", "road:中关村大街 number:1 number:3"),
        ("第三小区第二十栋一百零八室", "community:3小区 building:20 room:108"),
        ("牛王庙社区居委会", "community:牛王庙社区"),
        ("春和小区5楼2单元3楼6室", "community:春和小区 building:5 unit:2 floor:3 room:6"),
        ("", ""),
        ("无", "community:无"),
    ],
)
def test_addresses_by_example(written: str, expected: str) -> None:
    assert parts(written) == expected


@settings(deadline=None)
@given(st.text(max_size=120) | TELLING_TEXTS)
def test_parts_stand_in_order_in_the_text(text: str) -> None:
    read = normalise.address(text)
    assert len(read.parts) <= 24
    at = 0
    for kind, part, hashed in read.parts:
        found = read.text.find(part, at)
        assert part
        assert found >= at
        at = found + len(part)
        assert 0 < kind < len(normalise.PARTS)
        assert 0 <= hashed < 2**64
    assert normalise.address(read.text).parts == read.parts


def test_hashes_tell_kind_and_text_apart() -> None:
    hashes = {}
    for address in (f"听松路{n}号{m}栋{m}单元{n}室" for n in range(1, 200) for m in range(1, 20)):
        hashes |= {(kind, text): hashed for kind, text, hashed in normalise.address(address).parts}
    assert len(set(hashes.values())) == len(hashes) > 400


@settings(deadline=None)
@given(st.integers(1, 9999))
def test_numerals_are_figures(number: int) -> None:
    digits, words = str(number), ""
    for place, digit in enumerate(reversed(digits)):
        words = (digit.translate(NUMERALS) + ["", "十", "百", "千"][place] if digit != "0" else "〇") + words
    words = re.sub("〇+$", "", words)
    assert normalise.address(f"听松路{words}号").text == f"听松路{number}号"
