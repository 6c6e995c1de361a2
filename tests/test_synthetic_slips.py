"""What goes wrong in a value, one slip at a time: it is what it says, never nothing, and leaves alone what it cannot change."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_11_2

from broker.demo.synthetic import characters, name_tables, places
from broker.demo.synthetic.slips import BIRTH_SLIPS, ID_SLIPS, NAME_SLIPS, name_pinyin, name_rare
from tests.synthetic_kit import SHOWS

LOTS = st.integers(0, 2**64 - 1)
BODIES = st.from_regex(r"99[0-9]{4}(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])[0-9]{3}", fullmatch=True)
NUMBERS = BODIES.map(lambda body: body + mod_11_2.calc_check_digit(body))
CHARACTERS = "".join(characters.READINGS)
NAMES = st.one_of(
    st.text(CHARACTERS, min_size=2, max_size=4),
    st.text(CHARACTERS, min_size=1, max_size=2).flatmap(lambda start: st.sampled_from(name_tables.RARE).map(start.__add__)),
    st.sampled_from([f"{own}·{father}" for own in name_tables.OWN_NAMES[1].split() for father in ("买买提", "艾力")]),
)
BIRTHS = st.dates(dt.date(1901, 1, 1), dt.date(2025, 12, 31))


@pytest.mark.parametrize("name", ID_SLIPS)
@given(number=NUMBERS, lot=LOTS)
def test_numbers(name: str, number: str, lot: int) -> None:
    wrong = ID_SLIPS[name](number, lot)
    if wrong is None:
        assert name in ("id_15", "id_lower_x", "id_wide_x")
        assert number[17] != "X" or number[6:8] != "19"
    else:
        assert SHOWS[name](number, wrong)
        if name in ("id_digit", "id_transposed"):
            assert not mod_11_2.is_valid(wrong), "MOD 11-2 notices every wrong digit and every swap"


@pytest.mark.parametrize("error", NAME_SLIPS)
@given(name=NAMES, lot=LOTS)
def test_names(error: str, name: str, lot: int) -> None:
    wrong = NAME_SLIPS[error](name, lot)
    assert wrong is None or SHOWS[error](name, wrong)
    if error == "name_spaced":
        assert wrong is not None
    if error == "name_dropped":
        assert (wrong is None) == (len(name) == 2)


@pytest.mark.parametrize("error", BIRTH_SLIPS)
@given(birth=BIRTHS, lot=LOTS)
def test_birth_dates(error: str, birth: dt.date, lot: int) -> None:
    wrong = BIRTH_SLIPS[error](birth, lot)
    assert SHOWS[error](birth, wrong) if wrong is not None else error == "birth_swapped"


def test_slips_use_all_their_chances() -> None:
    """Over many lots every place of a value is hit."""
    number, name = "99010119900307002X", "王小明"
    hit = {
        place
        for lot in range(400)
        for place in range(17)
        if (ID_SLIPS["id_digit"](number, lot) or number)[place] != number[place]
    }
    assert hit == set(range(17))
    dropped = {NAME_SLIPS["name_dropped"](name, lot) for lot in range(50)}
    assert dropped == {"王明", "王小"}


def test_pinyin_of_names() -> None:
    assert {name_pinyin("欧阳建国", lot) for lot in range(4)} == {
        "OUYANG JIANGUO",
        "Ouyang Jianguo",
        "Jianguo Ouyang",
        "ouyangjianguo",
    }
    assert name_pinyin("曾伟", 0) == "ZENG WEI"
    assert name_pinyin("艾力·买买提", 0) is None


def test_a_rare_character_has_another_code_or_is_missing() -> None:
    forms = {name_rare("李\ue863", lot) for lot in range(50)}
    assert forms == {"李?", "李*", "李＊", "李〓", "李□", "李䶮"}
    assert "李\ue863" in {name_rare("李䶮", lot) for lot in range(50)}
    assert name_rare("李明", 0) is None


# --- the tables, against those of other people --------------------------------------------------------------------------


def test_readings_are_those_of_pypinyin_but_for_surnames() -> None:
    pypinyin = pytest.importorskip("pypinyin")
    other = {
        char: {reading.replace("ü", "v") for reading in pypinyin.pinyin(char, style=pypinyin.Style.NORMAL, heteronym=True)[0]}
        for char in characters.READINGS
    }
    wrong = {char for char, reading in characters.READINGS.items() if reading not in other[char]}
    assert wrong == set()


def test_homophones_are_symmetric_and_others() -> None:
    for table in (characters.HOMOPHONES, characters.LOOKALIKES):
        for char, others in table.items():
            assert char not in others
            assert others
            assert all(char in table[other] for other in others)


def test_traditional_forms_are_others() -> None:
    assert all(simplified != traditional for simplified, traditional in characters.TRADITIONAL.items())
    assert (characters.TRADITIONAL["张"], characters.TRADITIONAL["刘"]) == ("張", "劉")


def test_private_use_characters_are_where_the_standard_had_them() -> None:
    """GB 18030-2000 two-byte codes, as Python's codec still has them, of characters that moved into Unicode since."""
    codes = ("fe59", "fe61", "fe66", "fe67", "fe6d", "fe7e", "fe90", "fea0")
    former = [bytes.fromhex(code).decode("gb18030") for code in codes]
    assert [name_tables.PRIVATE_USE[char] for char in former] == [chr(code) for code in range(0x9FB4, 0x9FBC)]
    assert b"\xfe\x9f".decode("gb18030") == name_tables.PRIVATE_USE["\ue863"]


# --- addresses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (3, "三"),
        (10, "十"),
        (12, "十二"),
        (110, "一百一十"),
        (205, "二百零五"),
        (1203, "一千二百零三"),
        (1010, "一千零一十"),
        (1200, "一千二百"),
    ],
)
def test_chinese_numerals(number: int, text: str) -> None:
    assert places.chinese(number) == text


def _one_home(**codes: int) -> Any:
    import numpy as np

    home = dict.fromkeys(("COMMUNITY", "ROAD", "NUMBER", "BUILDING", "UNIT", "ROOM", "INSTITUTION"), 0) | codes
    return np.array([list(home.values())] * len(places.STYLES))


@pytest.mark.parametrize(
    "home", [{"NUMBER": 12, "BUILDING": 5, "UNIT": 2, "ROOM": 9}, {"NUMBER": 7}, {"ROAD": 325, "NUMBER": 45}]
)
def test_every_style_writes_every_address_differently(home: dict[str, int]) -> None:
    import numpy as np

    written = places.city_of(0).addresses(_one_home(**home), np.arange(len(places.STYLES))).to_pylist()
    assert written[0] not in written[1:]
    assert len(set(written)) > len(written) / 2
    assert all(
        str(home["NUMBER"]) in text or places.chinese(home["NUMBER"]) in text or "２" in text or "７" in text or "４" in text
        for text in written
    )


def test_cities_and_districts_have_names_and_codes_of_their_own() -> None:
    codes = [code for city in range(places.CITIES) for code in places.City(city).divisions]
    assert len(set(codes)) == len(codes) == 720
    assert places.City(0).divisions[:2] == ["990101", "990102"]
    firsts = [places.city_of(city).addresses(_one_home(NUMBER=1))[0].as_py() for city in range(places.CITIES)]
    assert len(set(firsts)) == places.CITIES
