"""The fold by tables: against Unicode, OpenCC and pypinyin, and what no file of tables may be."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker._native import cachekey, normalise
from tests.oracle import normalise as oracle

TABLES = (Path(normalise.__file__).parent / "normalisation.bin").read_bytes()
UNICODE_OF_TABLES = normalise.MADE_FROM.split()[1].rstrip(",")
EVERYTHING = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
IDEOGRAPHS = "".join(map(chr, range(0x4E00, 0xA000)))
# Bytes of GB 18030 whose private-use form of 2000 and 2005 is another character in 2022 (the standard's table of changes).
MOVED = {"a6d9": 0xFE10, "a6da": 0xFE12, "a6db": 0xFE11, "a6dc": 0xFE13, "a6dd": 0xFE14, "a6de": 0xFE15, "a6df": 0xFE16}
MOVED |= {"a6ec": 0xFE17, "a6ed": 0xFE18, "a6f3": 0xFE19, "fe51": 0x20087, "fe52": 0x20089, "fe53": 0x200CC, "fe59": 0x9FB4}
MOVED |= {"fe61": 0x9FB5, "fe66": 0x9FB6, "fe67": 0x9FB7, "fe6c": 0x215D7, "fe6d": 0x9FB8, "fe76": 0x2298F, "fe7e": 0x9FB9}
MOVED |= {"fe90": 0x9FBA, "fe91": 0x241FE, "fea0": 0x9FBB}


def opencc() -> Any:
    """OpenCC's everyday conversion; a test that needs it is skipped where it is not installed."""
    try:
        from opencc import OpenCC
    except ImportError:
        pytest.skip("needs OpenCC: pip install opencc")
    return OpenCC("t2s")


def test_every_code_point_folds_to_what_folds_to_itself() -> None:
    for code in EVERYTHING:
        folded = normalise.fold(chr(code))
        assert normalise.fold(folded) == folded, hex(code)


@settings(deadline=None)
@given(st.text())
@example("\ud800")
def test_fold_is_idempotent_and_takes_characters_one_by_one(text: str) -> None:
    folded = normalise.fold(text)
    assert normalise.fold(folded) == folded
    assert folded == "".join(map(normalise.fold, text))[:512]


@pytest.mark.skipif(
    unicodedata.unidata_version != UNICODE_OF_TABLES, reason="the tables are of another Unicode than this Python"
)
def test_letters_fold_as_unicode_has_it() -> None:
    """Every letter and digit that Unicode alone decides: all but ideographs and the few letters it does not decompose."""
    own = set("øǿðđɖæǽœþłħŧıŋ\u115f\u1160\u119e") | {chr(code) for code in range(0x2E80, 0x2FE0)}
    compared, wrong = 0, []
    for char in map(chr, EVERYTHING):
        folded = oracle.fold(char)
        plain = unicodedata.category(char)[0] in "LN" and not own & set(folded + char.casefold())
        if not plain or any(ord(each) >= 0x3400 or each in oracle.MIDDLE_DOTS + "ʹʻʼʽˈ՚ꞌㆍ〇" for each in folded):
            continue
        if any(unicodedata.category(each)[0] not in "LN" or unicodedata.decimal(each, None) is not None for each in folded):
            continue
        compared += 1
        wrong += [hex(ord(char))] if normalise.fold(char) != folded else []
    assert wrong == []
    assert compared > 8_000


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_width_makes_no_difference(text: str) -> None:
    wide = "".join(chr(ord(char) + 0xFEE0) for char in text)
    assert normalise.fold(wide) == normalise.fold(text)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F)))
def test_case_and_composition_make_no_difference(text: str) -> None:
    folded = normalise.fold(text)
    assert normalise.fold(text.casefold()) == folded
    assert normalise.fold(unicodedata.normalize("NFD", text)) == folded


def test_simplified_characters_are_as_opencc_has_them() -> None:
    simplify = opencc().convert
    mine = "".join(normalise.fold(char) for char in IDEOGRAPHS)
    assert len(mine) == len(IDEOGRAPHS)
    changed = [(char, got) for char, got in zip(IDEOGRAPHS, mine, strict=True) if simplify(char) != char]
    assert len(changed) > 2500
    # Where OpenCC simplifies, so do we; beyond it only the lists of variants go.
    assert [(char, got) for char, got in changed if got not in (simplify(char), normalise.fold(simplify(char)))] == []
    further = sum(got not in (char, simplify(char)) for char, got in zip(IDEOGRAPHS, mine, strict=True))
    assert 0 < further < 600


def test_readings_are_as_pypinyin_has_them() -> None:
    pypinyin = pytest.importorskip("pypinyin", reason="needs pypinyin")
    checked = wrong = 0
    for char in IDEOGRAPHS:
        number = normalise.syllable(char)
        if normalise.fold(char) != char or number == 0:
            continue
        [[expected]] = pypinyin.pinyin(char, style=pypinyin.Style.NORMAL, errors=lambda _: [""])
        checked += 1
        wrong += normalise.SYLLABLES[number] != expected.replace("ü", "v")
    assert checked > 15_000
    assert wrong == 0


@pytest.mark.parametrize(("written", "standard"), MOVED.items())
def test_gb18030_of_every_year_is_one_character(written: str, standard: int) -> None:
    decoded = bytes.fromhex(written).decode("gb18030")
    assert normalise.fold(decoded) == normalise.fold(chr(standard))


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("歐陽脩", "欧阳修"),
        ("羣峯", "群峰"),
        ("\uf9f4\ufa19", "林神"),  # compatibility ideographs
        ("\u2f42\u2ed3", "文长"),  # radicals
        ("广\U000e0100州\ufe00", "广州"),  # selectors of a variant are dropped
        ("Ｚürich ﬁ Ⅳ", "zurich fi iv"),
        ("a\u00adb\u200bc", "abc"),
        ("〔２０２１〕", "(2021)"),
        ("—–－", "---"),
        ("□■〓\ufffd\ud800", "□□□□□"),
        ("٣", "3"),
        ("\U00020bb7", "吉"),  # 𠮷, a variant beyond the basic plane
        ("\U0002b40e", "\U0002b40e"),  # 𫐎, beyond the basic plane
    ],
)
def test_fold_by_example(written: str, compared: str) -> None:
    assert normalise.fold(written) == compared


def test_middle_dots_are_one() -> None:
    assert {normalise.fold(dot) for dot in oracle.MIDDLE_DOTS} == {"·"}


def test_shapes_are_classes() -> None:
    for alike in ("己已巳", "未末", "土士", "日曰", "萧肖", "傅付"):
        assert len({normalise.shape(char) for char in alike}) == 1
        assert normalise.shape(alike[0]) != 0
    assert normalise.shape("己") != normalise.shape("未")
    assert normalise.shape("a") == 0


@pytest.mark.slow
def test_the_tables_are_what_the_generator_writes() -> None:
    """Nobody edits the file; with the versions that it was made from, its bytes come out again."""
    opencc()
    pytest.importorskip("pypinyin", reason="needs pypinyin")
    from tools import normalisation_tables

    if normalisation_tables.about().decode() != normalise.MADE_FROM:
        pytest.skip(f"the tables were made from other versions: {normalise.MADE_FROM}")
    assert normalisation_tables.file_of(normalisation_tables.sections()) == TABLES


def resealed(data: bytearray) -> bytes:
    data[16:20] = cachekey.crc32c(bytes(data[20:])).to_bytes(4, "little")
    return bytes(data)


def test_damaged_tables_are_refused() -> None:
    assert normalise.is_table_file(TABLES)
    assert not normalise.is_table_file(b"")
    for cut in (1, 8, 19, 20, 100, len(TABLES) - 1):
        assert not normalise.is_table_file(TABLES[:cut])
    for at in range(0, len(TABLES), 9973):
        flipped = bytearray(TABLES)
        flipped[at] ^= 1
        assert not normalise.is_table_file(flipped)
    assert not normalise.is_table_file(TABLES + b"\0")


@pytest.mark.parametrize("number", [*range(8, 16, 4), *range(20, 120, 4)])
def test_tables_that_lead_nowhere_are_refused_even_with_a_right_checksum(number: int) -> None:
    """Header and directory: no number there can be another one."""
    wrong = bytearray(TABLES)
    wrong[number : number + 4] = (0xFFFFFFF8).to_bytes(4, "little")
    assert not normalise.is_table_file(resealed(wrong))


@pytest.mark.parametrize(("section", "value"), [(0, 0xFFFF), (1, 0x9F0FFFFF), (1, 0x5FFFFFFF), (2, 0x110000), (3, 0xFFFF)])
def test_values_that_lead_nowhere_are_refused(section: int, value: int) -> None:
    wrong = bytearray(TABLES)
    at = int.from_bytes(wrong[24 + 8 * section :][:4], "little")
    size = 2 if section in (0, 3) else 4
    wrong[at : at + size] = value.to_bytes(size, "little")
    assert not normalise.is_table_file(resealed(wrong))
    wrong[at : at + size] = bytes(size)
    assert normalise.is_table_file(resealed(wrong))


def test_bytes_of_any_address_are_looked_at_safely() -> None:
    assert normalise.is_table_file(memoryview(b"x" + TABLES)[1:])
