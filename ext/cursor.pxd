# cython: language_level=3
"""A bounds-checked reader over bytes that came from outside: the only way native code looks at them.

A cursor knows where its bytes end. A read that does not fit changes `ok` to 0 for good, consumes what was left and
returns zero, so that a caller reads a whole structure first and looks at `ok` once. Integers are little-endian.

The test is always `size > remaining`, never `position + size > end`: the sum can overflow, the comparison cannot. What
must not go in here: allocation, Python objects, anything that knows a format.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "<endian.h>" nogil:
    uint16_t le16toh(uint16_t)
    uint32_t le32toh(uint32_t)
    uint64_t le64toh(uint64_t)


cdef struct Cursor:
    const unsigned char *at
    Py_ssize_t remaining
    bint ok


cdef inline Cursor cursor_over(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Start at the first byte. A null pointer or a negative size makes a cursor on which every read fails."""
    cdef Cursor cursor
    cursor.ok = data != NULL and size >= 0
    cursor.at = data
    cursor.remaining = size if cursor.ok else 0
    return cursor


cdef inline const unsigned char *take_bytes(Cursor *cursor, Py_ssize_t size) noexcept nogil:
    """Return a view of the next `size` bytes and step over them; NULL where there are not so many."""
    cdef const unsigned char *view = cursor.at
    if not cursor.ok or size < 0 or size > cursor.remaining:
        cursor.ok = False
        cursor.remaining = 0
        return NULL
    cursor.at += size
    cursor.remaining -= size
    return view


cdef inline uint8_t take_u8(Cursor *cursor) noexcept nogil:
    cdef const unsigned char *view = take_bytes(cursor, 1)
    return view[0] if view != NULL else 0


# memcpy, because outside bytes are not aligned; compilers turn it into one load.
cdef inline uint16_t take_u16(Cursor *cursor) noexcept nogil:
    cdef uint16_t value = 0
    cdef const unsigned char *view = take_bytes(cursor, sizeof(value))
    if view != NULL:
        memcpy(&value, view, sizeof(value))
    return le16toh(value)


cdef inline uint32_t take_u32(Cursor *cursor) noexcept nogil:
    cdef uint32_t value = 0
    cdef const unsigned char *view = take_bytes(cursor, sizeof(value))
    if view != NULL:
        memcpy(&value, view, sizeof(value))
    return le32toh(value)


cdef inline uint64_t take_u64(Cursor *cursor) noexcept nogil:
    cdef uint64_t value = 0
    cdef const unsigned char *view = take_bytes(cursor, sizeof(value))
    if view != NULL:
        memcpy(&value, view, sizeof(value))
    return le64toh(value)
