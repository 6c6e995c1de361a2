"""The three files of legal persons: the register, the records of other departments, and the truth about those records.

What must not go in here: how legal persons are made (legal.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from broker.demo.synthetic import columns, legal, places, slips
from broker.demo.synthetic.columns import cut, dates, replaced, words
from broker.demo.synthetic.draws import Codes, Draws, Flags, Ints
from broker.demo.synthetic.errors import Errors
from broker.demo.synthetic.legal import LEGAL_ABSENT, LEGAL_ERRORS, PRESENT, LegalSettings, LegalWorld
from broker.demo.synthetic.numbers import person_numbers, text
from broker.demo.synthetic.observed import SOURCES, misplaced


class LegalRegister(StrEnum):
    """A file of legal persons."""

    COMPANIES = "companies"
    OBSERVED = "companies_observed"
    TRUTH = "companies_truth"


_SHARED = [("uscc", pa.string()), ("name", pa.string()), ("address", pa.string()), ("representative", pa.string())]
LEGAL_SCHEMAS: dict[LegalRegister, pa.Schema] = {
    LegalRegister.COMPANIES: pa.schema(
        [("company_no", pa.uint64()), *_SHARED, ("established_on", pa.date32()), ("status", pa.string())]
    ),
    LegalRegister.OBSERVED: pa.schema([("record_no", pa.int64()), ("source", pa.string()), *_SHARED]),
    LegalRegister.TRUTH: pa.schema(
        [("record_no", pa.int64()), ("company_no", pa.uint64()), ("case", pa.string()), ("errors", pa.string())]
    ),
}


def legal_blocks(settings: LegalSettings) -> Iterator[dict[LegalRegister, pa.RecordBatch]]:
    """Make all three files block by block, about 24,000 legal persons each; the last is cut where they are enough."""
    made, records = 0, 0
    for block in count():
        world = LegalWorld(settings, block)
        known = world.up_to(settings.companies - made)
        batches = {LegalRegister.COMPANIES: _register(settings, world, known), **_observations(settings, world, known, records)}
        yield batches
        records += batches[LegalRegister.OBSERVED].num_rows
        made += batches[LegalRegister.COMPANIES].num_rows
        if made >= settings.companies:
            return


def legal_generate(settings: LegalSettings, register: LegalRegister, batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
    """Make one file of legal persons, in batches of so many rows (the last may have fewer).

    Raises:
        ValueError: batch_rows is less than 1.
    """
    if batch_rows < 1:
        raise ValueError("batch_rows is less than 1")
    return cut((batches[register] for batches in legal_blocks(settings)), LEGAL_SCHEMAS[register], batch_rows)


def _register(settings: LegalSettings, world: LegalWorld, known: Flags) -> pa.RecordBatch:
    order = Draws(settings.seed, world.block, "legal order").order(len(known))
    rows = order[(known & (world.companies.absent == PRESENT))[order]]
    own = _right(world, rows) | {
        "company_no": pa.array(person_numbers(settings.seed, world.numbers[rows])),
        "established_on": dates(world.companies.established[rows]),
        "status": words(legal.STATUSES, world.status[rows]),
    }
    return pa.RecordBatch.from_pydict(own, LEGAL_SCHEMAS[LegalRegister.COMPANIES])


def _right(world: LegalWorld, rows: Ints) -> dict[str, pa.Array]:
    companies = world.companies
    return {
        "uscc": text(world.codes[rows]),
        "name": world.names(companies.pieces[rows]),
        "address": places.city_of(world.city).addresses(companies.dwelling[rows]),
        "representative": columns.spelled(companies.representative[rows]),
    }


def _observations(settings: LegalSettings, world: LegalWorld, known: Flags, first: int) -> dict[LegalRegister, pa.RecordBatch]:
    draws = Draws(settings.seed, world.block, "legal observed")
    order, absent = draws.order(len(known)), world.companies.absent != PRESENT
    rows = order[(known & (draws.chance(settings.coverage, len(known)) | absent))[order]]
    errors = Errors(LEGAL_ERRORS).drawn(draws, settings.errors, len(known)).of(rows, absent[rows])
    numbers = pa.array(np.arange(first, first + len(rows), dtype=np.int64))
    observed = {"record_no": numbers, "source": words(SOURCES, draws.below(len(SOURCES), len(rows)))}
    observed |= _written(draws, world, rows, errors)
    truth = {
        "record_no": numbers,
        "company_no": pa.array(person_numbers(settings.seed, world.numbers[rows])),
        "case": errors.cases(world.companies.absent[rows], LEGAL_ABSENT),
        "errors": errors.lists(),
    }
    return {
        LegalRegister.OBSERVED: pa.RecordBatch.from_pydict(observed, LEGAL_SCHEMAS[LegalRegister.OBSERVED]),
        LegalRegister.TRUTH: pa.RecordBatch.from_pydict(truth, LEGAL_SCHEMAS[LegalRegister.TRUTH]),
    }


def _written(draws: Draws, world: LegalWorld, rows: Ints, errors: Errors) -> dict[str, pa.Array]:
    """Write records right, then put in what is wrong."""
    found = _right(world, rows)
    codes = errors.slipped(draws, "uscc", found["uscc"], slips.CODE_SLIPS)
    dwellings = world.companies.dwelling[rows]
    others = columns.spelled(legal.representatives(draws, len(rows)))
    errors.take_back("representative", pc.equal(others, found["representative"]).to_numpy(zero_copy_only=False))
    changed = pa.array(errors.having("representative_changed"))
    return {
        "uscc": pc.if_else(pa.array(errors.having("code_missing")), pa.scalar(None, pa.string()), codes),
        "name": _names(draws, world, rows, errors, found["name"]),
        "address": misplaced(draws, errors, world.block, found["address"], dwellings),
        "representative": pc.if_else(changed, others, found["representative"]),
    }


def _names(draws: Draws, world: LegalWorld, rows: Ints, errors: Errors, right: pa.Array) -> pa.Array:
    """Write names with other pieces, or with a wrong character in the brand."""
    pieces = world.companies.pieces[rows]
    changed = _other_pieces(draws, pieces, errors)
    same = np.all(changed == pieces, axis=1)
    for error in ("company_form", "company_short", "company_place", "company_brackets"):
        errors.take_back("name", errors.having(error) & same)
    brands = pc.take(world.brands, pa.array(pieces[:, legal.BRAND]))
    wrong = errors.slipped(draws, "name", brands, {"company_homophone": slips.name_homophone})
    differs = ~same | errors.having("company_homophone")
    kept = pa.array(np.flatnonzero(differs))
    return replaced(right, differs, world.names(changed[differs], pc.take(wrong, kept)))


def _other_pieces(draws: Draws, pieces: Codes, errors: Errors) -> Codes:
    found = pieces.copy()
    form, short = errors.having("company_form"), errors.having("company_short")
    found[form, legal.FORM] = legal.OTHER_FORM[found[form, legal.FORM]]
    found[short, legal.FORM], found[short, legal.BRANCH] = 0, 0
    place = errors.having("company_place")
    shift = 1 + draws.below(legal.WHERES - 1, int(place.sum()))
    found[place, legal.WHERE] = (found[place, legal.WHERE] + shift) % legal.WHERES
    brackets = errors.having("company_brackets") & (found[:, legal.INSERT] != 0)
    found[brackets, legal.INSERT] = (1 + found[brackets, legal.INSERT]) % 3
    return found
