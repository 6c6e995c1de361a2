"""Requests become keys: different questions never share one, equal ones written differently always do."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config import Limits
from broker.errors import InvalidRequest
from broker.model.call import Encoding, Question, Request
from broker.model.catalogue import Argument, Catalogue, Interface, SemanticType
from broker.model.question import answer_key, canonicalise, weigh
from broker.model.snapshot import mask_of
from broker.policy.compiler import compile_snapshot
from tests.support.catalogue import interface, provider
from tests.support.people import resident_id

_NAMES = ("a", "ab", "b", "ba", "c")
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), max_size=12)
_ARGUMENTS = st.dictionaries(st.sampled_from(_NAMES), _TEXT, max_size=5)
_MASKS = st.sets(st.sampled_from(("name", "status", "birth_date"))).map(lambda names: mask_of(tuple(sorted(names))))
LIMITS = Limits()


def _free(identifier: str, version: int) -> Interface:
    """An interface whose arguments are all optional texts."""
    arguments = {name: Argument(type=SemanticType.TEXT, required=False) for name in _NAMES}
    return msgspec.structs.replace(interface(id=identifier), version=version, arguments=arguments)


_INTERFACES = [_free(identifier, version) for identifier in ("a", "aa", "a.a") for version in (1, 11)]
SNAPSHOT = compile_snapshot(
    Catalogue(providers=(provider("http://x"),), interfaces=(*_INTERFACES, interface(), _free("i", 1))), 1
)
_ASKED = st.tuples(st.sampled_from(_INTERFACES), _ARGUMENTS, _MASKS, st.sampled_from(list(Encoding)))


def _request(arguments: dict[str, str]) -> Request:
    return Request(interface="i", arguments=arguments, purpose="p")


def _question(which: Interface, arguments: dict[str, str]) -> Question:
    return canonicalise(SNAPSHOT, which, _request(arguments))


@given(_ASKED, _ASKED)
def test_different_requests_never_share_a_key(one: tuple, other: tuple) -> None:
    meant, keys = [], []
    for which, arguments, mask, encoding in (one, other):
        try:
            question = _question(which, arguments)
        except InvalidRequest:
            return
        meant.append((which.id, which.version, question.arguments, mask, encoding))
        keys.append(answer_key(question, encoding, mask))
    assert (keys[0] == keys[1]) == (meant[0] == meant[1])


def test_a_value_cannot_reach_into_the_next_field() -> None:
    which = _free("i", 1)
    pairs = [{"a": "x", "b": "y"}, {"a": "xb", "b": "y"}, {"a": "x|b=y"}, {"ab": "xy"}, {"a": "xby"}, {}]
    assert len({_question(which, arguments).key for arguments in pairs}) == len(pairs)


def _written(draw: st.DrawFn, text: str) -> str:
    """Write an identifier as people do: full width here and there, small letters, spaces around."""
    styles = draw(st.lists(st.sampled_from("fl "), min_size=len(text), max_size=len(text)))
    shapes = {"f": lambda c: chr(ord(c) + 0xFEE0), "l": str.lower, " ": str}
    around = draw(st.sampled_from(("", " ", "\u3000", "\t")))
    return around + "".join(shapes[style](char) for style, char in zip(styles, text, strict=True)) + around


@st.composite
def _spellings(draw: st.DrawFn) -> tuple[str, str]:
    text = resident_id(draw(st.integers(0, 999)))
    return _written(draw, text), _written(draw, text)


@given(_spellings())
def test_equal_requests_written_differently_share_a_key(spellings: tuple[str, str]) -> None:
    one, other = (_question(interface(), {"resident_id": text}) for text in spellings)
    assert one == other


def test_a_question_says_nothing_of_who_asks_and_an_answer_key_does() -> None:
    question = _question(interface(), {"resident_id": resident_id(1)})
    keys = {
        answer_key(question, encoding, mask_of(fields))
        for encoding in Encoding
        for fields in (("name",), ("name", "status"), ())
    }
    assert len(keys) == 6
    assert question.key not in keys


def test_every_violation_is_named_and_no_value() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        canonicalise(SNAPSHOT, interface(), _request({"unknown": "secret-1", "Not A Name!": "secret-2"}))
    found = {violation.field: violation.rule for violation in refusal.value.violations}
    assert found == {
        "arguments": "is not an argument of this interface",
        "arguments.unknown": "is not an argument of this interface",
        "arguments.resident_id": "is required",
    }
    assert "secret" not in str(refusal.value)
    assert "Not A Name" not in str(refusal.value)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request(interface="", arguments={}, purpose="p"), "interface"),
        (Request(interface="i", arguments={}, purpose=""), "purpose"),
        (Request(interface="i", arguments={}, purpose="p", case_id="x" * 129), "case_id"),
        (Request(interface="i", arguments={str(n): "" for n in range(33)}, purpose="p"), "arguments"),
        (Request(interface="i", arguments={"name": "x" * 65536}, purpose="p"), "arguments.name"),
        (Request(interface="i", arguments={"x" * 65536: ""}, purpose="p"), "arguments"),
    ],
)
def test_what_weighs_too_much_is_refused_before_work(request_: Request, field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        weigh(request_, LIMITS)
    assert [violation.field for violation in refusal.value.violations] == [field]


def test_text_longer_than_its_argument_allows_is_refused() -> None:
    which = interface(arguments={"resident_id": {"type": "text", "max_chars": 5}})
    with pytest.raises(InvalidRequest, match="longer than 5 characters"):
        _question(which, {"resident_id": "123456"})
