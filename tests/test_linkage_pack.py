"""Packed records: layouts, columns as one by one, rarity."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from bench.linkage_schemas import FEBRL, POPULATION
from broker._native import linkage
from broker.demo.synthetic import Register
from broker.linkage import Kind, Schema
from broker.linkage.schema import UnknownColumn
from tests.linkage_kit import table
from tests.synthetic_kit import population


def test_a_person_is_one_line_of_the_cache() -> None:
    assert POPULATION.layout.stride == 64
    places = POPULATION.layout.places
    assert len(set(places)) == len(places)
    assert all(FEBRL.pack(table(**{f.name: ["1"] for f in FEBRL.fields})).ctypes.data % 64 == 0 for _ in range(3))


def test_columns_are_packed_as_single_records_are() -> None:
    observed = population(people=3000, seed=5)[Register.OBSERVED]
    rows = POPULATION.pack(observed)
    columns = [observed[field.name].to_pylist() for field in POPULATION.fields]
    for row, values in zip(rows, zip(*columns, strict=True), strict=True):
        assert bytes(row) == POPULATION.pack_one([None if value is None else str(value) for value in values])


def test_slices_chunks_and_large_strings_are_read() -> None:
    schema = Schema.of({"name": Kind.PERSON_NAME, "birth": Kind.DATE})
    names, births = ["张伟", None, "李明", "王芳"], [dt.date(1980, 1, 2), None, dt.date(1600, 2, 29), dt.date(9999, 12, 30)]
    whole = pa.table({"name": pa.array(names, pa.large_string()), "birth": pa.array(births, pa.date32())})
    chunked = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    expected = [
        schema.pack_one((name, None if day is None else day.isoformat())) for name, day in zip(names, births, strict=True)
    ]
    assert [bytes(row) for row in schema.pack(chunked)] == expected
    assert [bytes(row) for row in schema.pack(whole.slice(2))] == expected[2:]
    assert len(schema.pack(whole.slice(0, 0))) == 0


def test_every_day_of_arrow_is_the_day_it_says() -> None:
    schema = Schema.of({"birth": Kind.DATE})
    days = [dt.date.fromordinal(day) for day in range(2, 3_652_000, 997)]
    rows = schema.pack(pa.table({"birth": pa.array(days, pa.date32())}))
    assert [int(row[:4].view(np.uint32)[0]) for row in rows] == [d.year * 10000 + d.month * 100 + d.day for d in days]


def test_what_cannot_be_read_is_named() -> None:
    schema = Schema.of({"name": Kind.PERSON_NAME})
    with pytest.raises(UnknownColumn, match="name: there is no such column"):
        schema.pack(table(other=["x"]))
    with pytest.raises(UnknownColumn, match="name: cannot be read as text"):
        schema.pack(table(name=[["x"]]))
    with pytest.raises(TypeError, match="text: must be str"):
        schema.layout.pack_one((1,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as many values as there are rows"):
        schema.layout.pack([pa.array(["x"])], bytearray(2 * schema.layout.stride))
    with pytest.raises(ValueError, match="whole number of records"):
        schema.layout.pack([pa.array(["x"])], bytearray(schema.layout.stride + 1))
    with pytest.raises(TypeError, match="Arrow array of string"):
        schema.layout.pack([pa.array([1])], bytearray(schema.layout.stride))


@pytest.mark.parametrize("kinds", [[], [99], [-1], [Kind.TEXT] * 17, [Kind.TEXT] * 16 + [Kind.DATE]])
def test_layouts_that_cannot_be_are_refused(kinds: list[int]) -> None:
    with pytest.raises(ValueError, match="kinds"):
        linkage.Layout(kinds)


def test_rarity_is_counted_and_a_placeholder_nobody_knew_becomes_missing() -> None:
    schema = Schema.of({"phone": Kind.PHONE})
    phones = [f"1583417{number:04}" for number in range(2000)] + ["15866123904"] * 300
    rows = schema.pack(table(phone=phones))
    agreement, values, placeholders = linkage.count_rarity(schema.layout, 0, [rows])
    assert (values, placeholders) == (2300, 300)
    assert not rows[2000:].any()
    bits = rows[:2000].view(np.uint64)[:, 0] >> np.uint64(59)
    assert bits.max() == 11
    assert (bits == 11).mean() > 0.7, "all but those that share a place with another"
    assert sum(agreement) == pytest.approx(2000 / 2300**2, rel=0.3)
    with pytest.raises(ValueError, match="field"):
        linkage.count_rarity(schema.layout, 1, [rows])
