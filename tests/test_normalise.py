"""Normalisation: what always holds, agreement with canonical forms, and the traps in names of people and companies."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker._native import normalise
from broker.model.catalogue import SemanticType
from broker.model.semantics import NotCanonical, canonical
from tests.oracle import normalise as oracle

BITS = normalise.FLAGS
TEXTS = {
    "person": lambda text: normalise.person_name(text).text,
    "company": lambda text: normalise.company_name(text).text,
    "resident id": lambda text: normalise.resident_id(text).text,
    "company code": lambda text: normalise.company_code(text).text,
    "phone": lambda text: normalise.phone(text).digits,
    "licence": normalise.licence_no,
    "address": lambda text: normalise.address(text).text,
    "date": lambda text: str(normalise.date(text)),
    "fold": normalise.fold,
    "text": normalise.free_text,
}
COMPARED = {
    SemanticType.PERSON_NAME: TEXTS["person"],
    SemanticType.RESIDENT_ID: TEXTS["resident id"],
    SemanticType.USCC: TEXTS["company code"],
    SemanticType.ADDRESS: TEXTS["address"],
    SemanticType.DATE: TEXTS["date"],
    SemanticType.LICENCE_NO: TEXTS["licence"],
    SemanticType.TEXT: TEXTS["text"],
}
# Characters that the rules look at, so that random texts of them come upon the rules.
TELLING = (
    "张三王 ·.-()（）?*□×,'/#ab19０〇一二十百千第甲乙号栋幢座楼单元室户房层组队社村委会居民街道办事处"
    "省市区县镇乡路段弄城都小附之年月日有限责任公司股份集团分"
)
TELLING_TEXTS = st.text(alphabet=TELLING, max_size=40)


def readings(name: str) -> str:
    return " ".join(normalise.SYLLABLES[number] for number in normalise.person_name(name).readings)


# --- what always holds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TEXTS)
@settings(deadline=None)
@given(text=st.text(max_size=80) | TELLING_TEXTS)
@example(text="\ud800")
@example(text="\0")
@example(text="")
def test_nothing_is_refused_and_twice_is_once(kind: str, text: str) -> None:
    once = TEXTS[kind](text)
    if kind != "date":
        assert TEXTS[kind](once) == once


@pytest.mark.parametrize("kind", TEXTS)
@settings(deadline=None)
@given(text=TELLING_TEXTS)
def test_width_makes_no_difference(kind: str, text: str) -> None:
    wide = "".join(chr(ord(char) + 0xFEE0) if 0x21 <= ord(char) <= 0x7E else char for char in text).replace(" ", "\u3000")
    assert TEXTS[kind](wide) == TEXTS[kind](text)


@pytest.mark.parametrize("kind", COMPARED)
@settings(deadline=None)
@given(text=TELLING_TEXTS | st.text(alphabet="0123456789xX -年月日", max_size=20))
@example(text="2019年1月31")
@example(text="0001/2.3")
@example(text="1 十")
@example(text="110105491231002")
@example(text="110105491231999")
def test_texts_of_one_canonical_form_have_one_compared_form(kind: SemanticType, text: str) -> None:
    try:
        exact = canonical(kind, text)
    except NotCanonical:
        return
    assert COMPARED[kind](text) == COMPARED[kind](exact)
    if kind is SemanticType.DATE:
        assert normalise.date(text) == int(exact.replace("-", ""))
    if kind in (SemanticType.RESIDENT_ID, SemanticType.USCC):
        assert COMPARED[kind](text) == exact


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize(
    "part", ["张", "\U00020000", "\u200b", "(", ")", "十", "第", "3-", "3栋", "ﷺ", "村委会", "公司", "a.", "9"]
)
def test_long_texts_are_bounded(kind: str, part: str) -> None:
    text = part * (65_536 // len(part))
    assert len(TEXTS[kind](text)) <= 512


@pytest.mark.parametrize(
    "function", [normalise.fold, normalise.person_name, normalise.address, normalise.date, normalise.phone]
)
@pytest.mark.parametrize("wrong", [None, b"a", 1])
def test_only_text_is_taken(function: object, wrong: object) -> None:
    with pytest.raises(TypeError):
        function(wrong)  # type: ignore[operator]


def test_results_are_not_made_by_hand() -> None:
    for kind in (normalise.PersonName, normalise.CompanyName, normalise.Identifier, normalise.Phone, normalise.Address):
        with pytest.raises(TypeError):
            kind()


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dot", [*oracle.MIDDLE_DOTS, "．", ".", " ", "", "-", " · "])
def test_the_dot_of_a_name_may_be_any_or_none(dot: str) -> None:
    name = normalise.person_name(f"阿卜杜拉{dot}买买提")
    assert name.text == "阿卜杜拉买买提"
    assert (name.first_part, name.surname) == ((4, 0) if dot.strip() else (7, 1))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("单雄信", "shan xiong xin"),
        ("仇英", "qiu ying"),
        ("曾国藩", "zeng guo fan"),
        ("查良镛", "zha liang yong"),
        ("解缙", "xie jin"),
        ("区志强", "ou zhi qiang"),
        ("盖叫天", "ge jiao tian"),
        ("朴树", "piao shu"),
        ("尉遲恭", "yu chi gong"),
        ("尉健行", "wei jian xing"),
        ("万俟卨", "mo qi xie"),
        ("万里", "wan li"),
        ("单于飞", "chan yu fei"),
        ("单于", "shan yu"),  # two characters: a surname of one
        ("长孙无忌", "zhang sun wu ji"),
        ("歐陽脩", "ou yang xiu"),
        ("张单", "zhang dan"),  # only the surname is read as one
        ("吕布", "lv bu"),
        ("陈\U0002c72f", "chen liang"),  # 𬜯, beyond the basic plane
        ("李?明", "li  ming"),
    ],
)
def test_surnames_are_read_as_surnames(name: str, read: str) -> None:
    assert readings(name) == read


@pytest.mark.parametrize(
    ("written", "compared", "flags"),
    [
        ("张 三", "张三", ""),
        ("张\U000e0100三", "张三", ""),
        ("李*", "李?", "unknown"),
        ("李□明", "李?明", "unknown"),
        ("李〓明", "李?明", "unknown"),
        ("李××", "李??", "unknown"),
        ("张三（曾用名：李四）", "张三", "remark"),
        ("张三（", "张三", ""),
        ("（张三）", "张三", ""),
        ("Anna-Maria  O’Neil", "anna maria oneil", "latin"),
        ("SMITH, John Q.", "smith john q", "latin"),
        ("J.R.R. Tolkien", "j r r tolkien", "latin"),
        ("Müller", "muller", "latin"),
        ("Đặng Thị", "dang thi", "latin"),
        ("𠮷野", "吉野", ""),
        ("\ue81e", "\u9fb4", ""),  # GB 18030 FE59
        ("\U00030ede\U00030edd", "\U00030edd\U00030edd", ""),  # biang, extension G
        ("", "", "latin"),
    ],
)
def test_names_by_example(written: str, compared: str, flags: str) -> None:
    name = normalise.person_name(written)
    assert name.text == compared
    assert name.flags == sum(BITS["person"][flag] for flag in flags.split())


def test_long_names_are_cut() -> None:
    name = normalise.person_name("张" * 65)
    assert (len(name.text), name.flags) == (64, BITS["person"]["cut"])


# --- companies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "四川春和餐饮有限公司",
        "四川春和餐饮有限责任公司",
        "四川 春和 餐饮 有限公司",
        "春和（四川）餐饮有限公司",
        "春和(四川)餐饮有限公司",
        "四川省春和餐饮（集团）有限公司",
        "四川“春和”餐饮集团有限公司",
        "四川省成都市锦江区春和餐饮有限公司",
        "四川春和餐飲有限責任公司",
        "云鹤市春和餐饮有限公司",
    ],
)
def test_variants_of_a_company_have_one_core(name: str) -> None:
    read = normalise.company_name(name)
    assert (read.core, normalise.FORMS[read.form], read.branch) == ("春和餐饮", "limited", "")
    assert read.place


@pytest.mark.parametrize(
    ("name", "core", "place", "branch", "form", "flags"),
    [
        ("春和集团有限公司成都分公司", "春和", "", "成都分公司", "limited", "group branch"),
        ("中国银行成都分行", "中国银行成都分行", "", "", "", "branch"),
        ("春和股份公司", "春和", "", "", "joint stock", ""),
        ("春和股份有限公司", "春和", "", "", "joint stock", ""),
        ("春和公司（筹）", "春和", "", "", "company", "remark"),
        ("成都有限公司", "成都", "", "", "limited", ""),
        ("上海超市有限公司", "超市", "上海", "", "limited", ""),
        ("公司", "公司", "", "", "", ""),
        ("天健会计师事务所（特殊普通合伙）", "天健会计师事务所", "", "", "partnership", ""),
        ("ABC Trading Co.,Ltd.", "abc trading", "", "", "limited", ""),
        ("ABC TRADING CO. LTD", "abc trading", "", "", "limited", ""),
        ("", "", "", "", "", ""),
    ],
)
def test_companies_by_example(name: str, core: str, place: str, branch: str, form: str, flags: str) -> None:
    read = normalise.company_name(name)
    assert (read.core, read.place, read.branch, normalise.FORMS[read.form]) == (core, place, branch, form)
    assert read.flags == sum(BITS["company"][flag] for flag in flags.split())


@settings(deadline=None)
@given(TELLING_TEXTS)
def test_a_company_has_a_core_if_it_has_a_name(text: str) -> None:
    read = normalise.company_name(text)
    assert bool(read.core) == bool(read.text)
    assert read.place in read.text
    assert read.branch in read.text
