"""Columns of Arrow made from numpy without a Python object a row, and batches cut to the size that is wanted.

What must not go in here: what the columns mean.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from broker.demo.synthetic.draws import Codes, Flags, Ints

Characters = NDArray[np.uint32]

_UNICODE = 0x110000
# By length: which of four bytes are meant, as the four bytes of one number.
_STARTS = np.array([[place < length for place in range(4)] for length in range(5)]).view(np.uint32)[:, 0]


@functools.cache
def _utf8() -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Give the UTF-8 form of every code point as the four bytes of one number, and its length; nothing for 0.

    Surrogates, which no text has, come out as three bytes that are not UTF-8.
    """
    code = np.arange(_UNICODE, dtype=np.uint32)
    length = (1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)).astype(np.uint8)
    tail = [0x80 | (code >> shift & 0x3F) for shift in (0, 6, 12)]
    forms = {
        1: (code, code, code, code),
        2: (0xC0 | code >> 6, tail[0], code, code),
        3: (0xE0 | code >> 12, tail[1], tail[0], code),
        4: (0xF0 | code >> 18, tail[2], tail[1], tail[0]),
    }
    columns = [np.select([length == n for n in forms], [form[place] for form in forms.values()]) for place in range(4)]
    length[0] = 0
    return np.stack(columns, axis=1).astype(np.uint8).view(np.uint32)[:, 0], length


def spelled(characters: Characters) -> pa.Array:
    """Spell rows of code points (0 is nothing, wherever it stands) as strings."""
    forms, lengths = _utf8()
    code = characters.ravel()
    length = lengths[code]
    data = forms[code].view(np.uint8)[_STARTS[length].view(np.bool_)]
    ends = np.cumsum(length, dtype=np.int32)[characters.shape[1] - 1 :: characters.shape[1]]
    offsets = np.concatenate([np.zeros(1, np.int32), ends])
    return pa.StringArray.from_buffers(len(characters), pa.py_buffer(offsets), pa.py_buffer(data))


def dates(days: Ints) -> pa.Array:
    """Take days since 1970-01-01 as dates."""
    return pa.array(days.astype(np.int32), pa.int32()).view(pa.date32())


def words(options: Sequence[str], indexes: Codes) -> pa.Array:
    """Look up words by their indexes."""
    return pc.take(pa.array(options), pa.array(indexes))


def replaced(column: pa.Array, rows: Flags, values: pa.Array) -> pa.Array:
    """Put values, in order, where the rows say so."""
    return pc.replace_with_mask(column, pa.array(rows), values)


def cut(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """Cut batches again, so that each but the last has so many rows."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        while sum(piece.num_rows for piece in held) >= rows:
            whole = pa.Table.from_batches(held, schema)
            yield from whole.slice(0, rows).combine_chunks().to_batches()
            held = whole.slice(rows).to_batches()
    if held:
        yield from pa.Table.from_batches(held, schema).combine_chunks().to_batches()
