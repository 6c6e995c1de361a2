"""Columns against single values: the same results from a list, a tuple and Arrow arrays, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker._native import normal_columns, normalise

TEXTS = st.lists(st.text(max_size=20) | st.text(alphabet="张三欧阳·?(a1号栋路省第十", max_size=20), max_size=10)
SOURCES: dict[str, Callable[[Any, list[str]], Any]] = {
    "string": lambda pa, texts: pa.array(texts, pa.string()),
    "large string": lambda pa, texts: pa.array(texts, pa.large_string()),
    "slice": lambda pa, texts: pa.array(["前", *texts, "后"], pa.string()).slice(1, len(texts)),
}


def arrow() -> Any:
    return pytest.importorskip("pyarrow", reason="needs pyarrow")


def numbers(data: bytes, form: str) -> list[int]:
    return [number for (number,) in struct.iter_unpack(f"<{form}", data)]


def check_names(source: Any, texts: list[str]) -> None:
    names = normal_columns.person_names(source)
    single = [normalise.person_name(text) for text in texts]
    codes, start = numbers(names.codes, "I"), 0
    for end, name in zip(numbers(names.ends, "I"), single, strict=True):
        assert "".join(map(chr, codes[start:end])) == name.text
        start = end
    assert numbers(names.readings, "H") == [number for name in single for number in name.readings]
    assert list(names.surnames) == [name.surname for name in single]
    assert list(names.flags) == [name.flags for name in single]


def check_addresses(source: Any, texts: list[str]) -> None:
    columns = normal_columns.addresses(source)
    single = [normalise.address(text).parts for text in texts]
    ends = numbers(columns.ends, "I")
    assert ends == [sum(map(len, single[: i + 1])) for i in range(len(texts))]
    assert list(columns.kinds) == [kind for parts in single for kind, _, _ in parts]
    assert numbers(columns.hashes, "Q") == [hashed for parts in single for _, _, hashed in parts]


@settings(deadline=None)
@given(TEXTS)
def test_lists_and_tuples(texts: list[str]) -> None:
    for source in (texts, tuple(texts)):
        check_names(source, texts)
        check_addresses(source, texts)


@pytest.mark.parametrize("form", SOURCES)
@settings(deadline=None)
@given(texts=TEXTS)
def test_arrow_arrays(form: str, texts: list[str]) -> None:
    texts = [text.encode(errors="replace").decode() for text in texts]
    source = SOURCES[form](arrow(), texts)
    check_names(source, texts)
    check_addresses(source, texts)


def test_nulls_are_empty() -> None:
    source = arrow().array(["张三", None, "李四", None])
    check_names(source, ["张三", "", "李四", ""])
    check_addresses(source.slice(1, 3), ["", "李四", ""])


def test_bytes_that_are_no_utf8_are_unknown_characters() -> None:
    """An Arrow array made without a check: nothing is read beyond it, and every wrong byte is one unknown character."""
    pa = arrow()
    for wrong in ("ff", "80", "c080", "e5bc", "eda080", "e0a0", "e08080", "f09f", "f0808080", "f4908080", "f8888080"):
        data = bytes.fromhex(wrong)
        offsets = struct.pack("<3i", 0, len(data), len(data) + 3)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data + "张".encode())]
        check_names(pa.Array.from_buffers(pa.string(), 2, buffers), ["\ufffd" * len(data), "张"])


@pytest.mark.parametrize("code", [0x7F, 0x80, 0x7FF, 0x800, 0x1FFF, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x3FFFF, 0x10FFFF])
def test_characters_of_every_length_are_read(code: int) -> None:
    check_names(arrow().array([chr(code) + "a"]), [chr(code) + "a"])


def test_a_column_of_many() -> None:
    texts = [f"张{chr(0x4E00 + n % 5000)}" for n in range(50_000)]
    names = normal_columns.person_names(texts)
    assert numbers(names.ends, "I")[-1] * 4 == len(names.codes) == 400_000


@pytest.mark.parametrize("wrong", [None, 3, [1], [b"a"], ["a", None]])
def test_only_texts_are_taken(wrong: Any) -> None:
    for function in (normal_columns.person_names, normal_columns.addresses):
        with pytest.raises(TypeError):
            function(wrong)


def test_only_arrays_of_strings_are_taken() -> None:
    pa = arrow()
    for array in (pa.array([1, 2]), pa.array([b"a"]), pa.array([["a"]]), pa.array(["a"]).dictionary_encode()):
        with pytest.raises(TypeError):
            normal_columns.person_names(array)


def test_columns_are_not_made_by_hand() -> None:
    for kind in (normal_columns.NameColumns, normal_columns.AddressColumns):
        with pytest.raises(TypeError):
            kind()
