"""The three files of a population: the base register, the records of other departments, and the truth about those records.

What must not go in here: how they are written to disk (files.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from broker.demo.synthetic.columns import cut, dates, words
from broker.demo.synthetic.draws import Draws, Flags, Ints
from broker.demo.synthetic.naming import ETHNICITIES
from broker.demo.synthetic.numbers import digits, person_numbers, phone_texts, text
from broker.demo.synthetic.observed import SOURCES, Writing, chosen
from broker.demo.synthetic.relatives import world
from broker.demo.synthetic.settings import ABSENT, Settings
from broker.demo.synthetic.world import PRESENT, STATUSES, World

SEXES = ("女", "男")
_HOUSEHOLDS_OF_BLOCK = 1 << 15


class Register(StrEnum):
    """A file of a population."""

    POPULATION = "population"
    OBSERVED = "observed"
    TRUTH = "truth"


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


SCHEMAS: dict[Register, pa.Schema] = {
    Register.POPULATION: _schema(
        person_no=pa.uint64(),
        resident_id=pa.string(),
        name=pa.string(),
        sex=pa.string(),
        birth_date=pa.date32(),
        ethnicity=pa.string(),
        address=pa.string(),
        phone=pa.string(),
        household_no=pa.string(),
        status=pa.string(),
    ),
    Register.OBSERVED: _schema(
        record_no=pa.int64(),
        source=pa.string(),
        resident_id=pa.string(),
        name=pa.string(),
        sex=pa.string(),
        birth_date=pa.date32(),
        address=pa.string(),
        phone=pa.string(),
    ),
    Register.TRUTH: _schema(record_no=pa.int64(), person_no=pa.uint64(), case=pa.string(), errors=pa.string()),
}


def blocks(settings: Settings, registers: Collection[Register] = tuple(Register)) -> Iterator[dict[Register, pa.RecordBatch]]:
    """Make the files asked for block by block, about 60,000 people each; the last is cut where the people are enough."""
    people, records = 0, 0
    for block in count():
        own = world(settings, block)
        known = own.up_to(settings.people - people)
        made = {Register.POPULATION: _population(settings, own, known)} if Register.POPULATION in registers else {}
        if not {Register.OBSERVED, Register.TRUTH}.isdisjoint(registers):
            made |= _observations(settings, own, known, records)
            records += made[Register.OBSERVED].num_rows
        yield made
        people += int(np.sum(known & (own.people.absent == PRESENT)))
        if people >= settings.people:
            return


def generate(settings: Settings, register: Register, batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
    """Make one file of a population, in batches of so many rows (the last may have fewer).

    The rows depend on the settings alone, not on the size of the batches. Memory is that of a block and a batch.

    Raises:
        ValueError: batch_rows is less than 1.
    """
    if batch_rows < 1:
        raise ValueError("batch_rows is less than 1")
    return cut((block[register] for block in blocks(settings, (register,))), SCHEMAS[register], batch_rows)


def _population(settings: Settings, own: World, known: Flags) -> pa.RecordBatch:
    order = Draws(settings.seed, own.block, "order").order(len(known))
    rows = order[(known & (own.people.absent == PRESENT))[order]]
    people = own.people
    columns = {
        "person_no": pa.array(person_numbers(settings.seed, own.numbers[rows])),
        "resident_id": text(own.resident_ids.take(rows, axis=0)),
        "name": pc.take(own.names, pa.array(rows)),
        "sex": words(SEXES, people.sex[rows]),
        "birth_date": dates(people.birth[rows]),
        "ethnicity": words(ETHNICITIES, people.ethnicity[rows]),
        "address": pc.take(own.addresses, pa.array(people.dwelling[rows])),
        "phone": phone_texts(people.phone[rows]),
        "household_no": _household_numbers(own.block, people.household[rows]),
        "status": words(STATUSES, own.status[rows]),
    }
    return pa.RecordBatch.from_pydict(columns, SCHEMAS[Register.POPULATION])


def _household_numbers(block: int, households: Ints) -> pa.Array:
    written = np.empty((len(households), 12), dtype=np.uint8)
    written[:, :2] = ord("H")
    written[:, 2:] = digits(households + block * _HOUSEHOLDS_OF_BLOCK, 10)
    return text(written)


def _observations(settings: Settings, own: World, known: Flags, first: int) -> dict[Register, pa.RecordBatch]:
    """Write the records of a block, numbered on from the first, and the truth about them, row by row the same."""
    records = chosen(settings, own, known)
    writing, size = Writing(settings, own, records), len(records.rows)
    numbers = pa.array(np.arange(first, first + size, dtype=np.int64))
    sources = Draws(settings.seed, own.block, "sources").below(len(SOURCES), size)
    columns = {"record_no": numbers, "source": words(SOURCES, sources), "sex": words(SEXES, own.people.sex[records.rows])}
    columns |= writing.columns()
    truth = {
        "record_no": numbers,
        "person_no": pa.array(person_numbers(settings.seed, own.numbers[records.rows])),
        "case": writing.errors.cases(own.people.absent[records.rows], ABSENT),
        "errors": writing.errors.lists(),
    }
    return {
        Register.OBSERVED: pa.RecordBatch.from_pydict(columns, SCHEMAS[Register.OBSERVED]),
        Register.TRUTH: pa.RecordBatch.from_pydict(truth, SCHEMAS[Register.TRUTH]),
    }
