"""Searching people in a register: by which keys they are found, and the model that weighs them, made from the register alone.

The keys are few and fixed, so that an index of them takes little room and whoever adds a record needs nothing else. How often
strangers and kin agree is counted in the register; how values of the same person differ cannot be, and is what one would think
before looking. What must not go in here: files, and which field of a base is which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from broker._native import linkage_index as native
from broker.linkage import estimate
from broker.linkage.blocking import Atom, Blocking, Rule
from broker.linkage.model import DIFFERENT, GUARDED, LEVELS, SAME, Floats, Model
from broker.linkage.schema import Kind, Rows, Schema

IN_REGISTER = 0.9  # of those who are looked for
TRAINING_ROWS = 1_000_000
_PROBES = 50_000
_EVERYDAY = 0.25
_LEAST, _LEAST_ID = 0.05, 0.001  # of the probability that a value that one person has is given for somebody else
_OTHER_WRONG = 2  # of a resident id, see ext/linkage_compare.h
_FIELDS = 16  # of a model's table, whatever the schema has
FORMAT = 1  # of packed records and keys; another number whenever either is made otherwise

# What a person is found by: the parts that are known of both records.
_RULES: tuple[tuple[tuple[Kind, Atom], ...], ...] = (
    ((Kind.RESIDENT_ID, Atom.VALUE),),
    ((Kind.PHONE, Atom.VALUE),),
    ((Kind.DATE, Atom.VALUE), (Kind.PERSON_NAME, Atom.SYLLABLES)),
    ((Kind.PERSON_NAME, Atom.VALUE), (Kind.DATE, Atom.YEAR)),
    ((Kind.PERSON_NAME, Atom.VALUE), (Kind.DATE, Atom.MONTH_DAY)),
    ((Kind.PERSON_NAME, Atom.VALUE), (Kind.ADDRESS, Atom.STREET)),
    ((Kind.ADDRESS, Atom.VALUE), (Kind.PERSON_NAME, Atom.SURNAME)),
)


def blocking_of(schema: Schema) -> Blocking:
    """Return the rules whose fields there are."""
    place = {field.kind: at for at, field in enumerate(schema.fields)}
    rules: Iterable[Rule] = (
        tuple((place[kind], atom) for kind, atom in rule) for rule in _RULES if all(kind in place for kind, _ in rule)
    )
    return Blocking(tuple(rules))


def layout_of(schema: Schema) -> bytes:
    """Return 32 bytes that change whenever records or their keys are made otherwise."""
    made_of = [FORMAT, [field.kind for field in schema.fields], schema.layout.places, blocking_of(schema).rules]
    return hashlib.sha256(msgspec.msgpack.encode(made_of)).digest()


def model_of(schema: Schema, rows: Rows) -> Model:
    """Make the model by which a register is searched; writes into its rows how rare their values are. Linear in the rows."""
    agreement, shares = estimate.rarities(schema, [rows])
    agreement = _of_others(schema, agreement, shares, len(rows))
    part = rows[:TRAINING_ROWS]
    blocking = blocking_of(schema)
    patterns, counts = _kin_patterns(schema, blocking, part)
    random = estimate.random_levels(schema, part, part) if len(part) else np.zeros((len(schema.fields), LEVELS))
    pairs = max(len(part) * (len(part) - 1) / 2, 1.0)
    fitted = estimate.fit(schema, estimate.Observed(agreement, shares, random, patterns, counts, pairs), 1.0)
    kin = tuple((2 * fitted.pairs[1:] / max(len(part), 1)).tolist())
    return Model(schema, blocking, _sober(schema, fitted.levels), IN_REGISTER, kin)


def _sober(schema: Schema, levels: Floats) -> Floats:
    """Return levels in which nothing that differs speaks for a match.

    A register cannot show how often strangers differ in ways that none of its own people do: all of its ids are right, and all
    may live in one street. An id that is wrong in itself is a fact about who asks, and says nothing of anybody.
    """
    sober = levels.copy()
    sober[1:, :, DIFFERENT] = np.maximum(levels[1:, :, DIFFERENT], levels[0, :, DIFFERENT])
    for place, field in enumerate(schema.fields):
        if field.kind is Kind.RESIDENT_ID:
            sober[1:, place, _OTHER_WRONG] = levels[0, place, _OTHER_WRONG]
    return sober


def _of_others(schema: Schema, agreement: Floats, shares: Floats, size: int) -> Floats:
    """Return the probability that two different people agree: a row drawn twice agrees with itself. Never as little as none.

    A resident id is nobody else's by law, so those of others are agreed on by mistake only.
    """
    others = np.maximum(agreement - shares / max(size, 1), _LEAST * agreement)
    own = np.array([field.kind is Kind.RESIDENT_ID for field in schema.fields])
    others[own] = _LEAST_ID * agreement[own]
    return np.asarray(others)


def _kin_patterns(schema: Schema, blocking: Blocking, rows: Rows) -> tuple[np.ndarray, Floats]:
    """Return the patterns of pairs of the register that share a key, and how many there are of each."""
    index = native.Index(blocking.plan(schema), rows, blocking.cap)
    step = max(1, len(rows) // _PROBES)
    nothing = np.zeros((_FIELDS, LEVELS), np.float32)
    probes = len(range(0, len(rows), step))
    _, _, patterns, *_ = index.find(rows, 0, step, probes, nothing, 0.0, True)
    found, counts = np.unique(np.frombuffer(patterns, np.uint64), return_counts=True)
    return found, counts.astype(np.float64) * step


def everyday_bits(model: Model) -> list[int]:
    """Return, by field, how rare a value is that nobody has counted: as a quarter of all people's are, or more."""
    shares = model.levels[0][:, SAME:].cumsum(axis=1)
    levels = (shares < _EVERYDAY * shares[:, -1:]).sum(axis=1)
    return [int(3 * level + 3) for level in levels]


class SearchTable(NamedTuple):
    """What `broker._native.search` weighs by, in the order in which it wants it."""

    levels: Floats  # natural logarithms of probabilities, by class, field (16) and level
    pairs: list[float]  # natural logarithms of the shares of all pairs, by class
    guards: npt.NDArray[np.uint16]
    guarded: float


def search_table(model: Model, size: int) -> SearchTable:
    """Return a model as a table for searches in a register of this size."""
    levels = np.zeros((len(model.levels), _FIELDS, LEVELS))
    levels[:, : len(model.schema.fields)] = np.log(model.levels)
    pairs = model.log_shares(max(size, 1)).tolist()
    return SearchTable(levels, pairs, model.guards(), float(np.log(GUARDED / (1 - GUARDED))))
