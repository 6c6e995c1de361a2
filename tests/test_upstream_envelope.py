"""Filling in parameters and opening envelopes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderOverloaded,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from broker.model.catalogue import Envelope
from broker.upstream import codec
from broker.upstream.envelope import SignatureRefused, fault_of, fill, look_up, open_envelope

FIELDS = {"name": "xm", "resident_id": "id.number"}
RECORD = {"xm": "张三", "id": {"number": "1"}, "extra": "unused"}
OURS = {"name": "张三", "resident_id": "1"}
CODED = Envelope(
    record="data.records.0",
    code="code",
    success=("0", "200"),
    not_found=("404",),
    faults={"503": "unavailable", "504": "timeout", "429": "overloaded", "1": "refused"},
)


def opened(decoded: Any, envelope: Envelope = CODED) -> Any:
    return open_envelope(envelope, FIELDS, decoded, "police")


def coded(code: Any, **data: Any) -> dict[str, Any]:
    return {"code": code, "message": "张三 is not known here", "data": data}


@pytest.mark.parametrize("code", ["0", 0, "200", 200])
def test_a_success_code_opens_the_record_whether_text_or_number(code: Any) -> None:
    assert opened(coded(code, records=[RECORD])) == OURS


def test_a_truth_value_is_a_code_too() -> None:
    envelope = Envelope(code="success", success=("true",), faults={"false": "unavailable"})
    assert opened({"success": True, **RECORD}, envelope) == OURS
    with pytest.raises(ProviderUnavailable):
        opened({"success": False, **RECORD}, envelope)


@pytest.mark.parametrize(
    "decoded",
    [coded("404", records=[RECORD]), coded("0", records=[]), coded("0", records=None), {"code": "0", "data": None}],
)
def test_no_record_is_an_answer(decoded: Any) -> None:
    assert opened(decoded) is None


def test_a_name_that_is_gone_is_no_record_only_where_no_code_says_so() -> None:
    with pytest.raises(ProviderNonsense):
        opened(coded("0"))
    assert opened(coded("0"), msgspec.structs.replace(CODED, not_found=())) is None


@pytest.mark.parametrize(
    ("code", "error", "upstream_code"),
    [
        ("503", ProviderUnavailable, "503"),
        (504, ProviderTimeout, "504"),
        ("429", ProviderOverloaded, "429"),
        ("1", ProviderRefused, "1"),
        ("api-007", ProviderRefused, "api-007"),
        ("没有 张三", ProviderRefused, ""),
        ("20240101", ProviderRefused, "20240101"),
        ("110105194912310025", ProviderRefused, ""),
        (13912345678, ProviderRefused, ""),
        ("E13912345678", ProviderRefused, ""),
        ("longer-than-a-code", ProviderRefused, ""),
        ("7\n", ProviderRefused, ""),
        ("", ProviderRefused, ""),
    ],
)
def test_any_other_code_is_an_error_of_the_kind_the_interface_says(
    code: Any, error: type[ProviderError], upstream_code: str
) -> None:
    with pytest.raises(error) as caught:
        opened(coded(code, records=[RECORD]))
    assert type(caught.value) is error
    assert caught.value.upstream_code == upstream_code


@pytest.mark.parametrize(
    ("code", "fault"),
    [("db-001", "unavailable"), ("db-", "unavailable"), ("db", "refused"), ("db-7", "timeout"), ("db-9x", "overloaded")],
)
def test_a_fault_may_be_named_by_how_its_codes_begin(code: str, fault: str) -> None:
    envelope = Envelope(code="code", success=("200",), faults={"db-*": "unavailable", "db-7": "timeout", "db-9*": "overloaded"})
    assert fault_of(envelope, code) == fault


def test_a_code_may_mean_that_the_signature_was_not_accepted() -> None:
    envelope = Envelope(code="code", success=("00",), faults={"14": "unsigned"})
    with pytest.raises(SignatureRefused) as caught:
        opened({"code": "14"}, envelope)
    assert caught.value.upstream_code == "14"
    assert caught.value.reason == ProviderRefused.reason


@pytest.mark.parametrize(
    "decoded",
    [
        {"data": {"records": [RECORD]}},  # no code
        {"code": None},
        {"code": 0.0},
        {"code": ["0"]},
        coded("0", records={"0x": 1}) | {"data": "text"},
        coded("0", records="text"),
        coded("0", records=["text"]),
        coded("0", records=[[RECORD, RECORD]]),
        coded("0", records=[RECORD | {"id": "text"}]),
        "text",
        7,
    ],
)
def test_an_answer_built_otherwise_is_nonsense(decoded: Any) -> None:
    with pytest.raises(ProviderNonsense):
        opened(decoded)


def test_a_list_of_one_is_the_record_and_a_list_of_two_is_nonsense() -> None:
    assert opened([RECORD], Envelope()) == OURS
    with pytest.raises(ProviderNonsense) as caught:
        opened([RECORD, RECORD], Envelope())
    assert caught.value.defect == "more than one record"


def test_a_field_that_is_not_there_or_null_is_left_out() -> None:
    assert opened({"xm": None, "id": {}}, Envelope()) == {}


def test_paths_walk_names_and_indexes() -> None:
    tree = {"a": [{"b": [1, 2]}], "0": "by name"}
    assert look_up(tree, "", "police") is tree
    assert look_up(tree, "a.0.b.1", "police") == 2
    assert look_up(tree, "a.0.b.2", "police") is None
    assert look_up(tree, "a.1.b", "police") is None
    assert look_up(tree, "0", "police") == "by name"
    assert look_up(tree, "c.d.e", "police") is None


def test_parameters_are_arguments_or_constants_and_absent_arguments_leave_none() -> None:
    template = {"sfzh": "{resident_id}", "xm": "{name}", "type": "1"}
    assert fill(template, {"resident_id": "1"}) == {"sfzh": "1", "type": "1"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["code", "data", "records", "xm"]), inner),
)


@given(JSON)
def test_whatever_is_sent_ends_in_a_record_none_or_an_error_of_ours(decoded: Any) -> None:
    try:
        result = opened(decoded)
    except ProviderError:
        return
    assert result is None or set(result) <= set(FIELDS)


@pytest.mark.parametrize("kind", ["json", "msgpack"])
@given(st.binary(max_size=64))
def test_whatever_bytes_come_decode_or_are_nonsense(kind: codec.Codec, body: bytes) -> None:
    try:
        codec.decode(kind, body, "police")
    except ProviderNonsense as error:
        assert error.__cause__ is None


@pytest.mark.parametrize(("kind", "opening"), [("json", b"["), ("msgpack", b"\x91")])
def test_nesting_without_end_is_nonsense(kind: codec.Codec, opening: bytes) -> None:
    with pytest.raises(ProviderNonsense):
        codec.decode(kind, opening * 100_000, "police")
