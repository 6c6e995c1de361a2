# cython: language_level=3
"""Entries of the index of usage, from records as they stand in the log. The contract is in `broker/_native/usage_entries.pyi`.

What is not as every writer writes it, and what needs more than the record itself, is left to `audit/usage.py`, the oracle.
What must not go in here: the index, and segments.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from broker._native.cachekey cimport Slice
from cursor cimport Cursor, cursor_over
from journal_record cimport (
    FIELD_AT, FIELD_EMBARGO, FIELD_FIELDS, FIELD_INTENT, FIELD_KIND, FIELD_SUBJECT, KIND_INTENT, KIND_OUTCOME, RECORD_DIGESTS,
    RECORD_FIELDS, RECORD_NUMBERS, SECOND_NS, WIRE_BYTES, WIRE_NUMBER,
)
from protobuf cimport decline, take_delimited, take_text, take_varint

cdef enum:
    SUBJECT_BYTES = 16
    KEY_BYTES = 34             # subject, time reversed, stream, sequence
    VALUE_BYTES = 14           # segment, offset, class of embargo
    MOST_STREAM = 0xFFFF
    MOST_KIND = 0x7FFFFFFF

cdef uint64_t MOST_NUMBER = 0x7FFFFFFFFFFFFFFF, MOST_SECONDS = <uint64_t>1 << 34, MOST_SEGMENT = 0xFFFFFFFF
cdef uint64_t LAST_NS = 0xFFFFFFFFFFFFFFFF


cdef struct Said:
    uint64_t happened_ns
    uint64_t kind
    Slice subject
    bint needs_more            # an INTENT to be struck out, or a class of embargo


cdef uint64_t take_time(Cursor *cursor) noexcept nogil:
    """Read a google.protobuf.Timestamp, seconds before nanoseconds; returns nanoseconds."""
    cdef Slice within = take_delimited(cursor)
    cdef Cursor inner = cursor_over(within.data, within.size)
    cdef uint64_t seconds = 0, nanos = 0, tag
    cdef int last = 0
    while inner.ok and inner.remaining > 0:
        tag = take_varint(&inner, 16)
        if tag == 8 and last == 0:
            seconds, last = take_varint(&inner, MOST_SECONDS), 1
        elif tag == 16 and last < 2:
            nanos, last = take_varint(&inner, SECOND_NS - 1), 2
        else:
            decline(&inner)
    if not inner.ok:
        decline(cursor)
    return seconds * SECOND_NS + nanos


cdef void take_field(Cursor *cursor, Said *said, int field) noexcept nogil:
    cdef uint64_t number
    cdef Slice text
    if RECORD_NUMBERS >> field & 1:
        number = take_varint(cursor, MOST_KIND if field == FIELD_KIND else MOST_NUMBER)
        if field == FIELD_KIND:
            said.kind = number
    elif field == FIELD_AT:
        said.happened_ns = take_time(cursor)
    elif RECORD_DIGESTS >> field & 1:
        text = take_delimited(cursor)
        if field == FIELD_SUBJECT:
            said.subject = text
    else:
        text = take_text(cursor)
        said.needs_more = said.needs_more or ((field == FIELD_INTENT or field == FIELD_EMBARGO) and text.size > 0)


cdef bint read_record(Said *said, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Read what an entry is made of; False: it is not as writers write it, fields in the order of their numbers."""
    cdef Cursor cursor = cursor_over(data, size)
    cdef int field, last = 0
    cdef uint64_t tag
    memset(said, 0, sizeof(said[0]))
    while cursor.ok and cursor.remaining > 0:
        tag = take_varint(&cursor, RECORD_FIELDS * 8)
        field = <int>(tag >> 3)
        if field < last + (field != FIELD_FIELDS) or field == 0 or field >= RECORD_FIELDS:
            return False
        if <int>(tag & 7) != (WIRE_NUMBER if RECORD_NUMBERS >> field & 1 else WIRE_BYTES):
            return False
        last = field
        take_field(&cursor, said, field)
    return cursor.ok


cdef inline void put_big(uint8_t *at, uint64_t value, int size) noexcept nogil:
    cdef int i
    for i in range(size):
        at[i] = <uint8_t>(value >> 8 * (size - 1 - i))


cdef tuple entry_of(const Said *said, uint64_t stream, uint64_t sequence, uint64_t segment, uint64_t offset):
    cdef uint8_t key[KEY_BYTES]
    cdef uint8_t value[VALUE_BYTES]
    memset(key, 0, SUBJECT_BYTES)
    memcpy(key, said.subject.data, min(said.subject.size, <Py_ssize_t>SUBJECT_BYTES))
    put_big(key + 16, LAST_NS - said.happened_ns, 8)
    put_big(key + 24, stream, 2)
    put_big(key + 26, sequence, 8)
    put_big(value, segment, 4)
    put_big(value + 4, offset, 8)
    put_big(value + 12, 0, 2)
    return PyBytes_FromStringAndSize(<const char *>key, KEY_BYTES), PyBytes_FromStringAndSize(<const char *>value, VALUE_BYTES)


def entries(list found not None, uint64_t first, uint64_t stream, uint64_t segment):
    """See `usage_entries.pyi`."""
    cdef list made = [], rest = []
    cdef uint64_t sequence = first, offset
    cdef bytes record
    cdef Said said
    if stream > MOST_STREAM or segment > MOST_SEGMENT:
        raise ValueError("stream, segment: must be numbers of 2 and of 4 bytes")
    for offset, record in found:
        if not read_record(&said, <const unsigned char *>PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record)):
            rest.append((sequence, offset, record))
        elif said.subject.size > 0 and (said.kind == KIND_INTENT or said.kind == KIND_OUTCOME):
            if said.kind == KIND_INTENT or said.needs_more:
                rest.append((sequence, offset, record))
            else:
                made.append(entry_of(&said, stream, sequence, segment, offset))
        sequence += 1
    return made, rest
