"""Checking a record against the schema and the question."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ProviderNonsense
from broker.model.semantics import MAX_TEXT_CHARS
from broker.upstream.answer import check_answer
from tests.upstream_kit import GOOD, OTHER_PERSON, PERSON, everything_said, interface, question

EVERY_TYPE = {
    "resident_id": {"type": "resident_id"},
    "name": {"type": "person_name", "required": False},
    "born": {"type": "date", "required": False},
    "company": {"type": "uscc", "required": False},
    "licence": {"type": "licence_no", "required": False},
    "home": {"type": "address", "required": False},
    "note": {"type": "text", "required": False},
    "capital": {"type": "number", "required": False},
    "class": {"type": "text", "required": False},
}
ASKED = question(interface(answer=EVERY_TYPE))


def checked(**values: Any) -> dict[str, Any]:
    return check_answer(ASKED, {"resident_id": PERSON, **values}, "police")


def refused(**values: Any) -> ProviderNonsense:
    with pytest.raises(ProviderNonsense) as caught:
        checked(**values)
    return caught.value


def test_optional_fields_that_are_left_out_or_null_are_none() -> None:
    assert checked(name=None) == dict.fromkeys(EVERY_TYPE) | {"resident_id": PERSON}


@pytest.mark.parametrize(
    ("field", "sent", "comes_out"),
    [
        ("resident_id", "11010519491231002x", PERSON),
        ("born", "1949/12/31", "1949-12-31"),
        ("born", "", None),
        ("company", "91350100M000100Y43", "91350100M000100Y43"),
        ("licence", " ab 12 ", "AB12"),
        ("name", " 张 三 ", " 张 三 "),
        ("home", "中山路 1 号\n2 单元", "中山路 1 号\n2 单元"),
        ("note", "", ""),
        ("class", "C1", "C1"),
        ("capital", 12, 12),
        ("capital", 0.5, 0.5),
        ("capital", "1200.50", 1200.5),
        ("capital", "007", 7),
        ("capital", 2**64 - 1, 2**64 - 1),
        ("capital", "", None),
    ],
)
def test_values_come_out_in_their_final_form(field: str, sent: Any, comes_out: Any) -> None:
    found = checked(**{field: sent})[field]
    assert (found, type(found)) == (comes_out, type(comes_out))


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("resident_id", "110105194912310021"),
        ("resident_id", ""),
        ("born", "1949-02-30"),
        ("born", "unknown"),
        ("company", "91350100M000100Y44"),
        ("name", "张\x00三"),
        ("note", "\x1b[2J"),
        ("note", "\ud800"),
        ("note", "x" * (MAX_TEXT_CHARS + 1)),
        ("note", 1),
        ("note", ["text"]),
        ("capital", True),
        ("capital", "NaN"),
        ("capital", "1e5"),
        ("capital", float("nan")),
        ("capital", float("inf")),
        ("capital", 2**64),
        ("capital", "9" * 30),
        ("capital", "9" * 5000),
    ],
)
def test_what_has_no_final_form_is_nonsense_that_names_the_field_and_not_the_value(field: str, sent: Any) -> None:
    error = refused(**{field: sent})
    assert field in error.defect
    if str(sent) not in ("", "1"):
        assert str(sent) not in everything_said(error)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ProviderNonsense) as caught:
        check_answer(question(), {"resident_id": PERSON}, "police")
    assert "`name`" in caught.value.defect


def test_another_persons_record_is_refused() -> None:
    with pytest.raises(ProviderNonsense) as caught:
        check_answer(question(), GOOD | {"resident_id": OTHER_PERSON}, "police")
    assert caught.value.defect == "the answer is about another subject"
    assert OTHER_PERSON not in everything_said(caught.value)


def test_the_subject_may_be_written_in_another_way() -> None:
    asked = question(interface(answer={"sfzh": {"type": "text"}}, subject={"argument": "resident_id", "answer": "sfzh"}))
    assert check_answer(asked, {"sfzh": " 11010519491231002x "}, "police")["sfzh"] == " 11010519491231002x "
    with pytest.raises(ProviderNonsense):
        check_answer(asked, {"sfzh": "not an id"}, "police")


def test_a_subject_that_the_provider_left_out_is_refused() -> None:
    schema = {"resident_id": {"type": "resident_id", "required": False}}
    with pytest.raises(ProviderNonsense):
        check_answer(question(interface(answer=schema)), {}, "police")


def test_there_is_nothing_to_compare_where_the_answer_does_not_repeat_the_subject() -> None:
    silent = interface(answer={"name": {"type": "person_name"}}, subject={"argument": "resident_id"})
    assert check_answer(question(silent), {"name": "张三"}, "police") == {"name": "张三"}


def test_a_new_version_of_an_interface_has_a_schema_of_its_own() -> None:
    first = interface(answer={"resident_id": {"type": "resident_id"}, "note": {"type": "text"}})
    second = interface(answer={"resident_id": {"type": "resident_id"}, "note": {"type": "number"}}, version=2)
    assert check_answer(question(first), {"resident_id": PERSON, "note": "1"}, "police")["note"] == "1"
    assert check_answer(question(second), {"resident_id": PERSON, "note": "1"}, "police")["note"] == 1


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.lists(st.integers(), max_size=2)


@given(st.dictionaries(st.sampled_from([*EVERY_TYPE, "unknown"]), VALUES))
def test_what_is_let_through_can_always_be_encoded(values: dict[str, Any]) -> None:
    try:
        answer = checked(**values)
    except ProviderNonsense:
        return
    assert msgspec.json.decode(msgspec.json.encode(answer)).keys() == EVERY_TYPE.keys()
    msgspec.msgpack.encode(answer)
