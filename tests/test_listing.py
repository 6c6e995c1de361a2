"""Lists and pages, purely: every page size covers everything once, and a token is good for its own query only."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidRequest
from broker.model.listing import MAX_SIZE, Entry, Wanted, fold, page

NAMES = ("人口基本信息 公安部", "婚姻登记 民政部", "Ｅｎｔｅｒｐｒｉｓｅ 市场监督管理局", "STRASSE", "不动产 登记")


def _entries(keys: list[str]) -> list[Entry[str]]:
    return [Entry(key, fold(f"text of {key}"), key) for key in sorted(keys)]


def _walk(entries: list[Entry[str]], size: int, query: str = "", scope: tuple[str, ...] = ()) -> list[str]:
    seen: list[str] = []
    token = ""
    while True:
        found = page(entries, Wanted(size, token, query, scope))
        seen += [entry.value for entry in found.entries]
        token = found.token_after(len(found.entries))
        if not token:
            return seen


@given(st.lists(st.text(max_size=20), unique=True, max_size=60), st.integers(1, 70))
def test_pages_of_any_size_cover_everything_once(keys: list[str], size: int) -> None:
    keys = [key for key in keys if key.isprintable()]
    assert _walk(_entries(keys), size) == sorted(keys)


@given(st.lists(st.integers(0, 99), unique=True, min_size=2), st.data())
def test_what_comes_and_goes_between_pages_neither_repeats_nor_hides_others(numbers: list[int], data: st.DataObject) -> None:
    keys = [f"{number:02d}" for number in numbers]
    first = page(_entries(keys), Wanted(1))
    gone, new = data.draw(st.sampled_from(keys)), f"{data.draw(st.integers(0, 99)):02d}"
    later = _entries(sorted({*keys, new} - {gone}))
    rest = page(later, Wanted(MAX_SIZE, first.token_after(1)))
    assert [entry.key for entry in rest.entries] == [entry.key for entry in later if entry.key > first.entries[0].key]


def test_a_page_that_was_cut_short_goes_on_where_it_was_cut() -> None:
    entries = _entries([f"{number:03d}" for number in range(10)])
    cut = page(entries, Wanted(5)).token_after(2)
    assert [entry.key for entry in page(entries, Wanted(3, cut)).entries] == ["002", "003", "004"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 5),
        ("登记", 2),
        ("登记 民政部", 1),
        ("民政部 登记", 1),
        ("enterprise", 1),
        ("ＥＮＴＥＲ", 1),
        ("straße", 1),
        ("登记 公安部", 0),
        ("登记\u3000民政部", 1),
    ],
)
def test_every_word_must_occur_whatever_its_width_and_case(query: str, found: int) -> None:
    entries = [Entry(str(number), fold(name), name) for number, name in enumerate(NAMES)]
    assert page(entries, Wanted(query=query)).total == found


def test_no_word_reaches_over_two_texts() -> None:
    assert page([Entry("k", fold("ab", "cd"), "")], Wanted(query="bc")).total == 0


def test_the_greatest_size_is_kept_and_none_is_fifty() -> None:
    entries = _entries([f"{number:04d}" for number in range(1200)])
    assert len(page(entries, Wanted(5000)).entries) == MAX_SIZE
    assert len(page(entries, Wanted()).entries) == 50


def test_a_negative_size_and_a_long_query_are_refused() -> None:
    for wanted, field in ((Wanted(-1), "page_size"), (Wanted(query="x" * 257), "query")):
        with pytest.raises(InvalidRequest) as refusal:
            page(_entries([]), wanted)
        assert [violation.field for violation in refusal.value.violations] == [field]


ENTRIES = _entries([f"{number:02d}" for number in range(9)])
TOKEN = page(ENTRIES, Wanted(2, query="text", scope=("a",))).token_after(2)
_RAW = base64.urlsafe_b64decode(TOKEN)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "====",
        "é",
        TOKEN[:-4],
        TOKEN + "AAAA",
        TOKEN.rstrip("=") + "=" * 5,
        "A" * 2000,
        base64.b64encode(b"\xff" * 12).decode(),
    ]
    + [base64.urlsafe_b64encode(bytes([*_RAW[:at], _RAW[at] ^ 1, *_RAW[at + 1 :]])).decode() for at in range(len(_RAW))],
)
def test_a_token_that_was_touched_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        page(ENTRIES, Wanted(2, token, "text", ("a",)))
    assert [violation.field for violation in refusal.value.violations] == ["page_token"]
    assert token not in str(refusal.value)


def test_a_token_belongs_to_its_query_and_not_to_its_size() -> None:
    assert page(ENTRIES, Wanted(7, TOKEN, " TEXT ", ("a",))).entries[0].key == "02"
    for other in (Wanted(2, TOKEN, "", ("a",)), Wanted(2, TOKEN, "text", ("b",)), Wanted(2, TOKEN, "text", ("a", ""))):
        with pytest.raises(InvalidRequest):
            page(ENTRIES, other)


@given(st.text())
def test_no_text_is_a_token_by_chance(token: str) -> None:
    if token:
        with pytest.raises(InvalidRequest):
            page(ENTRIES, Wanted(2, token))
